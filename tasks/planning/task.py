"""A recipe to the plan of a run: the Flyte task behind `workflows/plan.py`."""

import os

from recipes.schema import Recipe
from tasks.panels.plan import plan_panels
from tasks.panels.plan_words import totals_sentence
from tasks.runtime.flyte import control_task, show
from tasks.runtime.interface import MicroBatch, Price, ProfileName, RunName, Speed, StoreRoot, Told, Utilisation


@control_task("tasks.planning")
def plan_run(
    recipe: Recipe, profile: ProfileName, mfu: Utilisation, price: Price, micro_batch_tokens: MicroBatch, tokens_per_second: Speed,
    name: RunName, store: StoreRoot,
) -> Told:  # fmt: skip
    """Plan a run before anything is spent: print it, show it as a Deck, and return what it takes in one sentence."""
    from tasks.planning.plan import Assumptions, make_plan, store_root
    from tasks.planning.text import plan_text

    profile = profile or os.environ.get("REYNARD_PROFILE", "local")
    assumptions = Assumptions(profile, mfu, price, micro_batch_tokens, tokens_per_second)
    plan = make_plan(recipe, assumptions, store_root(name or recipe.name, store))
    show("plan", "".join(plan_panels(plan)))
    print(plan_text(plan), flush=True)
    return totals_sentence(plan)
