"""A graph of artifacts to one self-contained page: the graph as a picture, what each model saw of each source, and every digest.

No script runs and nothing is fetched: a box tells more when the pointer rests on it, and leads to its row in the table when clicked.
"""

from itertools import pairwise

from tasks.artifacts.manifest import Manifest
from tasks.lineage.graph import Graph, label_of
from tasks.lineage.layout import Box, Placed, lay_out
from tasks.lineage.words import headline, parts, sources_read, tokens_seen
from tasks.panels.drawing import WIDTH, position, text
from tasks.panels.formats import compact, escaped, shortened
from tasks.panels.markup import Cell, Markup, figure, panel, right, table
from tasks.panels.page import page

COLOURS = {"raw": 2, "documents": 0, "tokens": 0, "conversations": 0, "checkpoint": 1, "published": 1, "export": 3, "release": 3}
PADDING, LINE, PART_LINE, MOST_PARTS = 10, 17, 15, 12
WIDTHS = {"raw": 340.0, "documents": 214.0, "conversations": 230.0, "scores": 214.0, "contamination": 214.0, "clean_scores": 214.0}
OTHER_WIDTH = 190.0
POINTING = "Click a box for its row in the table; hold the pointer on it for its digest."
GRAPH_STYLE = """<style>
.graph .box{fill:var(--tint);stroke:var(--hair)}.graph a:hover .box{stroke:var(--ink)}.graph .edge{fill:none;stroke:var(--crest);stroke-width:1.2}
.graph .name{font-weight:600}.graph .asked .box{stroke:var(--ink);stroke-width:2}.graph .digest{font-family:ui-monospace,Menlo,Consolas,monospace}
tr:target{background:var(--tint)}
</style>"""


def lineage_page(title: str, subtitle: str, graph: Graph, store: str, panels: list[str]) -> str:
    """Write the page of a graph, with its panels as `lineage_panels` drew them."""
    raw = [one for one in graph.manifests.values() if one.kind == "raw"]
    facts = [("artifacts", str(len(graph.manifests))), ("raw files", f"{sum(one.counts.get('files', 0) for one in raw):,}")]
    facts += [("store", store)] if store else []
    facts += [("missing", ", ".join(sorted(graph.missing)))] if graph.missing else []
    return page(title, subtitle, facts, panels)


def lineage_panels(graph: Graph, roots: list[str]) -> list[str]:
    """Draw the graph, and list its sources and artifacts; `roots` are what was asked for, and drawn with a strong border."""
    drawn = without_cards(graph)
    return [
        panel(
            "Graph", "What was made from what, from raw sources above to models below.",
            figure("Artifacts", Markup(GRAPH_STYLE + picture(graph, drawn, roots)), POINTING),
        ),
        sources_panel(graph),
        artifacts_panel(graph),
    ]  # fmt: skip


def without_cards(graph: Graph) -> Graph:
    """Leave out evaluation cards, whose scores stand in the box of those that sum them up."""
    return Graph({place: one for place, one in graph.manifests.items() if one.kind != "card"})


# --- the picture -------------------------------------------------------------------------------------------------------------


def picture(graph: Graph, drawn: Graph, roots: list[str]) -> str:
    """Draw the graph."""
    boxes = [box_of(graph, place) for place in drawn.made]
    edges = [(parent, place) for place in drawn.made for parent in dict.fromkeys(drawn.parents[place].values())]
    placed = lay_out(boxes, edges, float(WIDTH))
    number = {place: n for n, place in enumerate(drawn.made)}
    lit = "".join(
        f".graph:has(#box-{n}:hover) :is(.from-{n},.to-{n}){{stroke:var(--c{COLOURS.get(drawn.manifests[place].kind, 0)});stroke-width:2.4}}"
        for place, n in number.items()
    )
    body = [f"<style>{lit}</style>", *(line(points, number[a], number[b]) for (a, b), points in placed.lines.items())]
    body += [draw_box(graph, place, box, placed, number[place], place in roots) for place, box in zip(drawn.made, boxes, strict=True)]
    size = f'viewBox="-2 -2 {position(placed.width + 4)} {position(placed.height + 4)}" width="100%"'
    return f'<svg class="chart graph" {size} role="img" aria-label="graph of artifacts">\n' + "\n".join(body) + "\n</svg>"


def box_of(graph: Graph, place: str) -> Box:
    """Return the size of an artifact's box."""
    rows = min(len(parts(graph, place)), MOST_PARTS + 1)
    one = graph.manifests[place]
    return Box(place, WIDTHS.get(one.kind, OTHER_WIDTH), 2 * PADDING + 3 * LINE - 6 + rows * PART_LINE)


def line(points: list[tuple[float, float]], parent: int, child: int) -> str:
    """Draw an edge: straight beside boxes, curved between rows."""
    path = [f"M{position(points[0][0])} {position(points[0][1])}"]
    for number, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
        middle = (y0 + y1) / 2
        straight = number % 2 == 1
        path.append(
            f"L{position(x1)} {position(y1)}" if straight
            else f"C{position(x0)} {position(middle)} {position(x1)} {position(middle)} {position(x1)} {position(y1)}"
        )  # fmt: skip
    return f'<path class="edge from-{parent} to-{child}" d="{"".join(path)}"/>'


def draw_box(graph: Graph, place: str, box: Box, placed: Placed, number: int, asked: bool) -> str:
    """Draw an artifact: its name, digest and headline, and rows on its parts."""
    one, (x, y), inner = graph.manifests[place], placed.boxes[place], box.width - 2 * PADDING
    at = y + PADDING + 10
    told = [
        f"<title>{escaped(tip(one))}</title>",
        f'<rect class="box" x="{position(x)}" y="{position(y)}" width="{position(box.width)}" height="{position(box.height)}" rx="4"/>',
        f'<rect class="c{COLOURS.get(one.kind, "rest")}" x="{position(x)}" y="{position(y)}" width="4" height="{position(box.height)}"/>',
        text(x + PADDING, at, shortened(label_of(one), inner), "name"),
        text(x + PADDING, at + LINE, shortened(f"{one.kind.replace('_', ' ')}  {one.digest[:12]}", inner, 11), "tick"),
        text(x + PADDING, at + 2 * LINE, shortened(headline(one), inner, 11), "small"),
    ]
    rows = parts(graph, place)
    more = [(f"and {len(rows) - MOST_PARTS} more", "", "")] if len(rows) > MOST_PARTS + 1 else []
    for row, (name, value, note) in enumerate(rows[:MOST_PARTS] + more if more else rows):
        below = at + 2 * LINE + (row + 1) * PART_LINE
        if one.kind == "raw":  # name, size and licence side by side
            told += [text(x + PADDING, below, shortened(name, 110, 11), "small"), text(x + 172, below, value, "tick", "end")]
            told.append(text(x + 182, below, shortened(note, box.width - 182 - PADDING, 11), "small"))
        else:
            told.append(text(x + PADDING, below, shortened(name, inner - 48, 11), "tick"))
            told.append(text(x + box.width - PADDING, below, value, "small", "end"))
    classes = ' class="asked"' if asked else ""
    return f'<a href="#{row_id(place)}" id="box-{number}"><g{classes}>{"".join(told)}</g></a>'


def tip(one: Manifest) -> str:
    """Say what the pointer shows on a box."""
    made = f"made {one.recorded.get('finished', '?')} by run {one.recorded.get('run', '?')}, commit {str(one.recorded.get('commit', '?'))[:12]}"
    return f"{one.name}@{one.version}\n{headline(one)}\ndigest {one.digest}\n{len(one.files)} files\n{made}"


def row_id(place: str) -> str:
    """Return the anchor of an artifact's row."""
    return "artifact-" + place.replace("/", "-")


# --- the tables --------------------------------------------------------------------------------------------------------------


def sources_panel(graph: Graph) -> str:
    """Show every raw source: licence, size, and how much each checkpoint's own stage took of it."""
    seen = tokens_seen(graph)
    columns = {place: graph.manifests[place].name for place in seen}
    rows: list[list[Cell]] = []
    read: list[str] = []
    for one in graph.manifests.values():
        if one.kind == "raw":
            for source in sources_read(graph, one):
                read.append(source["name"])
                taken = [seen[place].get(source["name"]) for place in columns]
                revision = f"<small>{escaped(source['revision'])}</small>" if source["revision"] else ""
                licence = Markup(escaped(source["licence"]) + revision)
                numbers = [right(compact(tokens)) if tokens else None for tokens in taken]
                rows.append([source["name"], licence, source["files"], right(f"{compact(source['bytes'])}B"), *numbers])
    for name in sorted({name for taken in seen.values() for name in taken} - set(read)):  # made by curation, from others
        rows.append(
            [name, "as its origins", None, None, *(right(compact(seen[place][name])) if name in seen[place] else None for place in columns)]
        )
    named = ["source", "licence", "files", "bytes", *columns.values()]
    lead = "Raw sources with their licences, and the tokens that each stage of training took from them (a dash: none)."
    return panel("Sources", lead, table("What each checkpoint was trained on, in tokens", named, rows))


def artifacts_panel(graph: Graph) -> str:
    """List every artifact with its digest, what it was made from, and what made it."""
    rows = []
    for place in graph.made:
        one = graph.manifests[place]
        made_from = ", ".join(
            f'<a href="#{row_id(at)}">{escaped(label_of(graph.manifests[at]))}</a>' for at in dict.fromkeys(graph.parents[place].values())
        )
        rows.append(
            f'<tr id="{row_id(place)}"><td><b>{escaped(label_of(one))}</b><small>{escaped(headline(one))}</small></td>'
            f"<td><code>{escaped(one.digest)}</code><small>{len(one.files):,} files, {compact(sum(entry.bytes for entry in one.files))}B"
            f"; code {escaped(str(one.identity.get('code', '?')))}, commit {escaped(str(one.recorded.get('commit', '?'))[:12])}</small></td>"
            f"<td>{made_from or '–'}</td></tr>"
        )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("artifact", "digest", "made from"))
    body = f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>\n{"".join(rows)}\n</tbody></table></div>'
    lead = "Equal digests mean equal files and counts, whoever made them."
    return panel("Artifacts", lead, figure("Every artifact of the graph, in an order in which they can be made", Markup(body)))
