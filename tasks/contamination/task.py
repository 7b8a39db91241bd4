"""What was trained on, and scores, to contamination: which benchmark items the training data contains, and the scores without them."""

from recipes.schema import Contamination, Pretraining
from tasks.artifacts.handles import CheckpointRef, CleanScores, CleanScoresRef, RunRef, ScoresRef
from tasks.panels.contamination import contamination
from tasks.runtime.cluster import find_profile
from tasks.runtime.flyte import show, stage_task


@stage_task("tasks.contamination")
def find_contamination(
    run: RunRef, section: Contamination, pretraining: Pretraining, chat: CheckpointRef, base_scores: ScoresRef, chat_scores: ScoresRef
) -> CleanScoresRef:  # fmt: skip
    """Search everything that was trained on for the benchmarks' items; score both checkpoints on the items that are not there."""
    from tasks.contamination.find import find_clean_scores

    made = find_clean_scores(run, section, pretraining, chat, [base_scores, chat_scores], find_profile(run.profile).cpu_workers)
    assert made.manifest is not None
    show("contamination", contamination(made.manifest))
    return made.handle(CleanScores)
