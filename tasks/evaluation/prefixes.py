"""Token sequences that begin alike, to a plan that computes what they share once.

Sorted, sequences form a tree of prefixes. A *row* is a part of that tree, laid out depth first: every token attends to its ancestors
alone, so one pass gives each sequence the hidden states that it would have by itself. A *family* is rows after one long prefix,
whose keys and values are computed once and kept: a few-shot prompt before many questions.

What is cheapest is decided by counting: a token costs 1 and its attention its number of keys divided by `attention_tokens`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

LEAST_CACHED = 48  # tokens: a pass of its own for less costs more than it saves
PASS_TOKENS = 64  # what starting a pass costs, in tokens
DEEPEST = 200  # nested prefixes that are looked at


@dataclass(frozen=True)
class Row:
    """Sequences [start, stop) of the sorted list as one tree; `nodes` tokens beyond the family's prefix."""

    start: int
    stop: int
    nodes: int


@dataclass
class Family:
    """Rows whose sequences share their first `prefix` tokens."""

    prefix: int
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    """A row's tokens depth first: position of each in its sequence, where its descendants end, and each sequence's path of nodes."""

    tokens: list[int]
    positions: list[int]
    ends: list[int]
    paths: list[list[int]]


def shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their beginnings."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


class Planner:
    """Plans sorted, distinct sequences. `scored[i]` tokens at the end of sequence i need hidden states of their own row."""

    def __init__(self, sequences: Sequence[Sequence[int]], scored: Sequence[int], attention_tokens: float, row_tokens: int) -> None:
        self.lengths = np.array([len(one) for one in sequences], dtype=np.int64)
        self.free = self.lengths - np.array(scored, dtype=np.int64)  # tokens that a prefix may take away
        self.common = np.array([0] + [shared(a, b) for a, b in pairwise(sequences)], dtype=np.int64)
        self.added = np.concatenate([[0], np.cumsum(self.lengths - self.common)])
        self.attention_tokens, self.row_tokens = attention_tokens, row_tokens

    def nodes(self, start: int, stop: int, prefix: int) -> int:
        """Count the distinct tokens of sequences [start, stop) beyond a prefix that they share."""
        return int(self.lengths[start] - prefix + self.added[stop] - self.added[start + 1])

    def plan(self) -> list[Family]:
        """Return the families; the one without a prefix comes first."""
        loose = Family(0)
        families = [loose]
        if len(self.lengths):
            _, chosen = self._cheapest(0, len(self.lengths), 0, 0)
            for one in chosen:
                if one.prefix:
                    families.append(one)
                else:
                    loose.rows += one.rows
        return families

    def _price(self, nodes: int, prefix: int) -> float:
        return nodes * (1 + (prefix + nodes / 2) / self.attention_tokens)

    def _cheapest(self, start: int, stop: int, prefix: int, depth: int) -> tuple[float, list[Family]]:
        """Return the least cost of a range and its families: in one row, after a prefix of its own, or apart where it branches."""
        nodes = self.nodes(start, stop, prefix)
        whole = self._price(nodes, prefix), [Family(prefix, [Row(start, stop, nodes)])]
        if stop - start == 1:
            return whole
        options = [whole] if nodes <= self.row_tokens else []
        inner = self.common[start + 1 : stop]
        least = int(inner.min())
        cuts = [start, *(start + 1 + np.flatnonzero(inner == least)).tolist(), stop]
        if depth >= DEEPEST:
            cuts = list(range(start, stop + 1))
        cached = min(least, int(self.free[start:stop].min()))
        if not prefix and cached >= LEAST_CACHED:
            cost, parts = self._sum(cuts, cached, depth + 1)
            rows = [row for part in parts for row in part.rows]
            options.append((cost + self._price(cached, 0) + 2 * PASS_TOKENS, [Family(cached, rows)]))
        options.append(self._sum(cuts, prefix, depth + 1))
        return min(options, key=lambda option: option[0])

    def _sum(self, cuts: list[int], prefix: int, depth: int) -> tuple[float, list[Family]]:
        found = [self._cheapest(start, stop, prefix, depth) for start, stop in pairwise(cuts)]
        return sum(cost for cost, _ in found), [family for _, families in found for family in families]


def tree(sequences: Sequence[Sequence[int]], prefix: int) -> Tree:
    """Lay sorted sequences out as one tree beyond a prefix that they share."""
    tokens: list[int] = []
    positions: list[int] = []
    ends: list[int] = []
    paths: list[list[int]] = []
    path: list[int] = []
    previous: Sequence[int] = ()
    for sequence in sequences:
        keep = shared(previous, sequence) - prefix if paths else 0
        for node in path[keep:]:
            ends[node] = len(tokens)
        path = path[:keep]
        for place in range(prefix + keep, len(sequence)):
            path.append(len(tokens))
            tokens.append(sequence[place])
            positions.append(place)
            ends.append(0)
        paths.append(list(path))
        previous = sequence
    for node in path:
        ends[node] = len(tokens)
    return Tree(tokens, positions, ends, paths)


def batches(rows: Sequence[Row], prefix: int, batch_tokens: int, mask_cells: int) -> list[list[Row]]:
    """Group rows of neighbouring sizes, largest first, so that padded tokens and attention masks stay within bounds."""
    grouped: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: -row.nodes):
        if grouped:
            widest, many = grouped[-1][0].nodes, len(grouped[-1]) + 1
            if many * widest <= batch_tokens and many * widest * (prefix + widest) <= mask_cells:
                grouped[-1].append(row)
                continue
        grouped.append([row])
    return grouped
