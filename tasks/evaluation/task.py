"""Checkpoint to scores: the Flyte task of the evaluation stage."""

from recipes.schema import Evaluation
from tasks.artifacts.handles import CheckpointRef, RunRef, Scores, ScoresRef, TokensRef
from tasks.panels.scores import scores
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.production import Production, Reader


@stage_task("tasks.evaluation")
def evaluate_model(run: RunRef, section: Evaluation, which: str, tokens: TokensRef, checkpoint: CheckpointRef) -> ScoresRef:
    """Score the exported checkpoint with lm-evaluation-harness, and measure its held-out loss in bits per byte."""
    from tasks.evaluation.evaluate import evaluate_checkpoint, scores_identity
    from tasks.evaluation.inputs import held_out_documents
    from tasks.model.export import export

    parents = {"checkpoint": checkpoint, "tokens": tokens}
    with Production(run, "scores", f"scores-{which}", scores_identity(section, which), parents, "tasks.evaluation") as made:
        if made.needed:
            source = Reader.of(run, checkpoint).place("", made.scratch / "checkpoint")
            export(source, made.scratch / "model", chat_template=None)
            held_out = held_out_documents(Reader.of(run, tokens))
            result = evaluate_checkpoint(section, which, made.scratch / "model", held_out, made.scratch)
            made.seal(result["counts"], result["details"])
        assert made.manifest is not None
        show("scores", scores([made.manifest]))
        return made.handle(Scores)
