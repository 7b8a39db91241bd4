"""Token streams and a stage's mixture to batches: the batch at step N is a pure function of (streams, stage, seed, N).

Every batch consists of units of `stage.unit_tokens` tokens (the longest chunk length). A unit holds one chunk of that length or
several shorter chunks of one source, so a batch always has the same number of tokens. The sources' shares hold to within one
unit at every step: unit number k of source s stands at position (k + 1/2) / n_s of the stage, and units are ordered by position.
Chunks are consecutive pieces of a source's stream, without padding; attention crosses document borders inside a chunk.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from recipes.errors import BadInput
from recipes.schema import Stage
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import StreamFile


@dataclass(frozen=True)
class StageBatches:
    """The batches of one stage. Picklable: streams are opened where they are used."""

    stage: Stage
    seed: int
    streams: dict[str, StreamFile]  # by source
    ranges: dict[str, tuple[int, int]]  # by source, the tokens [from, to) of its stream that the stage may draw from
    _open: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict:
        return {"stage": self.stage, "seed": self.seed, "streams": self.streams, "ranges": self.ranges, "_open": {}}

    @property
    def steps(self) -> int:
        """Batches in the stage."""
        return self.stage.steps

    @property
    def units(self) -> int:
        """Units in a batch."""
        return self.stage.batch_tokens // self.stage.unit_tokens

    def targets(self, step: int) -> int:
        """Count target tokens of a batch: every token of a chunk predicts the next one."""
        return self.stage.batch_tokens

    @cached_property
    def order(self) -> tuple[np.ndarray, np.ndarray]:
        """Return, for every unit of the stage, the number of its source in the mixture and its place among that source's units."""
        counts = units_per_source([entry.weight for entry in self.stage.mixture], self.steps * self.units)
        source = np.repeat(np.arange(len(counts)), counts)
        place = np.concatenate([np.arange(count) for count in counts])
        position = (place + 0.5) / np.repeat(counts, counts)
        ordered = np.lexsort((source, position))
        return source[ordered], place[ordered]

    @cached_property
    def shuffles(self) -> list[np.ndarray]:
        """Return, for every source of the mixture, the order in which its chunks are taken in an epoch."""
        return [
            np.random.Generator(np.random.PCG64([self.seed, number])).permutation(self.chunks(entry.source, entry.chunk_tokens))
            for number, entry in enumerate(self.stage.mixture)
        ]

    def chunks(self, source: str, chunk_tokens: int) -> int:
        """Count the whole chunks of a source's range (each needs one token beyond its end as the last target)."""
        first, end = self.ranges[source]
        return max(end - first - 1, 0) // chunk_tokens

    def sequences(self, step: int, unit: int) -> list[tuple[str, int, int]]:
        """Return the unit's chunks as (source, first token in its stream, length)."""
        sources, places = self.order
        at = step * self.units + unit
        entry = self.stage.mixture[sources[at]]
        per_unit = self.stage.unit_tokens // entry.chunk_tokens
        shuffle = self.shuffles[sources[at]]
        numbers = (int(places[at]) * per_unit + np.arange(per_unit)) % len(shuffle)
        first = self.ranges[entry.source][0]
        return [(entry.source, first + int(shuffle[number]) * entry.chunk_tokens, entry.chunk_tokens) for number in numbers]

    def load(self, step: int, units: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Load units as groups of (ids, labels), one group for each chunk length."""
        by_length: dict[int, list[np.ndarray]] = {}
        for unit in units:
            for source, start, length in self.sequences(step, unit):
                tokens = self._stream(source)[start : start + length + 1]
                by_length.setdefault(length, []).append(tokens.astype(np.int64))
        groups = [torch.from_numpy(np.stack(rows)) for _, rows in sorted(by_length.items())]
        return [(rows[:, :-1].contiguous(), rows[:, 1:].contiguous()) for rows in groups]

    def _stream(self, source: str) -> np.ndarray:
        if source not in self._open:
            self._open[source] = self.streams[source].tokens()
        return self._open[source]

    def mixture_tokens(self) -> dict[str, int]:
        """Return the tokens that the stage takes from each source."""
        counts = units_per_source([entry.weight for entry in self.stage.mixture], self.steps * self.units)
        return {entry.source: int(count) * self.stage.unit_tokens for entry, count in zip(self.stage.mixture, counts, strict=True)}


def units_per_source(weights: list[float], units: int) -> np.ndarray:
    """Divide units among weights by largest remainder: every share is exact to within one unit, and the sum is exact."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * units
    counts = np.floor(exact).astype(np.int64)
    for number in np.argsort(-(exact - counts), kind="stable")[: units - int(counts.sum())]:
        counts[number] += 1
    return counts


def portion_range(index: list[JSON], portion: list[float] | None) -> tuple[int, int]:
    """Return the tokens [from, to) of a stream whose documents' ids lie in a portion of the range of all ids.

    `index` is the stream's, ordered by id: disjoint portions share no document, and new documents move none from one to another.
    """
    if not index:
        return 0, 0
    low, high = portion or (0.0, 1.0)
    ids = [row["id"] for row in index]
    starts = [row["start"] for row in index] + [index[-1]["start"] + index[-1]["tokens"]]
    return tuple(starts[0 if at <= 0.0 else len(ids) if at >= 1.0 else bisect_left(ids, f"{int(at * 16**13):013x}")] for at in (low, high))


def check_supply(stage: Stage, ranges: Mapping[str, tuple[int, int]]) -> None:
    """Check that every source has the tokens that its share needs within its allowed epochs; BadInput says how many it would need."""
    batches = StageBatches(stage, 0, {}, dict(ranges))
    for entry, (source, needed) in zip(stage.mixture, batches.mixture_tokens().items(), strict=True):
        have = batches.chunks(source, entry.chunk_tokens) * entry.chunk_tokens
        if needed > have * entry.max_epochs:
            epochs = "more than it can give" if not have else f"{needed / have:.2f} epochs"
            raise BadInput(
                f"stage {stage.name!r} takes {needed:,} tokens from {source!r}, which has {have:,} in whole chunks of {entry.chunk_tokens}: "
                f"that is {epochs}, and max_epochs is {entry.max_epochs:g}: lower its weight or the stage's tokens, or allow more epochs"
            )
