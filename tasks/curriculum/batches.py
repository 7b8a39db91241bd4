"""Token streams and a stage's mixture to batches: the batch at step N is a pure function of (streams, stage, seed, N).

Every batch consists of units of `stage.unit_tokens` tokens (the longest chunk length), and a unit holds one chunk of that length or
several shorter chunks of one source, so a batch always has the same number of tokens. Chunks are consecutive pieces of a source's
stream, without padding: long documents are split, short ones joined. Which source a unit is from says `mixture.Order`, which of
its chunks `permutation.Permutation`, anew in each epoch: there is no position to lose, and nothing to scan.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recipes.errors import BadInput
from recipes.schema import MixtureEntry, Stage
from tasks.artifacts.manifest import JSON, digest_of
from tasks.artifacts.token_streams import Stream, shard_of_id, targets_hash
from tasks.curriculum.mixture import Order, units_per_source
from tasks.curriculum.permutation import Permutation

if TYPE_CHECKING:
    from tasks.model.decoder import Group

FINGERPRINT_STEPS = 16


class Sequence(NamedTuple):
    """A chunk of a source's stream: its first token and how many it has."""

    source: str
    start: int
    tokens: int


@dataclass(frozen=True)
class StageBatches:
    """The batches of one stage. Picklable: streams are opened where they are used."""

    stage: Stage
    seed: int
    streams: Mapping[str, Stream]  # by source
    ranges: Mapping[str, tuple[int, int]]  # by source, the tokens [from, to) of its stream that the stage may draw from
    separator: int | None = None  # the id that ends documents, if attention stops at their borders
    origins: Callable[[Stream, "Sequence"], JSON] | None = None  # tells a chunk's documents and text

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def steps(self) -> int:
        """Batches in the stage."""
        return self.stage.steps

    @property
    def units(self) -> int:
        """Units in a batch."""
        return self.stage.batch_units

    @property
    def unit_tokens(self) -> int:
        """Tokens of a unit."""
        return self.stage.unit_tokens

    @cached_property
    def order(self) -> Order:
        """The order of the units of all batches."""
        return Order(units_per_source([entry.share for entry in self.stage.mixture], self.steps * self.units))

    def targets(self, step: int) -> int:
        """Count target tokens of a batch: every token of a chunk predicts the next one, the last of a document the first of another."""
        return self.stage.batch_tokens

    def mixture_tokens(self) -> dict[str, int]:
        """Return the tokens that the stage takes from each source."""
        return {
            entry.source: int(count) * self.stage.unit_tokens for entry, count in zip(self.stage.mixture, self.order.counts, strict=True)
        }

    def packing(self) -> dict[str, float]:
        """Return the share of each source's range that its whole chunks hold: the rest, less than a chunk, is never trained on."""
        sizes = {entry.source: max(self.ranges[entry.source][1] - self.ranges[entry.source][0], 1) for entry in self.stage.mixture}
        return {entry.source: self.chunks(entry) * entry.chunk_tokens / sizes[entry.source] for entry in self.stage.mixture}

    # --- which tokens ---

    def chunks(self, entry: MixtureEntry) -> int:
        """Count the whole chunks of a source's range (each needs one token beyond its end as the last target)."""
        first, end = self.ranges[entry.source]
        return max(end - first - 1, 0) // entry.chunk_tokens

    def shuffle(self, entry: MixtureEntry, epoch: int) -> Permutation:
        """Return the order in which a source's chunks are taken in an epoch (from 0)."""
        return Permutation(self.chunks(entry), f"{self.seed}/{self.stage.name}/{entry.source}/{epoch}")

    def sequences(self, step: int, units: list[int]) -> list[Sequence]:
        """Return the chunks of some units of a batch, in order."""
        mixture = self.stage.mixture
        sources, places = (found[units] for found in self.order.window(step * self.units, (step + 1) * self.units))
        each = np.array([self._chunks_a_unit(entry) for entry in mixture])[sources]
        within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        source, number = np.repeat(sources, each), np.repeat(places * each, each) + within
        starts = np.empty(len(source), dtype=np.int64)
        for one in np.unique(source).tolist():
            starts[source == one] = self._starts(mixture[one], number[source == one])
        return [
            Sequence(mixture[s].source, start, mixture[s].chunk_tokens) for s, start in zip(source.tolist(), starts.tolist(), strict=True)
        ]

    def _chunks_a_unit(self, entry: MixtureEntry) -> int:
        return self.stage.unit_tokens // entry.chunk_tokens

    def _starts(self, entry: MixtureEntry, numbers: np.ndarray) -> np.ndarray:
        epochs, places = np.divmod(numbers, self.chunks(entry))
        starts = np.empty(len(numbers), dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            starts[here] = self.shuffle(entry, epoch).take(places[here])
        return self.ranges[entry.source][0] + starts * entry.chunk_tokens

    def visits(self, source: str, start: int, end: int) -> list[tuple[int, int, Sequence]]:
        """Return the (step, unit, chunk) of every time that the stage takes some of the tokens [start, end) of a source's stream."""
        number = next((n for n, entry in enumerate(self.stage.mixture) if entry.source == source), None)
        if number is None:
            return []
        entry, each = self.stage.mixture[number], self._chunks_a_unit(self.stage.mixture[number])
        chunks, taken, first = self.chunks(entry), int(self.order.counts[number]) * each, self.ranges[source][0]
        low, high = max(start - first, 0) // entry.chunk_tokens, -(-max(end - first, 0) // entry.chunk_tokens)
        found = []
        for epoch in range(-(-taken // chunks) if chunks else 0):
            wanted = np.arange(low, min(high, chunks))
            for chunk, place in zip(wanted.tolist(), self.shuffle(entry, epoch).place(wanted).tolist(), strict=True):
                if (at := epoch * chunks + place) < taken:
                    step, unit = divmod(self.order.number(number, at // each), self.units)
                    found.append((step, unit, Sequence(source, first + chunk * entry.chunk_tokens, entry.chunk_tokens)))
        return sorted(found)

    def fingerprint(self) -> str:
        """Hash the chunks of FINGERPRINT_STEPS batches, spread over the stage: whoever computes the order again can tell if it is the same."""
        steps = np.unique(np.linspace(0, self.steps - 1, FINGERPRINT_STEPS).astype(np.int64)).tolist()
        return digest_of([[step, self.sequences(step, list(range(self.units)))] for step in steps])

    def describe(self, step: int, units: list[int]) -> list[JSON]:
        """Say what some units of a batch are: their chunks, and the documents and text of each, if the origins are known."""
        return [
            {"unit": unit} | (self.origins(self.streams[one.source], one) if self.origins else one._asdict())
            for unit in units for one in self.sequences(step, [unit])
        ]  # fmt: skip

    # --- the tokens themselves ---

    def targets_hash(self, step: int) -> int:
        """Hash the target tokens of a batch, as the journal does when it has trained on them."""
        found = self.sequences(step, list(range(self.units)))
        rows = (self.streams[one.source].read([(one.start, one.start + one.tokens + 1)])[0].astype(np.int64) for one in found)
        return targets_hash(piece for row in rows for piece in self._documents(row))

    def _documents(self, row: np.ndarray) -> list[np.ndarray]:
        """Cut a chunk's targets where attention stops."""
        borders = [] if self.separator is None else np.flatnonzero(row[:-2] == self.separator) + 1
        return np.split(row[1:], borders)

    def load(self, step: int, units: list[int]) -> "list[Group]":
        """Load units as one group of sequences for each chunk length; OSError if tokens are not what was sealed."""
        import torch

        from tasks.model.decoder import Group

        found = self.sequences(step, units)
        tokens: dict[int, np.ndarray] = {}
        for source in dict.fromkeys(sequence.source for sequence in found):
            mine = [number for number, sequence in enumerate(found) if sequence.source == source]
            read = self.streams[source].read((found[n].start, found[n].start + found[n].tokens + 1) for n in mine)
            tokens.update(zip(mine, read, strict=True))
        groups = []
        for length in sorted({sequence.tokens for sequence in found}):
            rows = np.stack([tokens[number] for number, sequence in enumerate(found) if sequence.tokens == length]).astype(np.int64)
            positions = None if self.separator is None else torch.from_numpy(positions_in_documents(rows[:, :-1], self.separator))
            groups.append(Group(torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy()), positions))
        return groups


def positions_in_documents(ids: np.ndarray, separator: int) -> np.ndarray:
    """Number the tokens of each row (B, T) from 0 in every document; a document ends with the separator."""
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    begins = np.zeros(ids.shape, dtype=np.int64)
    begins[:, 1:] = np.where(ids[:, :-1] == separator, places[:, 1:], 0)
    return places - np.maximum.accumulate(begins, axis=1)


def portion_range(stream: Stream, portion: list[float] | None, documents) -> tuple[int, int]:
    """Return the tokens [from, to) of a stream whose documents' ids lie in a portion of the range of all ids.

    `documents(shard)` returns the rows of a shard's documents. They are ordered by id, within shards and from shard to shard: disjoint
    portions share no document, and new documents move none from one to another.
    """
    low, high = portion or (0.0, 1.0)

    def place(at: float) -> int:
        if at <= 0.0 or at >= 1.0 or not stream.tokens:
            return 0 if at <= 0.0 else stream.tokens
        id = f"{int(at * 16**13):013x}"
        shard = shard_of_id(stream, id)
        rows: list[JSON] = documents(shard)
        return stream.begin(shard) + next((row["start"] for row in rows if row["id"] >= id), rows[-1]["start"] + rows[-1]["tokens"])

    return place(low), place(high)


def check_supply(stage: Stage, ranges: Mapping[str, tuple[int, int]]) -> None:
    """Check that every source has the tokens that its share needs within its allowed epochs; BadInput says how many it would need."""
    batches = StageBatches(stage, 0, {}, dict(ranges))
    for entry, (source, needed) in zip(stage.mixture, batches.mixture_tokens().items(), strict=True):
        have = batches.chunks(entry) * entry.chunk_tokens
        if needed > have * entry.max_epochs:
            epochs = "more than it can give" if not have else f"{needed / have:.2f} epochs"
            raise BadInput(
                f"stage {stage.name!r} takes {needed:,} tokens from {source!r}, which has {have:,} in whole chunks of {entry.chunk_tokens}: "
                f"that is {epochs}, and max_epochs is {entry.max_epochs:g}: lower its weight or the stage's tokens, or allow more epochs"
            )
