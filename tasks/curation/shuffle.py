"""What the steps that look at all documents share: references to documents, and which documents are compared with which.

A document is referred to by one 64-bit number: its unit's number times 2^32 plus its row. Units are numbered in the order of
preference of their sources, reference sources first, and by address within a source; so of two references the smaller is the
document that was there first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xxhash

from recipes.curation import Curation, Rules, Scope, Source
from tasks.artifacts.slices import read_slice
from tasks.artifacts.store import Store
from tasks.runtime.steps import Done

MOST_PARTITIONS = 4096


@dataclass(frozen=True)
class TaggedUnit:
    """A unit whose documents are tagged: its number and its source's place in the recipe."""

    number: int
    source: int
    tagged: Done


@dataclass(frozen=True)
class UnitWork:
    """The argument of a step that works on one unit: the unit, the rules, and the results of earlier steps that it needs."""

    unit: TaggedUnit
    section: Curation
    earlier: dict[str, list[Done]]
    settings: dict[str, float | int | None]
    source_of_unit: tuple[int, ...] = ()

    @property
    def source(self) -> Source:
        """The unit's source."""
        return self.section.sources[self.unit.source]

    @property
    def rules(self) -> Rules:
        """The rules that apply to the unit."""
        return self.section.rules_of(self.source)


def references(unit: int, rows: np.ndarray) -> np.ndarray:
    """Return the references of rows of a unit."""
    return (np.uint64(unit) << np.uint64(32)) | rows.astype(np.uint64)


def unit_of(references: np.ndarray) -> np.ndarray:
    """Return the units that references point into."""
    return (references >> np.uint64(32)).astype(np.int64)


def partitions_for(amount: float, each: float) -> int:
    """Return into how many partitions to divide an amount so that each holds about `each`, within a bound that keeps tables small."""
    return int(min(max(-(-amount // each), 1), MOST_PARTITIONS))


def partition_of(keys: np.ndarray, partitions: int) -> np.ndarray:
    """Return each 64-bit key's partition: equal ranges of the keys' upper 32 bits."""
    return (((keys >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)).astype(np.int64)


def scope_salt(scope: Scope, source: Source, rule: str = "") -> np.uint64:
    """Return a number that is equal for the documents that are to be compared with each other, and else different."""
    group = {"across_sources": "", "within_kinds": source.kind, "within_sources": source.name}[scope]
    return np.uint64(xxhash.xxh3_64_intdigest(f"{rule}\x00{scope}\x00{group}".encode()))


def by_partition(partition: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """Yield the bytes of an array's rows for each partition that has any; rows keep their order."""
    order = np.argsort(partition, kind="stable")
    ordered, rows = partition[order], rows[order]
    borders = [0, *(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1).tolist(), len(ordered)]
    for begin, end in pairwise(borders) if len(ordered) else ():
        yield int(ordered[begin]), rows[begin:end].tobytes()


def gather(store: Store, dones: list[Done], name: str, partitions: int, partition: int, dtype: np.dtype) -> np.ndarray:
    """Collect a partition's rows from the slices that all items of an earlier step wrote, in the items' order."""
    pieces = [read_slice(store, done.key(name), partitions, partition) for done in dones]
    return np.frombuffer(b"".join(pieces), dtype=dtype)
