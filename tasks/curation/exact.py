"""Tagged units to documents that pass the rules on single documents, and of those the ones that are exact copies of others.

Step `select` decides, for each unit, from attributes alone. Step `copies` sees the content hashes of one range of all hash values,
in order of preference, and asks a Bloom filter whether it saw them before. What the filter takes for a copy is looked up among the
range's hashes: a real copy is dropped with a reference to its original, a false positive is kept, and counted.
"""

from dataclasses import dataclass

import numpy as np

from recipes.curation import Curation
from tasks.artifacts.manifest import JSON
from tasks.artifacts.slices import write_slices
from tasks.artifacts.store import Store
from tasks.curation.bloom import BloomFilter
from tasks.curation.rate import content_hashes, reasons_of
from tasks.curation.rules import REASONS
from tasks.curation.shuffle import UnitWork, by_partition, gather, partition_of, references, scope_salt, unit_of
from tasks.curation.tagged import read_columns
from tasks.runtime.steps import Done, Output

HASHES_PER_PARTITION = 4_000_000
HASH_ROW = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("reference", "<u8")])
COPY_ROW = np.dtype([("row", "<u4"), ("kept", "<u8")])


def select_unit(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `select`: the unit's reasons, and the content hashes of the documents that are left, by range of hash values."""
    reasons = reasons_of(store, work, work.settings.get("quality_threshold"))
    np.save(output.scratch / "reasons.npy", reasons)
    output.add(output.scratch / "reasons.npy", "reasons.npy")
    left = np.flatnonzero(reasons == 0) if work.rules.exact_duplicates else np.zeros(0, np.int64)
    hashes = content_hashes(read_columns(work.unit.tagged.path(store, "attributes.parquet"), ["hash"])["hash"])[left]
    rows = np.empty(len(left), dtype=HASH_ROW)
    salt = scope_salt(work.section.exact_duplicates.scope, work.source)
    rows["hi"], rows["lo"], rows["reference"] = hashes[:, 0] ^ salt, hashes[:, 1], left
    partitions = int(work.settings["partitions"] or 1)
    write_slices(output.scratch / "hashes.slices", partitions, by_partition(partition_of(rows["hi"], partitions), rows))
    output.add(output.scratch / "hashes.slices", "hashes.slices")
    characters = read_columns(work.unit.tagged.path(store, "attributes.parquet"), ["characters"])["characters"]
    return {"documents": len(reasons), "left": int((reasons == 0).sum()), "characters_left": int(characters[reasons == 0].sum())}


@dataclass(frozen=True)
class CopiesWork:
    """One range of hash values, and all units in order."""

    partition: int
    partitions: int
    selected: list[Done]
    numbers: list[int]  # of the units that `selected` are of
    frozen: list[bool]  # by unit number: documents of a reference source are never dropped
    section: Curation


def find_copies(store: Store, work: CopiesWork, output: Output) -> JSON:
    """Step `copies`: the exact copies in one range of hash values, by unit, and the Bloom filter that recognised them."""
    rows = gather_hashes(store, work.selected, work.numbers, "hashes.slices", work.partitions, work.partition, HASH_ROW)
    bloom = BloomFilter(len(rows), work.section.exact_duplicates.false_positive_rate)
    suspected = bloom.add_new(np.stack([rows["hi"], rows["lo"]], axis=1))
    original = originals(rows, suspected)
    copied = suspected & (original != rows["reference"])
    dropped = copied & ~np.asarray(work.frozen, dtype=bool)[unit_of(rows["reference"])]
    found = np.empty(int(dropped.sum()), dtype=COPY_ROW)
    found["row"], found["kept"] = rows["reference"][dropped] & np.uint64(0xFFFFFFFF), original[dropped]
    write_slices(output.scratch / "copies.slices", len(work.frozen), by_partition(unit_of(rows["reference"][dropped]), found))
    output.add(output.scratch / "copies.slices", "copies.slices")
    bloom.save(output.scratch / "bloom.npz")
    output.add(output.scratch / "bloom.npz", "bloom.npz")
    return {
        "capacity": bloom.capacity, "added": bloom.added, "bytes": bloom.bytes, "false_positives": int((suspected & ~copied).sum()),
        "copies": len(found),
    }  # fmt: skip


def gather_hashes(
    store: Store, dones: list[Done], numbers: list[int], name: str, partitions: int, partition: int, dtype: np.dtype
) -> np.ndarray:
    """Collect a partition's hashes from all units, in order of preference; `reference` comes as a row and leaves as a reference."""
    pieces = []
    for number, done in zip(numbers, dones, strict=True):
        rows = gather(store, [done], name, partitions, partition, dtype).copy()
        rows["reference"] = references(number, rows["reference"])
        pieces.append(rows)
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype)


def originals(rows: np.ndarray, suspected: np.ndarray) -> np.ndarray:
    """Return, for each row, the reference of the first row with the same hash; only hashes of suspected rows are looked up."""
    original = rows["reference"].copy()
    wanted = np.unique(rows["hi"][suspected])
    if not len(wanted):
        return original
    place = np.flatnonzero(wanted[np.minimum(np.searchsorted(wanted, rows["hi"]), len(wanted) - 1)] == rows["hi"])
    order = place[np.lexsort((rows["reference"][place], rows["lo"][place], rows["hi"][place]))]
    hi, lo = rows["hi"][order], rows["lo"][order]
    first = np.r_[True, (hi[1:] != hi[:-1]) | (lo[1:] != lo[:-1])]
    original[order] = rows["reference"][order][np.flatnonzero(first)[np.cumsum(first) - 1]]
    return original


def copies_of_unit(store: Store, work: UnitWork) -> tuple[np.ndarray, np.ndarray]:
    """Return a unit's reasons with exact copies marked, and the copies themselves (COPY_ROW)."""
    reasons = np.load(work.earlier["select"][0].path(store, "reasons.npy")).copy()
    found = gather(store, work.earlier["copies"], "copies.slices", int(work.settings["units"] or 0), work.unit.number, COPY_ROW)
    reasons[found["row"]] = REASONS.index("exact_duplicate")
    return reasons, found
