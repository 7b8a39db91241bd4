"""A recipe's checkpoints in the store to their exports and scores: trains nothing, and may run beside a training run or after a crash.

pyflyte run workflows/checkpoints.py checkpoints --recipe recipes/tiny.yaml
"""

from recipes.schema import Recipe
from tasks.preflight.task import open_run
from tasks.publication.task import settle_checkpoints
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import RunName, StoreRoot, Told


@workflow
def checkpoints(recipe: Recipe, name: RunName = "", store: StoreRoot = "") -> Told:
    """Export and score every published checkpoint of a recipe, and the end of each stage, unless the store has it."""
    return settle_checkpoints(run=open_run(recipe=recipe, name=name, store=store), recipe=recipe)
