"""A recipe's base and chat checkpoints to scores, on all benchmark items and on those that no training data contains.

pyflyte run workflows/evaluate.py evaluate --recipe recipes/tiny.yaml
"""

from typing import NamedTuple

from recipes.schema import Recipe
from tasks.artifacts.handles import CleanScoresRef, ScoresRef
from tasks.contamination.task import find_contamination
from tasks.evaluation.task import evaluate_model
from tasks.preflight.task import start_run
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot
from workflows.data import curate_and_tokenize
from workflows.pretrain import train_curriculum
from workflows.sft import finetune_base


class Evaluated(NamedTuple):
    """What the workflow makes."""

    base: ScoresRef
    chat: ScoresRef
    clean: CleanScoresRef


def evaluate_both(run, recipe, tokens, base, chat):
    """Wire the evaluation of both checkpoints; return their scores."""
    base_scores = evaluate_model(run=run, section=recipe.evaluation, which="base", tokens=tokens, checkpoint=base)
    chat_scores = evaluate_model(run=run, section=recipe.evaluation, which="chat", tokens=tokens, checkpoint=chat)
    return base_scores.with_overrides(node_name="evaluate-base"), chat_scores.with_overrides(node_name="evaluate-chat")


def score_without_overlap(run, recipe, chat, base_scores, chat_scores):
    """Wire the search of all that was trained on for benchmark items; return the scores with and without those found."""
    return find_contamination(
        run=run, section=recipe.contamination, pretraining=recipe.pretraining, chat=chat, base_scores=base_scores, chat_scores=chat_scores
    )


@workflow
def evaluate(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> Evaluated:
    """Evaluate a recipe's models; what is finished already is taken from the store."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    base = train_curriculum(run, recipe, tokens)[2]
    chat = finetune_base(run, recipe, raw_chats, base)
    base_scores, chat_scores = evaluate_both(run, recipe, tokens, base, chat)
    return base_scores, chat_scores, score_without_overlap(run, recipe, chat, base_scores, chat_scores)
