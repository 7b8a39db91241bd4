"""A comparison with a report's table to a panel: a small chart for each column, our models with intervals, the report's as diamonds."""

from typing import Any

from tasks.panels.drawing import circle as dot
from tasks.panels.drawing import colour, diamond, rule, svg, text
from tasks.panels.formats import count, shortened, text_width, tick_texts, ticks
from tasks.panels.markup import Cell, figure, multiples, panel, table

JSON = dict[str, Any]
WIDTH, ROW, TOP = 330, 18, 8

NOTE = (
    "A dot is one of our models, the line through it the 95 % interval; a diamond is a value that the report printed, "
    "without an interval, since it gives none."
)


def comparison(found: JSON) -> str:
    """Draw a column at a time, and write all values and the differences between our models in tables."""
    lead = f"Our runs beside {found['source']}."
    if found["limit"] is not None:
        lead += f" Ours answered the first {found['limit']:,} items of each part alone; the report's values are of the full sets."
    charts = [
        figure(title_of(column), chart(found["rows"], number, column), "")
        for number, column in enumerate(found["columns"])
        if any(row["values"][number] for row in found["rows"] if not row["reported"])
    ]
    note = f'<p class="note">{NOTE}</p>'
    return panel("Beside the report", lead, note, multiples(charts), values(found), pairs(found["differences"]))


def title_of(column: JSON) -> str:
    """Name a column with its shots and unit."""
    shots = "" if column["shots"] is None else f", {column['shots']}-shot"
    return f"{column['title']}{shots}, {column['unit']}"


def chart(rows: list[JSON], number: int, column: JSON) -> str:
    """Draw one column: a line for each model that has a value, ours first, then the report's from the best on."""
    ours = [row for row in rows if not row["reported"] and row["values"][number]]
    theirs = sorted((row for row in rows if row["reported"] and row["values"][number]), key=lambda row: -row["values"][number]["score"])
    shown = [*ours, *theirs]
    left = min(150.0, max(text_width(row["name"]) for row in shown) + 10)
    right = WIDTH - text_width("100.0 ") - 4
    high = max(row["values"][number].get("high", row["values"][number]["score"]) for row in shown) * 1.04 or 1.0
    scale, bottom = (right - left) / high, TOP + ROW * len(shown)
    levels = [level for level in ticks(0, high, 4) if level <= high]
    body = []
    for level, words in zip(levels, tick_texts(levels), strict=True):
        body += [
            rule(left + level * scale, TOP, left + level * scale, bottom, "grid"),
            text(left + level * scale, bottom + 14, words, "tick", "middle"),
        ]
    if ours and theirs:
        body.append(rule(0, TOP + ROW * len(ours), WIDTH, TOP + ROW * len(ours), "hair"))
    for place, row in enumerate(shown):
        body += line(row, row["values"][number], place, left, scale, column["unit"])
    return svg(WIDTH, bottom + 20, body, f"{title_of(column)}: our models and the report's")


def line(row: JSON, value: JSON, place: int, left: float, scale: float, unit: str) -> list[str]:
    """Draw a model's value."""
    y = TOP + ROW * place + ROW / 2
    x, written = left + value["score"] * scale, f"{value['score']:.1f}" if unit == "%" else f"{value['score']:.2f}"
    parts = [text(left - 8, y + 4, shortened(row["name"], left - 10), "label" if not row["reported"] else "label muted", "end")]
    if row["reported"]:
        parts.append(diamond(x, y, 4, "reported srest", f"{row['name']}, reported: {written}"))
    else:
        tip = f"{row['name']}: {written}, 95 % interval {value['low']:.1f} to {value['high']:.1f}, {count(value['items'])} items"
        parts += [
            rule(left + value["low"] * scale, y, left + value["high"] * scale, y, f"error s{colour(0)}"),
            dot(x, y, 4, f"c{colour(0)}", tip),
        ]
    return [*parts, text(WIDTH, y + 4, written, "value" if not row["reported"] else "value muted", "end")]


def values(found: JSON) -> str:
    """Write every value: ours with its interval, the report's marked as reported."""
    rows: list[list[Cell]] = []
    for row in found["rows"]:
        cells = [None if value is None else written(value, row["reported"]) for value in row["values"]]
        rows.append([row["name"], "reported" if row["reported"] else "measured", *cells])
    return table("All values", ["model", "", *(title_of(column) for column in found["columns"])], rows)


def written(value: JSON, reported: bool) -> str:
    """Write a value, with its interval if it was measured."""
    return f"{value['score']:.2f}" if reported else f"{value['score']:.2f} ({value['low']:.1f} to {value['high']:.1f})"


def pairs(differences: list[JSON]) -> str:
    """Write the differences between our models; those whose interval holds no zero are told apart."""
    rows: list[list[Cell]] = [
        [one["of"], one["above"], f"{one['task']}, {one['shots']}-shot", f"{one['difference']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})",
         "yes" if one["low"] > 0 or one["high"] < 0 else "no"] for one in differences
    ]  # fmt: skip
    note = "Over the same items: 95 % of the means of 10,000 samples of the items, drawn with replacement, lie in the interval."
    return table("Differences between our models", ["model", "above", "benchmark", "by, points", "told apart"], rows, note) if rows else ""
