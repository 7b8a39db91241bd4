"""A checkpoint and its scores to all that they were made from, as a store has it, and in the form in which it leaves with the model."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import orjson

from recipes.errors import BadInput
from recipes.schema import Evaluation
from tasks.artifacts.handles import Checkpoint, Scores
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON, Manifest, read_manifest
from tasks.artifacts.store import Store

# of `recorded`: what another person needs to make it again; no machine, no run's name, no address
KEPT_RECORDS = ("commit", "python", "profile", "finished", "seconds")
TEXTS = ("examples", "example")  # details that quote documents, whose licences may not let us


@dataclass(frozen=True)
class Origins:
    """The manifests that led to a release: the checkpoint first, then all it was made from, its scores and their cards."""

    store: Store
    manifests: list[Manifest]
    scores: Manifest
    cards: list[Manifest]
    cards_missing: list[str]  # of the scores, labels of which the store has no card

    @classmethod
    def of(cls, store: Store, checkpoint: Checkpoint, scores: Scores) -> "Origins":
        """Read them from the store; FileNotFoundError if one of the ancestors is gone."""
        found = ancestors(store, checkpoint)
        own = next(one for one in ancestors(store, scores) if one.kind == "scores")
        cards, missing = [], []
        for label in dict.fromkeys(str(row.get("card", row["task"])) for row in own.details["benchmarks"]):
            card = read_manifest(store, f"card/{label.rpartition('@')[2]}")
            cards += [card] if card else []
            missing += [] if card else [label]
        return cls(store, found, own, cards, missing)

    @property
    def every(self) -> list[Manifest]:
        """All of them, the checkpoint first."""
        return [*self.manifests, self.scores, *self.cards]

    @property
    def checkpoint(self) -> Manifest:
        """The checkpoint that is released."""
        return self.manifests[0]

    def one(self, kind: str) -> Manifest | None:
        """Return the nearest artifact of a kind, None if there is none in the lineage."""
        return next((manifest for manifest in self.manifests if manifest.kind == kind), None)

    @cached_property
    def trained(self) -> list[Manifest]:
        """The checkpoints in the order in which they were trained."""
        return [manifest for manifest in self.manifests if manifest.kind == "checkpoint"][::-1]

    @property
    def precision(self) -> str:
        """The precision in which the released checkpoint was trained."""
        section = self.checkpoint.identity["section"]
        return str(section.get("precision") or section.get("sft", {}).get("precision") or "float32")

    def unscored(self, section: Evaluation, which: str) -> list[str]:
        """Return what a recipe wants scored and the scores lack, and the cards of theirs that are gone."""
        wanted = [f"{suite.name}/{one.task}" for suite in section.suites if suite.checkpoint in (which, "both") for one in suite.benchmarks]
        return [name for name in wanted if name not in self.scores.counts["scores"]] + self.cards_missing

    def conversations(self) -> list[JSON]:
        """Return the conversations that were kept as they were rendered; none where the lineage has no fine-tuning."""
        from tasks.model.template import PROBE
        from tasks.runtime.production import Reader

        rendered = self.one("conversations")
        if rendered is None:
            return []
        if PROBE not in {entry.path for entry in rendered.files}:
            raise BadInput(
                f"{rendered.name}@{rendered.version[:8]} was rendered by an older version of this project, which kept no conversation to hold a "
                "release's template against: fine-tune again"
            )
        return [orjson.loads(line) for line in Reader(self.store, rendered).path(PROBE).read_bytes().splitlines()]


def public(manifest: Manifest) -> JSON:
    """Return a manifest as it leaves with a model: all that decides it and what it holds, and no time, place, machine or quoted text."""
    identity = dict(manifest.identity)
    if parents := identity.pop("parent_artifacts", {}):
        identity["parent_artifacts"] = {
            role: {"name": one["name"], "version": one["version"], "uri": _place(one["uri"])} for role, one in parents.items()
        }
    details = {key: value for key, value in manifest.details.items() if key not in TEXTS}
    return manifest.model_dump() | {"identity": identity, "details": details, "recorded": {}, "records": []}


def lineage_json(origins: Origins) -> JSON:
    """Return `reynard/lineage.json`: the roots by role, and every manifest from them up to the raw sources."""
    roots = {"checkpoint": place(origins.checkpoint), "scores": place(origins.scores)}
    return {"root": roots, "manifests": [public(manifest) for manifest in origins.every]}


def recorded_json(manifests: Collection[Manifest]) -> JSON:
    """Return when, how long and by which commit each artifact was made: facts that differ between equal runs."""
    return {
        place(one): {"name": one.name} | {key: one.recorded[key] for key in KEPT_RECORDS if key in one.recorded} for one in manifests
    }  # fmt: skip


def place(manifest: Manifest) -> str:
    """Return an artifact's place in any store: kind and version."""
    return f"{manifest.kind}/{manifest.version}"


def _place(uri: str) -> str:
    return "/".join(uri.split("/")[-3:])
