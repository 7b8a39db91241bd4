"""Boxes and who follows whom to places on a page: rows from top to bottom, few crossings, lines that go around boxes.

A layered drawing in the manner of Sugiyama: every box stands in the last row above what follows from it, a line that passes a row gets a
place in it, rows are put in order by the middle of their neighbours, and then moved towards them as far as boxes do not touch.
"""

from dataclasses import dataclass
from itertools import pairwise

SWEEPS = 8
LANE_WIDTH = 10.0  # of a line that passes a row


@dataclass(frozen=True)
class Box:
    """Something to be placed."""

    key: str
    width: float
    height: float


@dataclass(frozen=True)
class Placed:
    """Where boxes stand (their left upper corner), the points that each line passes, and how wide and high all of it is."""

    boxes: dict[str, tuple[float, float]]
    lines: dict[tuple[str, str], list[tuple[float, float]]]
    width: float
    height: float


def lay_out(boxes: list[Box], edges: list[tuple[str, str]], width: float, gap: float = 16.0, row_gap: float = 34.0) -> Placed:
    """Place boxes, listed parents first, in rows of about `width` at most; edges go from parent to child."""
    sizes = {box.key: box for box in boxes}
    rank = _ranks(boxes, edges, width, gap)
    rows = _rows(boxes, edges, rank)
    widths = {key: sizes[key].width if key in sizes else LANE_WIDTH for row in rows for key in row}
    links = _links(edges, rank)
    above: dict[str, list[str]] = {key: [] for key in widths}
    below: dict[str, list[str]] = {key: [] for key in widths}
    for parent, child in links:
        below[parent].append(child)
        above[child].append(parent)
    for sweep in range(SWEEPS):
        ways, order = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        place = {key: (number + 0.5) / len(row) for row in rows for number, key in enumerate(row)}
        for row in order:
            middle = {key: sum(place[other] for other in ways[key]) / len(ways[key]) if ways[key] else place[key] for key in row}
            row.sort(key=middle.__getitem__)
            place |= {key: (number + 0.5) / len(row) for number, key in enumerate(row)}
    centres = _centres(rows, widths, above, below, width, gap)
    return _placed(rows, sizes, centres, edges, rank, row_gap, width)


def _ranks(boxes: list[Box], edges: list[tuple[str, str]], width: float, gap: float) -> dict[str, int]:
    """Put every box in the last row above what follows from it; rows that are too wide are cut in several."""
    children: dict[str, list[str]] = {box.key: [] for box in boxes}
    for parent, child in edges:
        children[parent].append(child)
    depth: dict[str, int] = {}
    for box in reversed(boxes):
        depth[box.key] = max((depth[child] + 1 for child in children[box.key]), default=0)
    rank: dict[str, int] = {}
    number = 0
    for level in sorted(set(depth.values()), reverse=True):
        used = 0.0
        for box in boxes:
            if depth[box.key] == level:
                if used and used + gap + box.width > width:
                    number, used = number + 1, 0.0
                rank[box.key] = number
                used += box.width + gap
        number += 1
    return rank


def _lane(key: str, row: int) -> str:
    return f"{key} in row {row}"


def _links(edges: list[tuple[str, str]], rank: dict[str, int]) -> list[tuple[str, str]]:
    """Cut edges into links from row to row; lines from one box share a place in the rows that they pass."""
    found: dict[tuple[str, str], None] = {}
    for parent, child in edges:
        path = [parent, *(_lane(parent, row) for row in range(rank[parent] + 1, rank[child])), child]
        found |= dict.fromkeys(pairwise(path))
    return list(found)


def _rows(boxes: list[Box], edges: list[tuple[str, str]], rank: dict[str, int]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for box in boxes:
        rows[rank[box.key]].append(box.key)
        last = max((rank[child] for parent, child in edges if parent == box.key), default=0)
        for row in range(rank[box.key] + 1, last):
            rows[row].append(_lane(box.key, row))
    return rows


def _centres(rows, widths, above, below, width: float, gap: float) -> dict[str, float]:
    """Return the middle of everything in every row: near its neighbours, in order, apart, and on the page."""
    centre: dict[str, float] = {}
    for row in rows:  # to begin with: side by side around the middle
        at = (width - sum(widths[key] for key in row) - gap * (len(row) - 1)) / 2
        for key in row:
            centre[key] = at + widths[key] / 2
            at += widths[key] + gap
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            near = {key: above[key] + below[key] for key in row}
            wanted = [sum(centre[other] for other in near[key]) / len(near[key]) if near[key] else centre[key] for key in row]
            centre |= dict(zip(row, _apart(wanted, [widths[key] for key in row], width, gap), strict=True))
    return centre


def _apart(wanted: list[float], widths: list[float], width: float, gap: float) -> list[float]:
    """Move middles as little as keeps boxes apart: half way between pushing all to the right and pushing all to the left."""

    def pushed(values: list[float], sizes: list[float], limit: float) -> list[float]:
        found: list[float] = []
        for value, size in zip(values, sizes, strict=True):
            least = found[-1] + (sizes[len(found) - 1] + size) / 2 + gap if found else limit + size / 2
            found.append(max(value, least))
        return found

    right = pushed(wanted, widths, float("-inf"))
    left = [-value for value in reversed(pushed([-value for value in reversed(wanted)], widths[::-1], float("-inf")))]
    middle = [(one + other) / 2 for one, other in zip(right, left, strict=True)]
    inside = [width - value for value in reversed(pushed([width - value for value in reversed(middle)], widths[::-1], 0.0))]
    return pushed(inside, widths, 0.0)


def _placed(rows, sizes, centre, edges, rank, row_gap: float, width: float) -> Placed:
    tops, heights, at = [], [], 0.0
    for row in rows:
        heights.append(max((sizes[key].height for key in row if key in sizes), default=0.0))
        tops.append(at)
        at += heights[-1] + row_gap
    most = max((x + (sizes[key].width if key in sizes else LANE_WIDTH) / 2 for key, x in centre.items()), default=width)
    least = min((x - (sizes[key].width if key in sizes else LANE_WIDTH) / 2 for key, x in centre.items()), default=0.0)
    wide = max(width, most - least)  # with very many lines a row needs more than was asked for
    centre = {key: x + (wide - most - least) / 2 for key, x in centre.items()}  # all of it in the middle of the page
    corners = {key: (centre[key] - sizes[key].width / 2, tops[rank[key]]) for key in sizes}
    lines = {}
    for parent, child in edges:
        points = [(centre[parent], corners[parent][1] + sizes[parent].height)]
        for row in range(rank[parent] + 1, rank[child]):
            x = centre[_lane(parent, row)]
            points += [(x, tops[row]), (x, tops[row] + heights[row])]
        lines[parent, child] = [*points, (centre[child], corners[child][1])]
    return Placed(corners, lines, wide, max(at - row_gap, 0.0))
