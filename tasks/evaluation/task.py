"""Checkpoint to scores: the Flyte task of the evaluation stage."""

from recipes.schema import Evaluation
from tasks.artifacts.handles import CheckpointRef, RunRef, Scores, ScoresRef, TokensRef
from tasks.panels.scores import scores
from tasks.runtime.flyte import show, stage_task
from tasks.runtime.interface import Which


@stage_task("tasks.evaluation")
def evaluate_model(run: RunRef, section: Evaluation, which: Which, tokens: TokensRef, checkpoint: CheckpointRef) -> ScoresRef:
    """Score the exported checkpoint with lm-evaluation-harness, and measure its held-out loss in bits per byte."""
    from tasks.evaluation.score import score_checkpoint

    made = score_checkpoint(run, section, which, tokens, checkpoint, f"scores-{which}")
    assert made.manifest is not None
    show("scores", scores([made.manifest]))
    return made.handle(Scores)
