"""Labelled numbers to bar charts, funnels, histograms and dot plots: inline SVG, labelled directly, sorted by the caller."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tasks.panels.drawing import COLOURS, WIDTH, circle, colour, diamond, rect, rule, svg, text
from tasks.panels.formats import count, decimal, share, shortened, text_width, tick_texts, ticks

ROW, BAR, GAP, MAX_LABEL = 25, 16, 10, 270


def label_column(labels: Sequence[str]) -> float:
    """Return the width of the label column: the longest label, within reason."""
    return min(max((text_width(label) for label in labels), default=0), MAX_LABEL) + GAP


def row_label(label: str, column: float, y: float) -> str:
    """Draw a row's label, flush right against the chart."""
    return text(column - GAP, y, shortened(label, column - GAP), "label", "end")


def bars(rows: Sequence[tuple[str, float]], label: str, written: Callable[[float], str] = count, width: float = WIDTH) -> str:
    """Draw one horizontal bar a row, its value written at its end."""
    column = label_column([name for name, _ in rows])
    reserved = max((text_width(written(value)) for _, value in rows), default=0) + GAP
    largest = max((value for _, value in rows), default=0) or 1
    scale = (width - column - reserved) / largest
    body = []
    for index, (name, value) in enumerate(rows):
        y = index * ROW + 4
        body += [
            row_label(name, column, y + 12),
            rect(column, y, max(value * scale, 1 if value else 0), BAR, "c0", f"{name}: {written(value)}"),
            text(column + value * scale + 6, y + 12, written(value), "value"),
        ]
    return svg(width, len(rows) * ROW + 4, body, label)


def stacked_bars(
    rows: Sequence[tuple[str, dict[str, float]]],
    parts: Sequence[str],
    label: str,
    written: Callable[[float], str] = count,
    *,
    shares: bool = False,
) -> str:
    """Draw one bar a row, cut into parts; with `shares` every bar is full-width and its parts are labelled in per cent."""
    parts = list(parts)
    column = label_column([name for name, _ in rows])
    totals = [sum(values.get(part, 0) for part in parts) for _, values in rows]
    reserved = max((text_width(written(total)) for total in totals), default=0) + GAP
    body = []
    for index, ((name, values), total) in enumerate(zip(rows, totals, strict=True)):
        scale = (WIDTH - column - reserved) / ((total if shares else max(totals)) or 1)
        x, y = column, index * ROW + 4
        body.append(row_label(name, column, y + 12))
        for number, part in enumerate(parts):
            size = values.get(part, 0) * scale
            if size <= 0:
                continue
            body.append(
                rect(
                    x,
                    y,
                    max(size, 0.5),
                    BAR,
                    f"c{colour(number)} edge",
                    f"{name}, {part}: {written(values[part])} ({share(values[part], total)})",
                )
            )
            inside = f"{100 * values[part] / total:.0f} %"
            if shares and text_width(inside, 11) < size - 6:
                body.append(text(x + size / 2, y + 12, inside, f"inside i{colour(number)}", "middle"))
            x += size
        body.append(text(x + 6, y + 12, written(total), "value"))
    return svg(WIDTH, len(rows) * ROW + 4, body, label)


def grouped_bars(
    rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], label: str, written: Callable[[float], str] = decimal
) -> str:
    """Draw several thin bars a row, one for each name; None leaves a gap."""
    column = label_column([name for name, _ in rows])
    largest = max((value for _, values in rows for value in values if value is not None), default=0) or 1
    reserved = max((text_width(written(value), 11) for _, values in rows for value in values if value is not None), default=0) + GAP
    scale = (WIDTH - column - reserved) / largest
    thick = 12
    height = thick * max(len(names), 1) + 10
    body = []
    for index, (row, values) in enumerate(rows):
        top = index * height + 4
        body.append(row_label(row, column, top + thick * len(names) / 2 + 4))
        for number, value in enumerate(values):
            if value is None:
                continue
            y = top + number * thick
            body.append(rect(column, y, value * scale, thick - 1, f"c{colour(number)}", f"{row}, {names[number]}: {written(value)}"))
            body.append(text(column + value * scale + 5, y + thick - 2.5, written(value), "value small"))
    return svg(WIDTH, len(rows) * height + 4, body, label)


def funnel(rows: Sequence[tuple[str, float]], label: str, first: str, last: str) -> str:
    """Draw what a series of rules leaves: `rows` is what comes in, then what each named rule removes; the last bar is what stays.

    The first row's number is the whole; a row's bar shows what the rule leaves (solid) and what it removes (hatched tint).
    """
    whole = rows[0][1] if rows else 0
    names = [first, *(f"− {name}" for name, _ in rows[1:]), last]
    column = label_column(names)
    reserved = max([text_width(f"{count(n)}  ({share(n, whole)})") for n in [whole, *(n for _, n in rows[1:])]], default=0) + GAP
    scale = (WIDTH - column - reserved) / (whole or 1)
    left, body = whole, []
    for index, name in enumerate(names):
        y, removed = index * ROW + 4, rows[index][1] if 0 < index < len(rows) else 0
        left -= removed
        body.append(row_label(name, column, y + 12))
        end = column + (left + removed) * scale
        if removed:
            body.append(rect(column, y, left * scale, BAR, "faded", f"left: {count(left)}"))
            body.append(
                rect(
                    end - max(removed * scale, 1),
                    y,
                    max(removed * scale, 1),
                    BAR,
                    "c1",
                    f"{name.removeprefix('− ')}: {count(removed)} removed",
                )
            )
            body.append(text(end + 6, y + 12, f"{count(removed)}  ({share(removed, whole)})", "value"))
        else:
            body.append(rect(column, y, left * scale, BAR, "c0" if index in (0, len(names) - 1) else "faded", f"{name}: {count(left)}"))
            written = count(left) if index == 0 else f"{count(left)}  ({share(left, whole)})" if index == len(names) - 1 else "0"
            body.append(text(end + 6, y + 12, written, "value"))
    return svg(WIDTH, len(names) * ROW + 4, body, label)


def histogram(
    edges: Sequence[float],
    series: dict[str, Sequence[float]],
    label: str,
    x_label: str,
    width: float = WIDTH,
    height: float = 190,
    unit: str = "documents",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw stacked counts over bins of equal drawn width; `edges` are the bins' borders, one more than counts.

    `marks` are values of the same axis, such as a threshold, each drawn as a dashed line with its label.
    """
    bins = min([len(edges) - 1, *(len(counts) for counts in series.values())]) if series else 0
    if bins < 1:
        return svg(width, 30, [text(0, 20, "nothing to show", "muted")], label)
    totals = [sum(counts[index] for counts in series.values()) for index in range(bins)]
    levels = [value for value in ticks(0, max(totals) or 1, 3) if value == int(value)]
    written = tick_texts(levels)
    left, top, bottom = max(text_width(value, 11) for value in written) + 8, 8 + 15 * len(marks), height - 36
    right = width - text_width(edge_texts([edges[bins]])[0], 11) / 2 - 2
    step, scale = (right - left) / bins, (bottom - top) / (max(totals) or 1)
    body = []
    for value, words in zip(levels, written, strict=True):
        body += [rule(left, bottom - value * scale, right, bottom - value * scale, "grid" if value else "axis"),
                 text(left - 6, bottom - value * scale + 4, words, "tick", "end")]  # fmt: skip
    for index in range(bins):
        y = bottom
        for number, (name, counts) in enumerate(series.items()):
            size = counts[index] * scale
            y -= size
            span = f"{edges[index]:,g} to {edges[index + 1]:,g}"
            if size:
                tip = f"{span}: {count(counts[index])} {unit}{f' {name}' if name else ''}"
                body.append(rect(left + index * step + 0.5, y, step - 1, size, f"c{colour(number)}", tip))
    for number, (value, words) in enumerate(marks):
        body += mark(left + place(edges[: bins + 1], value) * step, 15 * number, bottom, words, (left + right) / 2)
    body += edge_labels(list(edges[: bins + 1]), left, step, bottom + 14)
    body.append(text((left + right) / 2, height - 4, x_label, "tick", "middle"))
    return svg(width, height, body, label)


def place(edges: Sequence[float], value: float) -> float:
    """Return where a value lies among bins of equal drawn width: 2.5 is the middle of the third; values outside go to the ends."""
    if value <= edges[0]:
        return 0.0
    if value >= edges[-1]:
        return float(len(edges) - 1)
    index = bisect_right(edges, value) - 1
    return index + (value - edges[index]) / (edges[index + 1] - edges[index])


def mark(x: float, top: float, bottom: float, words: str, middle: float) -> list[str]:
    """Draw a labelled dashed line at a value; the label lies on the side where the chart is wider."""
    line = rule(x, top, x, bottom, "boundary")
    return [line, text(x - 5, top + 10, words, "value small", "end") if x > middle else text(x + 5, top + 10, words, "value small")]


def edge_labels(edges: list[float], left: float, step: float, y: float) -> list[str]:
    """Label as many bin borders as fit without touching."""
    written = edge_texts(edges)
    widest = max(text_width(words, 11) for words in written) + 8
    every = max(1, -int(-widest // step))
    return [text(left + index * step, y, written[index], "tick", "middle") for index in range(0, len(edges), every)]


def edge_texts(edges: list[float]) -> list[str]:
    """Write bin borders; powers of two as chunk lengths are spoken of, 2048 as 2K."""
    if all(edge == 0 or (edge >= 1 and float(edge).is_integer() and int(edge) & (int(edge) - 1) == 0) for edge in edges):
        return [f"{int(edge) // 1024:,}K" if edge >= 1024 else f"{int(edge)}" for edge in edges]
    return tick_texts(edges)


@dataclass(frozen=True)
class Dot:
    """One measured value with its standard error."""

    value: float
    error: float | None = None


@dataclass(frozen=True)
class DotRow:
    """One row of a dot plot: a dot (or None) for each name, with chance and a reported value as marks."""

    label: str
    dots: Sequence[Dot | None]
    chance: float | None = None
    reported: Sequence[float | None] = field(default_factory=list)


def dot_plot(rows: Sequence[DotRow], names: Sequence[str], label: str, x_label: str, high: float) -> str:
    """Draw measured values with error bars on one axis from zero to `high`, and write them in columns at the right."""
    column, columns = label_column([row.label for row in rows]), 92 * len(names)
    top, height, right = 22, 15 * max(len(names), 1) + 8, WIDTH - columns - GAP
    high = max(high, 1) * 1.02
    scale = (right - column) / high
    bottom = top + height * len(rows)
    levels = ticks(0, high, 6)
    body = []
    for value, written in zip(levels, tick_texts(levels), strict=True):
        x = column + value * scale
        body += [rule(x, top, x, bottom, "grid"), text(x, bottom + 15, written, "tick", "middle")]
    for number, name in enumerate(names):
        body.append(text(right + GAP + 92 * (number + 1), top - 8, shortened(name, 88), f"label t{colour(number)}", "end"))
    for index, row in enumerate(rows):
        body += dot_row(row, names, top + index * height, height, column, scale, right)
    body.append(text((column + right) / 2, bottom + 32, x_label, "tick", "middle"))
    return svg(WIDTH, bottom + 38, body, label)


def dot_row(row: DotRow, names: Sequence[str], top: float, height: float, column: float, scale: float, right: float) -> list[str]:
    """Draw one row of a dot plot: chance, then for each name error bar, dot, reported value and the number."""
    body = [rule(column, top, right + GAP + 92 * len(names), top, "hair"), row_label(row.label, column, top + height / 2 + 4)]
    if row.chance is not None:
        body.append(rect(column + row.chance * scale - 1, top + 3, 2, height - 6, "chance", f"{row.label}, chance: {row.chance:.1f}"))
    for number, dot in enumerate(row.dots):
        y = top + 11.5 + 15 * number
        reported = row.reported[number] if number < len(row.reported) else None
        if reported is not None:
            body.append(diamond(column + reported * scale, y, 5, f"reported s{colour(number)}", f"{row.label}, reported: {reported:.1f}"))
        if dot is None:
            continue
        x, error = column + dot.value * scale, dot.error
        written = f"{dot.value:.1f}" + (f" ± {error:.1f}" if error else "")
        if error:
            body.append(rule(column + max(dot.value - error, 0) * scale, y, x + error * scale, y, f"error s{colour(number)}"))
        body.append(circle(x, y, 4, f"c{colour(number)}", f"{row.label}, {names[number]}: {written}"))
        body.append(text(right + GAP + 92 * (number + 1), y + 4, written, "value", "end"))
    return body


def grouped_parts(rows: Sequence[tuple[str, dict[str, float]]]) -> tuple[list[str], list[tuple[str, dict[str, float]]]]:
    """Order parts by their total and fold those beyond the distinguishable colours into one, called `other`."""
    totals: dict[str, float] = {}
    for _, values in rows:
        for part, value in values.items():
            totals[part] = totals.get(part, 0) + value
    parts = sorted(totals, key=lambda part: (-totals[part], part))
    if len(parts) <= COLOURS:
        return parts, [(name, dict(values)) for name, values in rows]
    shown, folded = parts[:COLOURS], f"{len(parts) - COLOURS} others"
    return [*shown, folded], [
        (name, {part: values.get(part, 0) for part in shown} | {folded: sum(values.get(part, 0) for part in parts[COLOURS:])})
        for name, values in rows
    ]
