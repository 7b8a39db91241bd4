"""A recipe's pre-training killed at random points, before the expensive run: the proof that nothing is lost.

pyflyte run workflows/drill.py drill --recipe recipes/tiny.yaml --draws 5
"""

from recipes.schema import Recipe
from tasks.drill.task import drill_recipe
from tasks.runtime.flyte import workflow
from tasks.runtime.interface import Draws, DrawSeed, Kills, Told


@workflow
def drill(recipe: Recipe, draws: Draws = 5, kills: Kills = 1, seed: DrawSeed = 0) -> Told:
    """Train the recipe undisturbed, then once a draw with `kills` kills, and compare losses, tokens and weights bit for bit."""
    return drill_recipe(recipe=recipe, draws=draws, kills=kills, seed=seed)
