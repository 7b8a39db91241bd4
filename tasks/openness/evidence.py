"""A release's lineage and folder to evidence: for each of the framework's components what it is, its digest, its licence and its place.

A component counts only if there is something to show for it: a sealed artifact or a file of the folder, and a licence that is open. What
is not there has a reason. Code counts if its source lies in the folder and is the code that made the artifacts, by its digest.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recipes.release import Release
from tasks.artifacts.manifest import Manifest, digest_of
from tasks.artifacts.store import sha256_file
from tasks.openness.bill import EVALUATION, Entry, bill_of
from tasks.openness.framework import COMPONENTS, PAPER, REPORT, Component, standing
from tasks.openness.licences import ALSO_FREE, is_open
from tasks.openness.source_code import SOURCE, members

CARD, DATA_CARD, TECHNICAL_REPORT, SAMPLES = "README.md", "DATA_CARD.md", "reynard/technical_report.md", "reynard/samples.json"


class Missing(Exception):
    """There is nothing to show for a component; the message is the reason."""


@dataclass(frozen=True)
class Shown:
    """What there is to show for a component. `digest` is empty for what has none yet, or one that differs between equal releases."""

    artifact: str
    digest: str
    location: str
    licence: str
    note: str = ""


@dataclass(frozen=True)
class Part:
    """A component as a release has it."""

    component: Component
    shown: Shown | None
    missing: str = ""  # why there is nothing to show

    @property
    def standing(self) -> str:
        """How it counts: fit, conditional, closed, unlicensed or missing."""
        return standing(self.shown.licence, self.component.kind) if self.shown else "missing"


@dataclass(frozen=True)
class Material:
    """What evidence is looked for in.

    `manifests` are those of the checkpoint, its scores and their cards up to the raw sources, the checkpoint first. `code` gives the
    digest of each package's code as it is now. `to_come` are files that will be in the folder before the release is sealed.
    """

    section: Release
    which: str
    manifests: list[Manifest]
    folder: Path
    code: Mapping[str, str]
    to_come: Collection[str] = ()

    @cached_property
    def bill(self) -> list[Entry]:
        """The licence bill of materials."""
        return bill_of(self.manifests)

    @cached_property
    def members(self) -> set[str]:
        """The paths in the archive of the source code."""
        return members(self.folder / SOURCE)

    @property
    def repository(self) -> str:
        """The name of the released model's repository."""
        return self.section.address(self.section.base_name if self.which == "base" else self.section.chat_name)

    def of_kind(self, *kinds: str) -> list[Manifest]:
        """Return the manifests of some kinds; Missing if there is none."""
        found = [manifest for manifest in self.manifests if manifest.kind in kinds]
        if not found:
            raise Missing(f"no artifact of kind {' or '.join(kinds)} in the lineage")
        return found

    def sealed(self, manifests: list[Manifest], location: str, licence: str, note: str = "") -> Shown:
        """Show artifacts by their labels and one digest."""
        digests = [manifest.digest for manifest in manifests]
        labels = ", ".join(f"{manifest.name}@{manifest.version[:8]}" for manifest in manifests)
        return Shown(labels, digests[0] if len(digests) == 1 else digest_of(digests), location, licence, note)

    def files(self, patterns: list[str], licence: str, note: str = "") -> Shown:
        """Show files of the folder by one digest; Missing names a pattern that no file fits."""
        found: list[str] = []
        for pattern in patterns:
            fitting = sorted(
                path.relative_to(self.folder).as_posix() for path in self.folder.glob(pattern) if path.is_file() and path.stat().st_size
            )
            if not fitting and pattern not in self.to_come:
                raise Missing(f"the folder has no {pattern}")
            found += fitting or [pattern]
        there = [name for name in found if (self.folder / name).is_file() and name not in self.to_come]
        sums = [[name, sha256_file(self.folder / name)] for name in there]
        digest = "" if len(there) < len(found) else sums[0][1] if len(sums) == 1 else digest_of(sums)
        shown = found[0] if len(found) == 1 else f"{len(found)} files"
        return Shown(shown, digest, ", ".join(patterns), licence, note)

    def source(self, made: Mapping[str, list[Manifest]], *folders: str) -> Shown:
        """Show code: its places in the archive, and its digest, which must be that of the code that made the artifacts of each package."""
        for folder in folders:
            if not any(name.startswith(folder) for name in self.members):
                raise Missing(f"{SOURCE} has no {folder}" if self.members else f"the folder has no {SOURCE}")
        for package, manifests in made.items():
            for one in manifests:
                if (then := one.identity["code"]) != (now := self.code[package]):
                    raise Missing(f"{package} of {SOURCE} ({now}) is not the code that made {one.name}@{one.version[:8]} ({then})")
        digests = [self.code[package] for package in made]
        digest = digests[0] if len(digests) == 1 else digest_of(digests)
        return Shown(", ".join(made), digest, f"{SOURCE}: {', '.join(folders)}", self.section.component_licences.code)


def gather(material: Material) -> list[Part]:
    """Return all seventeen components, in the framework's order, each with what there is to show or why there is nothing."""
    parts = []
    for component in COMPONENTS:
        try:
            parts.append(Part(component, FINDERS[component.name](material)))
        except Missing as reason:
            parts.append(Part(component, None, str(reason)))
    return parts


def _preprocessing(of: Material) -> Shown:
    made = {"tasks.curation": of.of_kind("documents"), "tasks.tokenization": of.of_kind("tokens")}
    return of.source(made, "tasks/curation/", "tasks/tokenization/")


def _training(of: Material) -> Shown:
    tuned = [one for one in of.of_kind("checkpoint") if "conversations" in one.identity["parents"]]
    made = {"tasks.training": [one for one in of.of_kind("checkpoint") if one not in tuned]} | ({"tasks.sft": tuned} if tuned else {})
    return of.source(made, "tasks/training/", "tasks/engine/", *(["tasks/sft/"] if tuned else []))


def _intermediate(of: Material) -> Shown:
    if not of.section.publish_checkpoints:
        raise Missing("the recipe publishes no checkpoints (release.publish_checkpoints)")
    earlier = [one for one in of.of_kind("checkpoint") if one != of.manifests[0]]
    if not earlier:
        raise Missing("the lineage has no checkpoint before the released one")
    place = f"revisions of {of.section.address(of.section.base_name)}"
    return of.sealed(sorted(earlier, key=lambda one: one.name), place, of.section.licence, "exported by `--workflow checkpoints`")


def _datasets(of: Material) -> Shown:
    if not of.section.publish_data:
        raise Missing("the recipe publishes no data (release.publish_data)")
    for entry in of.bill:
        if entry.role in ("corpus", "conversations") and not entry.is_free:
            raise Missing(f"{entry.name!r} may not be given on: {entry.unknown or entry.spdx + ' does not allow it'}")
    made = of.of_kind("documents") + [one for one in of.manifests if one.kind == "conversations"]
    note = "every document keeps its source's licence: reynard/licences.json"
    return of.sealed(made, f"datasets/{of.section.address(of.section.dataset_name)}", of.section.component_licences.data, note)


def _evaluation_data(of: Material) -> Shown:
    scores = of.of_kind("scores")
    sets = [entry for entry in of.bill if entry.role == EVALUATION]
    if not sets:
        raise Missing("no benchmark was asked")
    for entry in sets:
        if not entry.digest or entry.unknown:
            raise Missing(f"{entry.name}: " + ("nobody knows its licence" if entry.unknown else "no evaluation card pins its items"))
    licences = sorted({one for entry in sets for licence in entry.licences for one in licence.ids}, key=_strictest)
    sample = all(scored.identity["section"]["items"] == "sample" for scored in scores)
    place = f"{SOURCE}: tasks/evaluation/items/" if sample else "the sets' own repositories on the Hub"
    if sample and not any(name.startswith("tasks/evaluation/items/") for name in of.members):
        raise Missing(f"{SOURCE} has no tasks/evaluation/items/")
    names = ", ".join(entry.name for entry in sets)
    return Shown(
        names, digest_of([entry.digest for entry in sets]), place, licences[0], f"each set keeps its licence: {', '.join(sorted(licences))}"
    )


def _strictest(licence: str) -> tuple[int, str]:
    """Order licences of things that lie together by what they allow for data: one name must stand for all, and it is the least fitting."""
    order = {"closed": 0, "conditional": 1, "fit": 3}
    return (2 if licence in ALSO_FREE and not is_open(licence) else order[standing(licence, "data")], licence)


def _documents(*patterns: str, note: str = "") -> Callable[[Material], Shown]:
    return lambda of: of.files(list(patterns), of.section.component_licences.documents, note)


PACKAGES = (
    "tasks.curation",
    "tasks.tokenization",
    "tasks.training",
    "tasks.sft",
    "tasks.evaluation",
    "tasks.model",
    "tasks.serving",
    "tasks.runtime",
)

FINDERS: dict[str, Callable[[Material], Shown]] = {
    "Model architecture": lambda of: of.source({"tasks.model": []}, "tasks/model/decoder.py"),
    "Data preprocessing code": _preprocessing,
    "Training code": _training,
    "Inference code": lambda of: of.source({"tasks.serving": []}, "tasks/serving/", "reynard/chat.py"),
    "Evaluation code": lambda of: of.source({"tasks.evaluation": of.of_kind("scores")}, "tasks/evaluation/"),
    "Supporting libraries and tools": lambda of: of.source({"tasks.runtime": []}, "tasks/runtime/", "constraints.txt"),
    "Model parameters (Final)": lambda of: of.files(["*.safetensors"], of.section.licence),
    "Model parameters (Intermediate)": _intermediate,
    "Datasets": _datasets,
    "Evaluation data": _evaluation_data,
    "Model metadata": lambda of: of.files(
        ["config.json", "generation_config.json", "reynard/recipe.yaml"], of.section.component_licences.data
    ),
    "Sample model outputs": _documents(SAMPLES),
    "Model card": _documents(CARD),
    "Data card": _documents(DATA_CARD),
    REPORT: _documents(TECHNICAL_REPORT),
    PAPER: _documents(TECHNICAL_REPORT, note="the technical report stands in for a paper"),
    "Evaluation results": _documents("reynard/cards/*.json"),
}
