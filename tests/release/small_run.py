"""A finished run in a store, as small as a real release allows: artifacts with what their stages record, weights that really load."""

import json
from pathlib import Path

import yaml

from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, Documents, Handle, Run, Scores, Tokens
from tasks.model.template import PROBE
from tasks.runtime.production import Production
from tasks.sft.finetune import sft_identity
from tasks.training.train_stage import stage_identity
from tests.release.models import conversations, write_checkpoint
from tests.sft.sections import MODEL

TINY = yaml.safe_load((Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml").read_text(encoding="utf-8"))


def small_recipe(**release) -> Recipe:
    """Return `tiny` with a model of a few thousand parameters; keywords change its release section."""
    values = TINY | {"model": MODEL.model_dump(mode="json") | {"context_tokens": 512}, "release": TINY["release"] | release}
    return Recipe.model_validate(values | {"tokenization": TINY["tokenization"] | {"vocabulary_size": MODEL.vocabulary_size}})


class SmallRun:
    """A run of a recipe: `checkpoints` and `scores` by `base` and `chat`."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self.recipe, self.root = recipe, root
        self.run = Run(
            name="r", folder=str(root), store=str(root / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0
        )
        self.files = write_checkpoint(root / "checkpoint")
        raw = self.seal("raw", "raw-documents", {"books": [["stdlib:a.py", 3, "sha256:0"]]}, {}, Handle, {"files": 1, "bytes": 3})
        kept = {"documents_in": 3, "documents_kept": 2, "characters_kept": 20, "removed": {"too_short": 1}}
        sources = {one.name: kept | {"kind": one.kind, "role": one.role, "licence": one.licence} for one in recipe.curation.sources}
        counts = {"documents_in": 21, "documents_kept": 14, "characters_in": 210, "characters_kept": 140}
        details = {"sources": sources, "examples": {"too_short": [{"text": "a text that is quoted"}]}}
        documents = self.seal("documents", "documents", recipe.curation, {"raw": raw}, Documents, counts, details)
        cut = {name: {"tokens": 9, "held_out_tokens": 1} for name in sources}
        tokenizer = {"type": "trained bpe", "pieces": MODEL.vocabulary_size, "licence": "as its training documents", "sha256": "0" * 64}
        counts = {"documents": 14, "tokens": 63, "held_out_tokens": 7, "vocabulary_size": MODEL.vocabulary_size}
        tokens = self.seal(
            "tokens", "tokens", recipe.tokenization, {"documents": documents}, Tokens, counts, {"sources": cut, "tokenizer": tokenizer}
        )
        parents: dict[str, Handle] = {"tokens": tokens}
        for number, stage in enumerate(recipe.pretraining.stages):
            section = stage_identity(recipe.model, recipe.pretraining, number, recipe.seed)
            parents = {"tokens": tokens, "parent": self.train(stage.name, section, parents, 4 * number)}
        base = parents["parent"]
        rows = "".join(json.dumps(row) + "\n" for row in conversations(self.files)).encode()
        told = {
            "conversations": 3,
            "tokens": 90,
            "trained_tokens": 30,
            "reasons": {"rows": 4, "kept": 3, "empty_turn": 1},
            "licence": "PSF-2.0",
        }
        counts = {"conversations": 3, "tokens": 90, "trained_tokens": 30}
        chats = {"sources": [source.model_dump(mode="json") for source in recipe.sft.sources]}
        details = {"sources": {"python_help": told}, "example": {"parts": [["quoted too", True]]}}
        rendered = self.seal("conversations", "conversations", chats, {"raw": raw}, Handle, counts, details, {PROBE: rows})
        section = sft_identity(recipe.sft, recipe.model, recipe.seed)
        chat = self.train("sft", section, {"parent": base, "conversations": rendered}, 0)
        self.checkpoints = {"base": base, "chat": chat}
        self.scores = {which: self.score(which, checkpoint, tokens) for which, checkpoint in self.checkpoints.items()}

    def seal(self, kind, name, section, parents, cls, counts, details=None, files=None, records=None):
        """Seal an artifact with files of bytes, or of paths, by name."""
        with Production(self.run, kind, name, section, parents, "tasks.release") as made:
            if made.needed:
                for path, data in (files or {}).items():
                    made.copy_file(data, path) if isinstance(data, Path) else made.add_text(path, data)
                for path, data in (records or {}).items():
                    made.add_text(path, data, record=True)
                made.seal(counts, details or {})
        return made.handle(cls)

    def train(self, name: str, section: dict, parents: dict[str, Handle], first: int) -> Checkpoint:
        """Seal a checkpoint after four steps."""
        files = {path.relative_to(self.files).as_posix(): path for path in self.files.rglob("*") if path.is_file()}
        rows = [{"step": first + step, "loss": 6.0 / (first + step), "learning_rate": 1e-3, "seconds": 0.1} for step in (1, 2, 3, 4)]
        journal = "".join(json.dumps(row) + "\n" for row in rows).encode()
        counts = {"stage": name, "steps": first + 4, "tokens": 400, "parameters": self.recipe.model.parameter_count(), "loss": 1.5}
        details = {
            "stage_steps": 4,
            "stage_tokens": 400,
            "batch_tokens": 100,
            "mixture": {"shakespeare": 400},
            "chunk_tokens": {"shakespeare": 128},
        }
        return self.seal("checkpoint", name, section, parents, Checkpoint, counts, details, files, {"journal.jsonl": journal})

    def score(self, which: str, checkpoint: Checkpoint, tokens: Handle) -> Scores:
        """Seal a card for each benchmark and the scores that sum them up: 40 percent everywhere."""
        harness = {"lm_eval": "0.4.13", "precision": "float32", "prompts": "plain, no chat template", "torch": "2.13.0"}
        rows = []
        for suite in self.recipe.evaluation.suites:
            for one in suite.benchmarks:
                section = {"task": one.task, "shots": one.shots, "weights": checkpoint.digest, "tokenizer": "0" * 64}
                counts = {"task": one.task, "shots": one.shots, "items": 50, "results": {one.task: {f"{one.metric},none": 0.4}}}
                details = {
                    "limit": 50,
                    "chance": 25.0,
                    "harness": harness,
                    "task_hashes": {one.task: "1" * 64},
                    "versions": {one.task: "1.0"},
                    "data": {},
                }
                card = self.seal("card", f"card-{one.task}-{one.shots}-shot", section, {}, Handle, counts, details)
                told = {"suite": suite.name, "task": one.task, "shots": one.shots, "metric": one.metric, "score": 40.0, "stderr": 6.9}
                rows.append(told | {"items": 50, "chance": 25.0, "reported": None, "card": f"{card.name}@{card.version}"})
        counts = {"checkpoint": which, "scores": {f"{row['suite']}/{row['task']}": row["score"] for row in rows}, "bits_per_byte": 2.5}
        held_out = {"shakespeare": {"bits_per_byte": 2.5}}
        details = {"benchmarks": rows, "harness": harness, "held_out": held_out, "items": "fifty items of each set"}
        return self.seal(
            "scores", f"scores-{which}", {"which": which}, {"checkpoint": checkpoint, "tokens": tokens}, Scores, counts, details
        )
