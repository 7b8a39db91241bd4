"""A recipe's pre-training killed at random points, before the expensive run: the proof that nothing is lost.

pyflyte run workflows/drill.py drill --recipe recipes/tiny.yaml --draws 5
"""

from flytekit import workflow

from recipes.schema import Recipe
from tasks.drill.task import drill_recipe


@workflow
def drill(recipe: Recipe, draws: int = 5, kills: int = 1, seed: int = 0) -> str:
    """Train the recipe undisturbed, then once a draw with `kills` kills, and compare losses, tokens and weights bit for bit."""
    return drill_recipe(recipe=recipe, draws=draws, kills=kills, seed=seed)
