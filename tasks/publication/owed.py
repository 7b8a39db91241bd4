"""A recipe and a store to what its checkpoints owe: an export and scores for each published one and for the end of each stage.

Nothing is remembered between runs: what is owed is what the store does not have. Checkpoints are known by the identities in their
manifests; the code that made them is not asked for, so that a run is followed by whatever version of this project is at hand.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Recipe
from tasks.artifacts.handles import Checkpoint, Run, Tokens
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON, Manifest, sealed
from tasks.artifacts.store import Store, open_store
from tasks.evaluation.score import score_checkpoint
from tasks.panels.page import page
from tasks.panels.scores import checkpoints
from tasks.release.revision import export_checkpoint
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show
from tasks.runtime.production import handle_of
from tasks.training.published import KIND
from tasks.training.train_stage import stage_identity


@dataclass(frozen=True)
class Owing:
    """A checkpoint with the tokens that it was trained on."""

    checkpoint: Checkpoint
    tokens: Tokens
    is_base: bool  # the end of the last stage, whose scores are those of the base model


def sections_of(recipe: Recipe) -> list[JSON]:
    """Return what decides the stages of a recipe."""
    numbers = range(len(recipe.pretraining.stages))
    return [stage_identity(recipe.model, recipe.pretraining, number, recipe.seed) for number in numbers]


def checkpoints_of(recipe: Recipe, store: Store, say: Callable[[str], None]) -> list[Owing]:
    """Return the published checkpoints of a recipe and the ends of its stages, in order of training; says which are left out.

    What was trained again to the same digest, by other code for example, is one checkpoint.
    """
    stages, found = sections_of(recipe), []
    for manifest in [*sealed(store, KIND), *sealed(store, "checkpoint")]:
        if stage_of(manifest) not in stages:
            continue
        try:
            every = ancestors(store, manifest)
        except FileNotFoundError as error:  # made from what somebody has removed since: there is nothing to score it on
            say(f"! {manifest.name}@{manifest.version[:8]} is left out: {error}")
            continue
        if all(is_of(recipe, stages, one) for one in every):
            tokens = next(one for one in every if one.kind == "tokens")
            is_base = manifest.kind != KIND and stage_of(manifest) == stages[-1]
            found.append(Owing(handle_of(store, manifest, Checkpoint), handle_of(store, tokens, Tokens), is_base))
    distinct = {(one.checkpoint.name, one.checkpoint.digest): one for one in found}
    return sorted(distinct.values(), key=lambda one: (one.checkpoint.steps, one.checkpoint.name, one.checkpoint.version))


def stage_of(manifest: Manifest) -> JSON:
    """Return what decided the stage that a checkpoint belongs to."""
    return {key: value for key, value in (manifest.identity.get("section") or {}).items() if key != "step"}


def is_of(recipe: Recipe, stages: list[JSON], manifest: Manifest) -> bool:
    """Tell whether an artifact was made by the sections that a recipe has now; raw files are not looked at."""
    if manifest.kind in ("checkpoint", KIND):
        return stage_of(manifest) in stages
    section = {"documents": recipe.curation, "tokens": recipe.tokenization}.get(manifest.kind)
    return section is None or manifest.identity.get("section") == section.model_dump(mode="json")


def settle(run: Run, recipe: Recipe, say: Callable[[str], None]) -> str:
    """Make what every checkpoint owes and the store does not have; say a line on each, and return one on all.

    With a profile's GPUs as many checkpoints at once as it has workers: their cards wait for GPUs together. What became of all goes to
    the run's `checkpoints.html`. BadInput names those for which it could not be made, after all others were seen to.
    """
    owing, failed, scored = checkpoints_of(recipe, open_store(run.store), say), [], []
    for one, outcome in outcomes(run, recipe, owing):
        try:
            told, scores = outcome()
            scored.append((one.checkpoint.tokens, one.checkpoint.name, scores))
            say(f"  {one.checkpoint.label}: {told}")
        except (BadInput, RuntimeError, OSError) as error:
            failed.append(one.checkpoint.label)
            say(f"! {one.checkpoint.label}: {error}")
    if scored:
        draw(run, recipe, scored)
    if failed:
        raise BadInput(
            f"{len(failed)} of {len(owing)} checkpoints still owe an export or scores, for the reasons above: {', '.join(failed)}"
        )
    return (
        f"{len(owing)} checkpoints of {recipe.name}, all exported and scored"
        if owing
        else f"{recipe.name} has no checkpoint in {run.store}"
    )


def outcomes(run: Run, recipe: Recipe, owing: list[Owing]) -> Iterator[tuple[Owing, Callable[[], tuple[str, Manifest]]]]:
    """Yield every checkpoint with the call that gives, or waits for, what came out: one after the other without GPUs, else at once."""
    profile = find_profile(run.profile)
    if not profile.gpus_per_worker:
        yield from ((one, partial(settle_one, run, recipe, one)) for one in owing)
        return
    with ThreadPoolExecutor(profile.workers) as threads:
        futures = [threads.submit(settle_one, run, recipe, one) for one in owing]
        yield from ((one, future.result) for one, future in zip(owing, futures, strict=True))


def settle_one(run: Run, recipe: Recipe, one: Owing) -> tuple[str, Manifest]:
    """Make a checkpoint's export and its scores, unless they are there; return what came out."""
    export = export_checkpoint(run, one.checkpoint).manifest
    name = "scores-base" if one.is_base else f"scores-{one.checkpoint.name}"
    scores = score_checkpoint(run, recipe.evaluation, "base", one.tokens, one.checkpoint, name).manifest
    assert export is not None and scores is not None
    marks = "".join(f"  {task} {score:.1f}" for task, score in scores.counts["scores"].items())
    proof = f"exported, logits differ by at most {export.details['logit_difference']:.1e}"
    return f"{proof}; {scores.counts['bits_per_byte']:.3f} bits per byte{marks}", scores


def draw(run: Run, recipe: Recipe, scored: list[tuple[int, str, Manifest]]) -> None:
    """Show a recipe's checkpoints as a deck, and write their page into the run's folder."""
    Path(run.folder).mkdir(parents=True, exist_ok=True)
    facts = [("recipe", recipe.name), ("checkpoints", str(len(scored))), ("store", run.store)]
    drawn = checkpoints(scored)
    show("checkpoints", drawn)
    written = page(f"Checkpoints of {recipe.name}", "", facts, [drawn])
    (Path(run.folder) / "checkpoints.html").write_text(written, encoding="utf-8")
