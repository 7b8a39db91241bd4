"""A checkpoint to an export artifact: a proven Hugging Face folder without a card, one for each checkpoint that is published."""

from tasks.artifacts.handles import Checkpoint, Run
from tasks.release.gate import judge, refuse_failed
from tasks.release.proof import prove
from tasks.runtime.production import Production, Reader

SECTION = {"form": "transformers"}


def export_checkpoint(run: Run, checkpoint: Checkpoint) -> Production:
    """Return the export of a checkpoint, found or made; BadInput says why it is refused."""
    name = f"export-{checkpoint.name}"
    with Production(run, "export", name, SECTION, {"checkpoint": checkpoint}, "tasks.release") as made:
        if made.needed:
            reader = Reader.of(run, checkpoint)
            source = reader.place("", made.scratch / "checkpoint")
            folder = made.scratch / "model"
            facts = prove(source, folder, None, str(reader.manifest.identity["section"].get("precision", "float32")))
            checks = judge(facts)
            refuse_failed(f"export of {checkpoint.label}", checks)
            assert facts.loaded is not None
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            for file in files:
                made.copy_file(file, f"model/{file.relative_to(folder).as_posix()}")
            counts = {
                "stage": checkpoint.stage,
                "steps": checkpoint.steps,
                "tokens": checkpoint.tokens,
                "parameters": facts.loaded.parameters,
            }
            made.seal(counts, {"checks": [check.row() for check in checks], "logit_difference": facts.loaded.trainer_difference})
    return made
