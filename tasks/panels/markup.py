"""Texts, numbers and charts to HTML: panels, tables, figures, legends. Everything is escaped unless it is `Markup` already."""

from collections.abc import Sequence

from tasks.panels.drawing import colour
from tasks.panels.formats import count, decimal, escaped


class Markup(str):
    """Text that is HTML already and must not be escaped again."""


Cell = str | int | float | None


def panel(title: str, lead: str, *parts: str) -> str:
    """Wrap parts into a panel; `lead` says in a sentence what the panel shows."""
    inner = "\n".join(part for part in parts if part)
    sentence = f'<p class="lead">{escaped(lead)}</p>\n' if lead else ""
    return f'<section class="panel">\n<h2>{escaped(title)}</h2>\n{sentence}{inner}\n</section>'


def figure(title: str, chart: str, note: str = "", legend: str = "") -> Markup:
    """Put a chart under its title; `note` explains how to read it."""
    noted = f'<p class="note">{escaped(note)}</p>' if note else ""
    return Markup(f"<figure>\n<figcaption>{escaped(title)}</figcaption>\n{legend}{chart}\n{noted}</figure>")


def multiples(figures: Sequence[str]) -> Markup:
    """Set small charts side by side, as many to a row as fit."""
    return Markup(f'<div class="multiples">\n{"".join(figures)}</div>') if figures else Markup("")


def legend(names: Sequence[str]) -> Markup:
    """Name the colours of a chart's parts."""
    items = "".join(f'<span><i class="b{colour(index)}"></i>{escaped(name)}</span>' for index, name in enumerate(names))
    return Markup(f'<p class="legend">{items}</p>')


def cell(value: Cell) -> str:
    """Write one table cell: numbers flush right, None as a dash."""
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    if value is None:
        return '<td class="number">–</td>'
    if isinstance(value, bool | str):
        return f"<td>{escaped(value)}</td>"
    return f'<td class="number">{count(value) if isinstance(value, int) else decimal(value)}</td>'


def right(text: str) -> Markup:
    """Set a written number flush right in its cell."""
    return Markup(f'<span class="right">{escaped(text)}</span>')


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], note: str = "") -> Markup:
    """Write a table; the columns after the first are headed flush right if their first cell is a number."""
    heads = []
    for index, name in enumerate(columns):
        first = next((row[index] for row in rows if row[index] is not None), "")
        numeric = (isinstance(first, int | float) and not isinstance(first, bool)) or 'class="right"' in str(first)
        heads.append(f'<th scope="col"{" class=" + chr(34) + "number" + chr(34) if numeric else ""}>{escaped(name)}</th>')
    body = "\n".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    noted = f'<p class="note">{escaped(note)}</p>' if note else ""
    return Markup(
        f'<figure>\n<figcaption>{escaped(title)}</figcaption>\n<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>\n{noted}</figure>"
    )


def breakable(name: str) -> Markup:
    """Allow a long identifier to wrap after its underscores."""
    return Markup(escaped(name).replace("_", "_<wbr/>"))


def heat_table(
    title: str, corner: str, rows: Sequence[str], columns: Sequence[str], values: dict[tuple[str, str], int], note: str = ""
) -> Markup:
    """Write a matrix of counts whose cells are tinted by their size; an empty cell is a count of zero."""
    largest = max(values.values(), default=0) or 1
    heads = "".join(f'<th scope="col" class="number">{breakable(name)}</th>' for name in columns)
    body = []
    for row in rows:
        cells = []
        for column in columns:
            value = values.get((row, column), 0)
            level = min(4, int(5 * (value / largest) ** 0.5)) if value else 0
            shown, tint = (count(value), f" h{level}") if value else ("", "")
            cells.append(f'<td class="number{tint}">{shown}</td>')
        body.append(f'<tr><th scope="row">{breakable(row)}</th>{"".join(cells)}</tr>')
    noted = f'<p class="note">{escaped(note)}</p>' if note else ""
    return Markup(
        f'<figure>\n<figcaption>{escaped(title)}</figcaption>\n<div class="scroll"><table class="heat"><thead><tr>'
        f'<th scope="col">{escaped(corner)}</th>{heads}</tr></thead>\n<tbody>\n{"".join(body)}\n</tbody></table></div>\n{noted}</figure>'
    )


def fold(summary: str, *parts: str) -> Markup:
    """Hide parts behind a line that opens them."""
    return Markup(f"<details>\n<summary>{escaped(summary)}</summary>\n{''.join(parts)}\n</details>")


def quote(text: str, source: str, most: int = 420) -> Markup:
    """Show the beginning of a document, and where it is from."""
    begun = " ".join(text[: most * 2].split()) or "(no text)"
    cut = begun[:most].rstrip() + "…" if len(begun) > most or len(text) > most * 2 else begun
    return Markup(f"<blockquote><p>{escaped(cut)}</p><footer>{escaped(source)}</footer></blockquote>")
