"""The manifests of a run to its summary (plain values) and its report (one HTML page)."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, CleanScores, Documents, Handle, Released, Run, Scores, Tokens
from tasks.artifacts.manifest import JSON, Manifest, read_manifest
from tasks.artifacts.store import open_store
from tasks.panels.contamination import contamination
from tasks.panels.conversations import conversations
from tasks.panels.curation import curation
from tasks.panels.formats import clock
from tasks.panels.page import page
from tasks.panels.release import release
from tasks.panels.scores import scores
from tasks.panels.tokens import tokens as tokens_panel
from tasks.panels.training import training
from tasks.runtime.production import Reader


@dataclass(frozen=True)
class Parts:
    """Everything a run made, as manifests."""

    documents: Manifest
    tokens: Manifest
    trained: list[Manifest]  # three stages, then sft
    journals: list[list[dict[str, float]]]
    scores: list[Manifest]
    clean: Manifest  # scores with and without benchmark items that were trained on
    releases: list[Manifest]
    conversations: Manifest  # that the chat model learnt from

    def summary(self, run: Run, recipe: Recipe, wall_seconds: float) -> JSON:
        """Return the machine-readable summary of the run."""
        sources = self.documents.details["sources"]
        removed: dict[str, int] = {}
        for row in sources.values():
            for reason, number in row["removed"].items():
                removed[reason] = removed.get(reason, 0) + number
        folder = Path(run.folder)
        every = [self.documents, self.tokens, *self.trained, *self.scores, self.clean, *self.releases]
        return {
            "run": run.name, "recipe": recipe.name, "wall_seconds": round(wall_seconds, 1), "parameters": recipe.model.parameter_count(),
            "documents": {
                "in": self.documents.counts["documents_in"], "kept": self.documents.counts["documents_kept"], "removed": removed,
                "by_source": {name: {"in": row["documents_in"], "kept": row["documents_kept"]} for name, row in sources.items()},
            },
            "tokens_per_source": {name: row["tokens"] for name, row in self.tokens.details["sources"].items()},
            "held_out_tokens_per_source": {name: row["held_out_tokens"] for name, row in self.tokens.details["sources"].items()},
            "stages": [
                {"stage": m.counts["stage"], "steps": m.details["stage_steps"], "tokens": m.details["stage_tokens"],
                 "first_loss": round(first_loss(rows), 4), "loss": round(m.counts["loss"], 4), "seconds": m.recorded["seconds"],
                 "mixture": m.details["mixture"], "world_size": m.details["world_size"]}
                for m, rows in zip(self.trained, self.journals, strict=True)
            ],
            "scores": {m.counts["checkpoint"]: m.counts["scores"] for m in self.scores},
            "bits_per_byte": {m.counts["checkpoint"]: m.counts["bits_per_byte"] for m in self.scores},
            "contamination": self.clean.counts | {"ngram_words": self.clean.details["ngram_words"]},
            "digests": {m.name: m.digest for m in every},
            "versions": {m.name: m.version for m in every},
            "locations": {
                "run": str(folder), "report": str(folder / "report.html"), "store": run.store,
                "release_base": str(folder / "release" / "base"), "release_chat": str(folder / "release" / "chat"),
                "mlflow": run.tracking_uri, "mlflow_run": run.tracking_run,
            },
        }  # fmt: skip


def first_loss(rows: list[dict[str, float]]) -> float:
    """Return the mean loss of the first tenth of a stage's steps; a stage's `loss` is that of its last tenth."""
    head = rows[: max(1, len(rows) // 10)]
    return sum(row["loss"] for row in head) / len(head)


def collect(
    run: Run,
    documents: Documents,
    tokens: Tokens,
    trained: list[Checkpoint],
    scored: list[Scores],
    clean: CleanScores,
    released: list[Released],
) -> Parts:
    """Read the manifests and journals of a run from the store."""

    def manifests(handles: list[Handle]) -> list[Manifest]:
        return [Reader.of(run, handle).manifest for handle in handles]

    journals = []
    for handle in trained:
        reader = Reader.of(run, handle)
        lines = reader.path("journal.jsonl").read_bytes().splitlines()
        journals.append([orjson.loads(line) for line in lines])
    made_from = Reader.of(run, trained[-1]).manifest.identity["parent_artifacts"]["conversations"]
    learnt_from = read_manifest(open_store(run.store), f"conversations/{made_from['version']}")
    assert learnt_from is not None, "what a sealed checkpoint was made from is sealed"
    return Parts(
        documents=Reader.of(run, documents).manifest, tokens=Reader.of(run, tokens).manifest, trained=manifests(trained), journals=journals,
        scores=manifests(scored), clean=Reader.of(run, clean).manifest, releases=manifests(released), conversations=learnt_from,
    )  # fmt: skip


def report_panels(parts: Parts) -> list[str]:
    """Draw the panels of the report, from curation to release."""
    stages = list(zip(parts.trained, parts.journals, strict=True))
    return [
        curation(parts.documents),
        tokens_panel(parts.tokens),
        training(stages[:-1]),
        conversations(parts.conversations),
        training(stages[-1:]),
        scores(parts.scores),
        contamination(parts.clean),
        release(parts.releases),
    ]


def make_report(recipe: Recipe, parts: Parts, summary: JSON, panels: list[str]) -> str:
    """Write the panels of a run as a page of its own."""
    facts = [
        ("recipe", recipe.name), ("parameters", f"{recipe.model.parameter_count():,}"), ("wall time", clock(summary["wall_seconds"])),
        ("documents", f"{summary['documents']['kept']:,} kept of {summary['documents']['in']:,}"),
        ("training tokens", f"{sum(row['tokens'] for row in summary['stages'][:-1]):,}"),
        ("held-out loss", f"{summary['bits_per_byte']['base']:.3f} bits per byte"),
        ("commit", str(parts.trained[-1].recorded.get("commit"))[:12]),
    ]  # fmt: skip
    return page(f"Run {summary['run']}", recipe.summary, facts, panels)
