"""Checkpoint and scores to a released model, or a refusal with reasons: the Flyte tasks of the release stage."""

import os
from pathlib import Path
from typing import Annotated

from recipes.release import Release
from recipes.schema import Recipe
from tasks.artifacts.handles import CheckpointRef, Released, ReleasedRef, RunRef, ScoresRef
from tasks.panels.release import approval, delivered, refusal
from tasks.panels.release import release as release_panel
from tasks.runtime.flyte import control_task, show, stage_task
from tasks.runtime.interface import ByGate, Which
from tasks.runtime.production import Production, load_manifest


@stage_task("tasks.release")
def release_model(run: RunRef, recipe: Recipe, which: Which, checkpoint: CheckpointRef, scores: ScoresRef) -> ReleasedRef:
    """Export the checkpoint, prove it in a clean process and judge it; seal it with its cards and origins, or refuse it with every reason."""
    from tasks.release.publish import Refused, make_release, release_identity, seal_release
    from tasks.release.verdict import leave_verdict
    from tasks.runtime.registry import register_model

    parents = {"checkpoint": checkpoint, "scores": scores}
    verdict = Path(run.folder) / "release" / f"{which}.refused.md"
    with Production(run, "release", f"release-{which}", release_identity(recipe, which), parents, "tasks.release") as made:
        if made.needed:
            try:
                folder, details = make_release(recipe, which, made.scratch, made.store, checkpoint, scores)
            except Refused as refused:
                leave_verdict(made.store, made.version, verdict, f"Release of {which}", refused.checks)
                show("release", refusal(which, [check.row() | {"remedy": check.remedy} for check in refused.checks]))
                raise
            seal_release(made, recipe.release.repository("base" if which == "base" else "chat"), which, folder, details)
        verdict.unlink(missing_ok=True)
        assert made.manifest is not None
        register_model(made.tracking, made.manifest, {})
        show("release", release_panel([made.manifest]))
        return made.handle(Released)


@control_task("tasks.release")
def waits_for_approval(run: RunRef, section: Release, release: ReleasedRef) -> Annotated[bool, "Whether a person has to be asked."]:
    """Tell whether a gate node has to ask a person: on a cluster, if the recipe wants it and nobody has approved this release yet."""
    from tasks.artifacts.store import open_store
    from tasks.release.approval import is_approved

    on_cluster = "FLYTE_INTERNAL_EXECUTION_ID" in os.environ
    waits = section.approval and on_cluster and not is_approved(open_store(run.store), load_manifest(run, release))
    show("approval", approval(section.approval, waits))
    return waits


@control_task("tasks.release")
def present_release(run: RunRef, release: ReleasedRef) -> ReleasedRef:
    """Show a release that passed its checks to the person who is asked for approval."""
    show("release", release_panel([load_manifest(run, release)]))
    return release


@control_task("tasks.release")
def deliver_release(run: RunRef, section: Release, release: ReleasedRef, by_gate: ByGate) -> ReleasedRef:
    """Lay an approved release down as a Hugging Face repository; without the approval that the recipe asks for, only as a candidate."""
    from tasks.release.approval import settle_approval
    from tasks.release.publish import lay_down, put_in_place
    from tasks.runtime.production import Reader
    from tasks.runtime.registry import mark_released

    reader = Reader.of(run, release)
    folder = Path(run.folder) / release.folder
    candidate = folder.with_name(f"{folder.name}.candidate")
    lay_down(reader, candidate)
    by = settle_approval(section, reader.store, reader.manifest, by_gate, str(candidate / "README.md"))
    put_in_place(candidate, folder)
    if by:
        mark_released(run.tracking_uri, reader.store, reader.manifest, {"approved_by": by})
    show("release", delivered(reader.manifest, str(folder), by) + release_panel([reader.manifest]))
    return release
