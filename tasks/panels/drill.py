"""A drill's rows and loss curves to a page: what was killed when, and that nothing came of it."""

from collections.abc import Sequence

from tasks.panels.curves import Series, line_chart
from tasks.panels.formats import clock, count
from tasks.panels.markup import Cell, figure, panel, table
from tasks.panels.page import page

Row = dict
SAME = "equal, bit for bit"


def drill_page(recipe: str, undisturbed: Sequence[float], draws: Sequence[Row], losses: Sequence[Sequence[float]]) -> str:
    """Write the page; `losses` are those of each draw, step by step."""
    kills = sum(len(row["kills"]) for row in draws)
    facts = [("recipe", recipe), ("steps", count(len(undisturbed))), ("draws", count(len(draws))), ("kills", count(kills))]
    return page(f"Drill of {recipe}", "", facts, [drill_panel(undisturbed, draws, losses)])


def drill_panel(undisturbed: Sequence[float], draws: Sequence[Row], losses: Sequence[Sequence[float]]) -> str:
    """Show the table of draws, and the loss of the draw with the most kills beside that of the undisturbed run."""
    equal = sum(row["equal"] for row in draws)
    lead = f"{equal} of {len(draws)} draws ended as the undisturbed run did: same losses, same tokens, same weights, bit for bit."
    most = max(range(len(draws)), key=lambda number: len(draws[number]["kills"]))
    return panel("Drill", lead, curves(undisturbed, draws[most], losses[most]), draw_table(draws))


def curves(undisturbed: Sequence[float], draw: Row, losses: Sequence[float]) -> str:
    """Draw both losses over one axis, and their difference below, with the kills."""
    marks = [(float(kill["after_step"]), kill["victim"]) for kill in draw["kills"] if kill["after_step"] is not None]
    both = [Series("undisturbed", list(enumerate(undisturbed, 1))), Series(f"draw {draw['draw']}", list(enumerate(losses, 1)))]
    apart = [(step, one - other) for step, (one, other) in enumerate(zip(losses, undisturbed, strict=True), 1)]
    largest = max((abs(value) for _, value in apart), default=0.0)
    over = line_chart(both, "Loss over steps, undisturbed and with kills", "step", marks)
    below = line_chart([Series("", apart)], "Difference of the losses", "step", marks, (960, 160))
    return figure("Loss over steps, undisturbed and with kills", over, "Where the curves are equal, the second covers the first.") + figure(
        f"Difference of the losses: at most {largest:g} nats", below
    )


def draw_table(draws: Sequence[Row]) -> str:
    """Write a row a draw."""
    written: list[list[Cell]] = [
        [
            str(row["draw"]), ", ".join(kill_text(kill) for kill in row["kills"]), row["attempts"], row["taken_again"],
            clock(row["seconds"]), SAME if row["equal"] else "differs: " + ", ".join(row["differs"]),
        ]
        for row in draws
    ]  # fmt: skip
    return table("Draws", ["draw", "killed after step", "attempts of the driver", "steps taken again", "time", "result"], written)


def kill_text(kill: Row) -> str:
    """Write what was killed, and after which step."""
    return f"{kill['victim']} {kill['after_step'] if kill['after_step'] is not None else '–'}{' (upload)' if kill['uploading'] else ''}"
