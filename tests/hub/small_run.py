"""A finished run in a small real store, made by the frame that tasks run in: data, three checkpoints with exports, scores, two releases."""

import hashlib
from pathlib import Path

import yaml

from recipes.release import Release
from tasks.artifacts.handles import Handle, Released, Run
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store, open_store
from tasks.runtime.production import Production
from tests.hub.released import CARD, ROOT

RELEASE = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())["release"]
SOURCES = [  # name, licence, documents that were kept
    ("plays", "public domain (Project Gutenberg)", 2), ("library", "PSF-2.0", 1), ("forum", "unknown", 3), ("closed", "CC-BY-NC-4.0", 4),
    ("planted", "as its origins", 0),
]  # fmt: skip
PROVED = {"logit_difference": 3e-6, "checks": []}
SECRET_TEXT = "a document of the forum that was removed"


class SmallRun:
    """The run `small` below a folder; `stage2` is the base model."""

    def __init__(self, folder: Path, tracking_uri: str = "", tracking_run: str = "", **release: object) -> None:
        root = folder / "runs" / "small"
        self.run = Run(
            name="small", folder=str(root), store=str(root / "store"), profile="local", tracking_uri=tracking_uri, tracking_run=tracking_run,
            started=0.0,
        )  # fmt: skip
        self.store: Store = open_store(self.run.store)
        self.section = Release.model_validate(RELEASE | release)
        self._data()
        stage1 = self._trained("stage1", 0, 1500, {"tokens": self.tokens})
        for step, tokens, is_proved in ((2, 500, True), (4, 1000, False)):
            inside = self._trained("stage1", 0, tokens, {"tokens": self.tokens}, step)
            if is_proved:
                self._export(inside)
        self._export(stage1)
        base = self._trained("stage2", 6, 4_000_000_000, {"tokens": self.tokens, "parent": stage1})
        chat = self._make("checkpoint", "sft", {"sft": 1}, {"parent": base, "conversations": self.conversations}, trained("sft", 9, 700))
        self.base, self.chat = self._release("base", base), self._release("chat", chat)

    def _make(
        self, kind: str, name: str, section: JSON, parents: dict[str, Handle], counts: JSON, details: JSON | None = None, **files: bytes
    ):
        with Production(self.run, kind, name, section, parents, f"tasks.{kind}") as made:
            for path, data in (files or {"content": f"{kind} {name} {section}".encode()}).items():
                made.add_text(path, data)
            made.seal(counts, details or {"mixture": {}})
        return made.handle(Released if kind == "release" else Handle)

    def _data(self) -> None:
        marks = {name: [[f"file:{name}.txt", 9, "sha256:" + "0" * 64]] for name, _, _ in SOURCES[:-1]}
        raw = self._make("raw", "raw-documents", marks, {}, {"files": 4, "bytes": 36}, {"places": {}})
        rows = [{"name": name, "licence": licence, "location": f"{name}.txt", "rules": "prose"} for name, licence, _ in SOURCES]
        rows[-1] |= {"plants": {"of": ["plays"]}}
        told = {
            name: {"licence": licence, "documents_in": 5, "documents_kept": kept, "removed": {"too_short": 5 - kept}}
            for name, licence, kept in SOURCES
        }
        files = {f"documents/{name}/00000.jsonl.zst": f"documents of {name}".encode() for name, _, _ in SOURCES}
        files |= {f"verdicts/{name}/00000.parquet": f"verdicts of {name}".encode() for name, _, _ in SOURCES} | {
            "bloom/documents.npz": b"bloom"
        }
        counts = {"documents_in": 25, "documents_kept": 10, "characters_kept": 1000}
        details = {"sources": told, "examples": {"too_short": [{"text": SECRET_TEXT}]}}
        documents = self._make("documents", "documents", {"sources": rows, "rules": {"prose": {}}}, {"raw": raw}, counts, details, **files)
        self.tokens = self._make(
            "tokens",
            "tokens",
            {"load": None},
            {"documents": documents},
            {"tokens": 5000},
            {"tokenizer": {"sha256": "1" * 64}, "sources": {}},
        )
        raw_chats = self._make("raw", "raw-conversations", {"chats": [["file:chats.jsonl", 9, "sha256:" + "2" * 64]]}, {}, {"files": 1})
        section = {"sources": [{"name": "chats", "licence": "MIT", "location": "chats.jsonl"}]}
        self.conversations = self._make(
            "conversations",
            "conversations",
            section,
            {"raw": raw_chats},
            {"conversations": 3},
            {"template": "tulu", "example": SECRET_TEXT},
        )

    def _trained(self, stage: str, first: int, tokens: int, parents: dict[str, Handle], step: int = 0) -> Handle:
        section = {"stage": stage, "first_step": first}
        if step:
            name = f"{stage}-step{step}-tokens{tokens if tokens < 1000 else f'{tokens // 1000}K'}"
            return self._make("published", name, section | {"step": step}, parents, trained(stage, step, tokens))
        return self._make("checkpoint", stage, section, parents, trained(stage, first + 6, tokens), {"mixture": {"plays": tokens}})

    def _export(self, checkpoint: Handle) -> None:
        files = {"model/model.safetensors": f"weights of {checkpoint.name}".encode(), "model/config.json": b"{}"}
        self._make(
            "export", f"export-{checkpoint.name}", {"form": "transformers"}, {"checkpoint": checkpoint}, {"steps": 1}, PROVED, **files
        )

    def _release(self, which: str, checkpoint: Handle) -> Released:
        rows = {"benchmarks": [{"task": "arc_easy"}]}
        scores = self._make("scores", f"scores-{which}", {}, {"checkpoint": checkpoint, "tokens": self.tokens}, {}, rows)
        files = {"README.md": CARD.encode(), "model.safetensors": f"weights of {which}".encode(), "config.json": b"{}"}
        files |= {"reynard/recipe.yaml": yaml.safe_dump({"release": self.section.model_dump(mode="json")}).encode()}
        files |= {"chat_template.jinja": b"{{ messages }}"} if which == "chat" else {}
        sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(files.items()))
        files = {f"model/{path}": data for path, data in (files | {"SHA256SUMS": sums.encode()}).items()}
        section = self.section.model_dump(mode="json") | {"recipe": "small", "which": which}
        counts = {"repository": self.section.repository(which), "folder": f"release/{which}"}
        parents = {"checkpoint": checkpoint, "scores": scores}
        with Production(self.run, "release", f"release-{which}", section, parents, "tasks.release") as made:
            for path, data in files.items():
                made.add_text(path, data)
            made.add_text("model/reynard/sbom.cdx.json", b"this environment", record=True)
            made.seal(counts, {"checks": []})
            folder = Path(self.run.folder) / "release" / which
            for path, data in (files | {"model/reynard/sbom.cdx.json": b"this environment"}).items():
                place = folder / path.removeprefix("model/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
        return made.handle(Released)

    def manifest(self, which: str) -> Manifest:
        """Return the manifest of a release."""
        from tasks.runtime.production import load_manifest

        return load_manifest(self.run, self.base if which == "base" else self.chat)


def trained(stage: str, steps: int, tokens: int) -> JSON:
    """Return the counts of a checkpoint."""
    return {"stage": stage, "steps": steps, "tokens": tokens, "parameters": 1, "loss": 1.0}
