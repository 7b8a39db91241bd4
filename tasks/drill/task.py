"""A recipe to the proof that its pre-training survives the death of its parts: the Flyte task of the drill."""

import tempfile
from pathlib import Path

from recipes.schema import Recipe
from tasks.panels.drill import drill_panel, kill_text
from tasks.runtime.flyte import control_task, show
from tasks.runtime.interface import Draws, DrawSeed, Kills, Told

COLUMNS = "draw  attempts  taken again  seconds  result"


@control_task("tasks.drill")
def drill_recipe(recipe: Recipe, draws: Draws, kills: Kills, seed: DrawSeed) -> Told:
    """Kill what a run of the recipe's pre-training consists of; return what came of it. RuntimeError if a draw differs.

    On a Ray cluster (RAY_ADDRESS) with a store (REYNARD_STORE) these are used, else servers of the drill's own on this machine.
    """
    from tasks.drill.drill import open_drill

    with tempfile.TemporaryDirectory(prefix="reynard-drill-") as folder, open_drill(recipe, Path(folder), kills) as made:
        rows = run_draws(made, draws, seed)
    show("drill", drill_panel(made.baseline["losses"], rows, made.losses))
    equal = sum(row["equal"] for row in rows)
    said = f"{equal} of {draws} draws ended bit for bit as the undisturbed run"
    if equal < draws:
        raise RuntimeError(said)
    return said


def run_draws(made, draws: int, seed: int) -> list[dict]:
    """Run undisturbed, if that is not known yet, then all draws, with a line each."""
    found = made.baseline or made.undisturbed()
    print(f"undisturbed: {len(found['losses'])} steps, last loss {found['losses'][-1]:.4f}\n{COLUMNS}", flush=True)
    rows = []
    for number in range(draws):
        row = made.draw(number, seed)
        rows.append(row)
        result = "equal, bit for bit" if row["equal"] else f"DIFFERS: {', '.join(row['differs'])}"
        killed = ", ".join(kill_text(kill) for kill in row["kills"])
        print(f"{number:>4}{row['attempts']:>10}{row['taken_again']:>13}{row['seconds']:>9.0f}  {result}; {killed}", flush=True)
    return rows
