"""A recipe to the plan of its run, before anything is spent: time, memory, storage, money, and what is done already.

pyflyte run workflows/plan.py plan --recipe recipes/fox1.yaml --profile h100x64
"""

from flytekit import workflow

from recipes.schema import Recipe
from tasks.planning.task import plan_run


@workflow
def plan(
    recipe: Recipe, profile: str = "", mfu: float = 0.4, price: float = 2.5, micro_batch_tokens: int = 0, tokens_per_second: float = 0.0,
    name: str = "", store: str = "",
) -> str:  # fmt: skip
    """Plan a run of a recipe; nothing is read but the recipe and the store's manifests."""
    return plan_run(
        recipe=recipe, profile=profile, mfu=mfu, price=price, micro_batch_tokens=micro_batch_tokens, tokens_per_second=tokens_per_second,
        name=name, store=store,
    )  # fmt: skip
