"""Checkpoint and scores to a published model, or a refusal with reasons: the Flyte task of the release stage."""

from pathlib import Path

from recipes.schema import Release
from tasks.artifacts.handles import CheckpointRef, Released, ReleasedRef, RunRef, ScoresRef
from tasks.panels.release import release
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, Reader


@stage_task("tasks.release")
def release_model(run: RunRef, recipe_name: str, section: Release, which: str, checkpoint: CheckpointRef, scores: ScoresRef) -> ReleasedRef:
    """Export the checkpoint, prove it in a clean process, write its card, and lay it down as a Hugging Face repository."""
    from tasks.release.publish import lay_down, make_release, release_identity

    identity = release_identity(section, recipe_name, which)
    with Production(run, "release", f"release-{which}", identity, {"checkpoint": checkpoint, "scores": scores}, "tasks.release") as made:
        if made.needed:
            source = Reader.of(run, checkpoint).place("", made.scratch / "checkpoint")
            folder = made.scratch / "model"
            details = make_release(section, recipe_name, which, source, folder, made.store, checkpoint, scores)
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                made.copy_file(file, f"model/{file.relative_to(folder).as_posix()}")
            name = section.base_name if which == "base" else section.chat_name
            made.seal({"repository": name, "folder": f"release/{which}"}, details)
        assert made.manifest is not None
        handle = made.handle(Released)
        lay_down(Reader.of(run, handle), Path(run.folder) / "release" / which)
        from tasks.runtime.registry import register_model

        register_model(made.tracking, made.manifest, {})
        show("release", release([made.manifest]))
        return handle
