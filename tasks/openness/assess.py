"""A release's evidence to its class of the Model Openness Framework, and the reasons for which its licences forbid it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.release import Release
from tasks.artifacts.manifest import JSON, Manifest
from tasks.openness.bill import Entry, reasons
from tasks.openness.evidence import Material, Part, gather
from tasks.openness.framework import CLASSES, is_more, openness_class, progress


@dataclass(frozen=True)
class Assessment:
    """What a release may claim. `bill` is its licence bill of materials, `unknown` the reasons for which it may not go out at all."""

    section: Release
    which: str
    parts: list[Part]
    bill: list[Entry]

    @property
    def licences(self) -> dict[str, str | None]:
        """The licence of every component for which there is something to show."""
        return {part.component.name: part.shown.licence for part in self.parts if part.shown}

    @property
    def openness_class(self) -> str:
        """The class that the evidence gives: I, II, III or none."""
        return openness_class(self.licences)

    @property
    def progress(self) -> dict[str, float]:
        """How much of each class is reached, in percent."""
        return progress(self.licences)

    @property
    def claims_too_much(self) -> bool:
        """Tell whether the recipe claims a higher class than the evidence gives."""
        return is_more(self.section.openness_class, self.openness_class)

    @property
    def unknown(self) -> list[str]:
        """A sentence for each part of the weights whose licence nobody knows."""
        return reasons(self.bill)

    def lacking(self, name: str) -> list[str]:
        """Return what stands between the release and a class: a sentence for each required component that does not count."""
        numbers = [number for number, one in CLASSES.items() if one >= name]  # III, II, I: a class needs those before it
        return [
            f"{part.component.name}: {part.missing or 'its licence ' + (part.shown.licence if part.shown else '') + ' is not open'}"
            for part in self.parts
            if part.component.required and part.component.number in numbers and part.standing not in ("fit", "conditional")
        ]

    def rows(self) -> JSON:
        """Return what a manifest and the report keep: the class, and each component with what counts for it or why it does not."""
        parts = [
            {
                "name": part.component.name, "class": CLASSES[part.component.number], "required": part.component.required, "standing": part.standing,
                "artifact": part.shown.artifact if part.shown else "", "licence": part.shown.licence if part.shown else "", "missing": part.missing,
            }
            for part in self.parts
        ]  # fmt: skip
        return {"class": self.openness_class, "claimed": self.section.openness_class, "progress": self.progress, "parts": parts}

    def facts(self) -> JSON:
        """Return what a gate asks: the claimed class, the class that the evidence gives, what is lacking, and unknown licences."""
        claimed = self.section.openness_class
        lacking = self.lacking(claimed) if self.claims_too_much else []
        return {"claimed": claimed, "computed": self.openness_class, "lacking": lacking, "unknown_licences": self.unknown}


def assess(
    section: Release, which: str, manifests: list[Manifest], folder: Path, code: Mapping[str, str], to_come: Collection[str] = ()
) -> Assessment:
    """Assess a release before or after its last files (`to_come`) are written.

    `manifests` are those of the checkpoint, its scores and their cards up to the raw sources, the checkpoint first; `code` maps each of
    `evidence.PACKAGES` to the digest of its code.
    """
    material = Material(section, which, manifests, folder, code, to_come)
    return Assessment(section, which, gather(material), material.bill)
