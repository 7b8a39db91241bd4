"""Positions and texts to SVG elements; colours are classes (`c0` fills, `s0` strokes), which style.py sets for light and dark."""

from collections.abc import Sequence

from tasks.panels.formats import escaped

WIDTH = 760  # units of a full-width chart; about one pixel each in an 800-pixel window
SMALL_WIDTH = 260  # units of a small multiple, three to a row
COLOURS = 7  # c0 ... c6 can be told apart; `rest` is grey


def colour(index: int) -> str:
    """Return the class suffix of a series' colour: 0 ... 6, then the grey of the rest."""
    return str(index) if index < COLOURS else "rest"


def position(value: float) -> str:
    """Write a coordinate with at most one decimal."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def svg(width: float, height: float, body: Sequence[str], label: str) -> str:
    """Wrap elements into a responsive chart; `label` is what a screen reader says."""
    inner = "\n".join(part for part in body if part)
    size = f'viewBox="0 0 {position(width)} {position(height)}" width="100%"'
    return f'<svg class="chart" {size} role="img" aria-label="{escaped(label)}">\n{inner}\n</svg>'


def text(x: float, y: float, content: str, classes: str = "", anchor: str = "start") -> str:
    """Draw text; `anchor` is start, middle or end."""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    styled = f' class="{classes}"' if classes else ""
    return f'<text x="{position(x)}" y="{position(y)}"{anchored}{styled}>{escaped(content)}</text>'


def rect(x: float, y: float, width: float, height: float, classes: str, tip: str = "") -> str:
    """Draw a filled rectangle with a tooltip."""
    shape = (
        f'<rect x="{position(x)}" y="{position(y)}" width="{position(max(width, 0))}" height="{position(max(height, 0))}" class="{classes}"'
    )
    return f"{shape}><title>{escaped(tip)}</title></rect>" if tip else f"{shape}/>"


def rule(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    """Draw a straight line."""
    return f'<line x1="{position(x1)}" y1="{position(y1)}" x2="{position(x2)}" y2="{position(y2)}" class="{classes}"/>'


def polyline(points: Sequence[tuple[float, float]], classes: str, tip: str = "") -> str:
    """Draw a line through points; a single point becomes a dot."""
    title = f"<title>{escaped(tip)}</title>" if tip else ""
    if len(points) == 1:
        return f'<circle cx="{position(points[0][0])}" cy="{position(points[0][1])}" r="2.5" class="{classes} dot">{title}</circle>'
    joined = " ".join(f"{position(x)},{position(y)}" for x, y in points)
    return f'<polyline points="{joined}" class="{classes}">{title}</polyline>'


def area(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], classes: str) -> str:
    """Fill the area between two lines."""
    joined = " ".join(f"{position(x)},{position(y)}" for x, y in [*upper, *reversed(lower)])
    return f'<polygon points="{joined}" class="{classes}"/>'


def circle(x: float, y: float, radius: float, classes: str, tip: str) -> str:
    """Draw a circle with a tooltip."""
    return f'<circle cx="{position(x)}" cy="{position(y)}" r="{position(radius)}" class="{classes}"><title>{escaped(tip)}</title></circle>'


def diamond(x: float, y: float, radius: float, classes: str, tip: str) -> str:
    """Draw a diamond with a tooltip."""
    corners = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    joined = " ".join(f"{position(a)},{position(b)}" for a, b in corners)
    return f'<polygon points="{joined}" class="{classes}"><title>{escaped(tip)}</title></polygon>'
