"""A recipe to the plan of its run, before anything is spent: time, memory, storage, money, and what is done already.

pyflyte run workflows/plan.py plan --recipe recipes/fox1.yaml --profile h100x64
"""

from recipes.schema import Recipe
from tasks.planning.task import plan_run
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import MicroBatch, Price, ProfileName, RunName, Speed, StoreRoot, Told, Utilisation


@workflow
def plan(
    recipe: Recipe, profile: ProfileName = "", mfu: Utilisation = 0.4, price: Price = 2.5, micro_batch_tokens: MicroBatch = 0,
    tokens_per_second: Speed = 0.0, name: RunName = "", store: StoreRoot = "",
) -> Told:  # fmt: skip
    """Plan a run of a recipe; nothing is read but the recipe and the store's manifests."""
    return plan_run(
        recipe=recipe, profile=profile, mfu=mfu, price=price, micro_batch_tokens=micro_batch_tokens, tokens_per_second=tokens_per_second,
        name=name, store=store,
    )  # fmt: skip
