"""A release's recipe, origins and folder to what speaks for it beside the weights: scores, licences, and the class of openness."""

from collections.abc import Collection
from pathlib import Path

from recipes.schema import Recipe
from tasks.openness.assess import Assessment, assess
from tasks.openness.evidence import PACKAGES
from tasks.release.facts import Evidence
from tasks.release.origins import Origins
from tasks.runtime.code import code_digest


def assess_folder(recipe: Recipe, which: str, origins: Origins, folder: Path, to_come: Collection[str] = ()) -> Assessment:
    """Assess a release by its folder as it is now, and the files that are still to come."""
    return assess(recipe.release, which, origins.every, folder, {package: code_digest(package) for package in PACKAGES}, to_come)


def evidence_of(recipe: Recipe, which: str, origins: Origins, assessed: Assessment) -> Evidence:
    """Collect what the gate asks beside what was loaded."""
    openness = assessed.facts()
    return Evidence(
        checkpoint=origins.checkpoint.digest, scored_checkpoint=origins.scores.identity["parents"].get("checkpoint", ""),
        unscored=origins.unscored(recipe.evaluation, which), scores=origins.scores.counts["scores"],
        thresholds=dict(recipe.release.thresholds), unknown_licences=openness["unknown_licences"], claimed_class=openness["claimed"],
        computed_class=openness["computed"], lacking=openness["lacking"],
    )  # fmt: skip
