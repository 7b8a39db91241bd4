"""A recipe and a store to exports and scores of all its checkpoints: the Flyte task behind `workflows/checkpoints.py`."""

from recipes.schema import Recipe
from tasks.artifacts.handles import RunRef
from tasks.runtime.flyte import control_task
from tasks.runtime.interface import Told


@control_task("tasks.publication")
def settle_checkpoints(run: RunRef, recipe: Recipe) -> Told:
    """Make the exports and scores that the recipe's checkpoints owe; what the store has already is left as it is."""
    from functools import partial

    from tasks.publication.owed import settle

    told = settle(run, recipe, partial(print, flush=True))
    print(told, flush=True)
    return told
