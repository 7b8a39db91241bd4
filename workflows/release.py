"""A recipe's evaluated checkpoints to published models.

pyflyte run workflows/release.py release --recipe recipes/tiny.yaml
"""

from flytekit import workflow

from recipes.schema import Recipe
from tasks.artifacts.handles import ReleasedRef
from tasks.preflight.task import start_run
from tasks.release.task import release_model
from workflows.data import curate_and_tokenize
from workflows.evaluate import evaluate_both
from workflows.pretrain import train_curriculum
from workflows.sft import finetune_base


def release_both(run, recipe, base, chat, base_scores, chat_scores):
    """Wire the release of both models; return them."""
    return (
        release_model(run=run, recipe_name=recipe.name, section=recipe.release, which="base", checkpoint=base, scores=base_scores),
        release_model(run=run, recipe_name=recipe.name, section=recipe.release, which="chat", checkpoint=chat, scores=chat_scores),
    )


@workflow
def release(recipe: Recipe, name: str = "", store: str = "") -> tuple[ReleasedRef, ReleasedRef]:
    """Release a recipe's models; what is finished already is taken from the store."""
    run, raw, raw_chats = start_run(recipe=recipe, name=name, store=store)
    _, tokens = curate_and_tokenize(run, recipe, raw)
    base = train_curriculum(run, recipe, tokens)[2]
    chat = finetune_base(run, recipe, raw_chats, base)
    return release_both(run, recipe, base, chat, *evaluate_both(run, recipe, tokens, base, chat))
