"""The lengths of a step's conversations to rows: which of them share one, so that rows are few, full, and as long as one another."""

from typing import NamedTuple

import numpy as np
from numba import njit

MOST_PADDING = 1 / 32  # of a row


class Packing(NamedTuple):
    """Rows of conversations: the row of each, and the tokens of each row, the longest first."""

    row_of: np.ndarray
    tokens: np.ndarray


@njit(cache=True)
def deal(lengths, order, rows, row_of):
    """Put each conversation, in the given order, into the row that is the shortest so far; return the tokens of all rows."""
    filled = np.zeros(rows, dtype=np.int64)
    for place in range(len(order)):
        number = order[place]
        shortest = 0
        for row in range(1, rows):
            if filled[row] < filled[shortest]:
                shortest = row
        filled[shortest] += lengths[number]
        row_of[number] = shortest
    return filled


def pack(lengths: np.ndarray, most_tokens: int, multiple: int) -> Packing:
    """Pack conversations (each of at most `most_tokens`) into rows of at most as many: the least multiple of `multiple` that holds them.

    The longest goes first, each to the shortest row (Graham's LPT rule, SIAM J. Appl. Math. 17, 1969).
    """
    assert len(lengths) and lengths.max() <= most_tokens, "a conversation fits a row"
    order = np.argsort(-lengths, kind="stable")
    row_of = np.zeros(len(lengths), dtype=np.int64)
    rows = -(-int(lengths.sum()) // (most_tokens * multiple)) * multiple
    filled = deal(lengths, order, rows, row_of)
    while filled.max() > most_tokens:
        rows += multiple
        filled = deal(lengths, order, rows, row_of)
    longest_first = np.argsort(-filled, kind="stable")
    rank = np.empty_like(longest_first)
    rank[longest_first] = np.arange(rows)
    return Packing(rank[row_of], filled[longest_first])


def alike(tokens: list[int]) -> list[list[int]]:
    """Group rows of so many tokens, the longest first, so that none is padded by more than MOST_PADDING of the group's longest."""
    groups: list[list[int]] = []
    for number, size in enumerate(tokens):
        if groups and size >= (1 - MOST_PADDING) * tokens[groups[-1][0]]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
