"""A stage's weights to the source of every unit of every batch, in closed form: any place of the order is found without the others.

A batch consists of units of equal size. Unit number k of source s, which gives n_s units to the stage, stands at position
(k + 1/2) / n_s of the stage, and units are ordered by position: every prefix has each source's share to within one unit.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


def units_per_source(weights: list[float], units: int) -> np.ndarray:
    """Divide units among weights by largest remainder: every share is exact to within one unit, and the sum is exact."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * units
    counts = np.floor(exact).astype(np.int64)
    for number in np.argsort(-(exact - counts), kind="stable")[: units - int(counts.sum())]:
        counts[number] += 1
    return counts


@dataclass(frozen=True)
class Order:
    """The order of a stage's units. counts: how many each source gives, int64[sources]."""

    counts: np.ndarray

    @cached_property
    def units(self) -> int:
        """Count the units of all sources."""
        return int(self.counts.sum())

    def window(self, first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return, for the units [first, end) of the stage, the number of their source and their place among that source's units.

        By any position x of the stage, source s has given n_s * x units, to within a half: only so many around are looked at.
        """
        slack = len(self.counts) + 2
        low = np.floor(self.counts * ((first - slack) / self.units) - 1).astype(np.int64).clip(0, self.counts)
        high = np.ceil(self.counts * ((end + slack) / self.units) + 1).astype(np.int64).clip(0, self.counts)
        source = np.repeat(np.arange(len(self.counts)), high - low)
        place = np.concatenate([np.arange(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)])
        ordered = np.lexsort((source, (place + 0.5) / self.counts[source]))[first - int(low.sum()) : end - int(low.sum())]
        return source[ordered], place[ordered]

    def number(self, source: int, place: int) -> int:
        """Return the number in the stage of a source's unit: what `window` says, the other way round."""
        about = int((place + 0.5) / self.counts[source] * self.units)
        first, end = max(about - len(self.counts) - 2, 0), min(about + len(self.counts) + 3, self.units)
        sources, places = self.window(first, end)
        return first + int(np.flatnonzero((sources == source) & (places == place))[0])
