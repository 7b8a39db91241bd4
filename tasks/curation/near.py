"""Documents that are left to near duplicates: proposed by MinHash-LSH, verified by exact Jaccard similarity, resolved by preference.

Steps: `bands` spreads each document's band keys by band and range of keys; `buckets` links the documents that share a key; `bins` takes
connected documents together (proposed, not believed: a component is only what has to be looked at in one place); `gather` brings
the texts of a bin together; `verify` decides inside each component, in order of preference. A document is dropped if a document
that is kept before it shares a bucket with it and has a Jaccard similarity of at least the threshold over all shingles. So every
dropped document is truly similar to the kept document that is named, and a chain of small differences drops nothing by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from tasks.artifacts.manifest import JSON
from tasks.artifacts.slices import write_slices
from tasks.artifacts.store import Store
from tasks.curation.exact import copies_of_unit
from tasks.curation.shuffle import MOST_PARTITIONS, UnitWork, by_partition, gather, partition_of, references, scope_salt, unit_of
from tasks.curation.tagged import near_keys_of, read_columns
from tasks.runtime.steps import Done, Output

KEYS_PER_PARTITION = 8_000_000
BIN_CHARACTERS = 16_000_000
PAIRS_AT_ONCE = 1_000_000
KEY_ROW = np.dtype([("key", "<u8"), ("row", "<u4")])
BIN_ROW = np.dtype([("row", "<u4"), ("component", "<u8"), ("bin", "<u4")])


def band_unit(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `bands`: the band keys of the unit's documents that are left, by band and range of keys."""
    reasons, _ = copies_of_unit(store, work)
    bands, ranges = int(work.settings["bands"] or 0), int(work.settings["ranges"] or 1)
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    if work.rules.near_duplicates is not None:
        rule = work.section.near_duplicates[work.rules.near_duplicates]
        left = np.flatnonzero(reasons == 0)
        keys = near_keys_of(work.unit.tagged.path(store, "attributes.parquet"), left, rule.bands)
        salt = scope_salt(rule.scope, work.source, work.rules.near_duplicates)
        for band in range(rule.bands):
            present = keys[:, band] != 0  # documents without a shingle have no keys
            rows = np.empty(int(present.sum()), dtype=KEY_ROW)
            rows["key"], rows["row"] = keys[present, band] ^ salt, left[present]
            pieces.append((band * ranges + partition_of(rows["key"], ranges), rows))
    partition = np.concatenate([part for part, _ in pieces]) if pieces else np.zeros(0, np.int64)
    rows = np.concatenate([rows for _, rows in pieces]) if pieces else np.zeros(0, KEY_ROW)
    write_slices(output.scratch / "keys.slices", bands * ranges, by_partition(partition, rows))
    output.add(output.scratch / "keys.slices", "keys.slices")
    return {"keys": len(rows)}


@dataclass(frozen=True)
class BucketsWork:
    """One band's range of keys, and the keys of all units."""

    partition: int
    partitions: int
    keyed: list[Done]
    numbers: list[int]


def link_buckets(store: Store, work: BucketsWork, output: Output) -> JSON:
    """Step `buckets`: pairs (first document of a bucket, another of it), which connect all that share a key."""
    keys, owners = [], []
    for number, done in zip(work.numbers, work.keyed, strict=True):
        rows = gather(store, [done], "keys.slices", work.partitions, work.partition, KEY_ROW)
        keys.append(rows["key"])
        owners.append(references(number, rows["row"]))
    key, owner = (np.concatenate(parts) if parts else np.zeros(0, np.uint64) for parts in (keys, owners))
    order = np.lexsort((owner, key))
    key, owner = key[order], owner[order]
    first = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, bool)
    leader = owner[np.flatnonzero(first)[np.cumsum(first) - 1]] if len(key) else owner
    pairs = np.stack([leader[~first], owner[~first]], axis=1)
    np.save(output.scratch / "pairs.npy", np.unique(pairs, axis=0))
    output.add(output.scratch / "pairs.npy", "pairs.npy")
    return {"pairs": len(pairs)}


@dataclass(frozen=True)
class BinsWork:
    """All pairs, and all units (by number) with their sizes."""

    linked: list[Done]
    tagged: list[Done]


def assign_bins(store: Store, work: BinsWork, output: Output) -> JSON:
    """Step `bins`: connected components, packed in order into bins of about equal size; by unit, which rows go where.

    Documents are numbered through all units, and the arrays over them lie in files: 25 bytes a document of disk, pages of which the
    system may drop from memory at any time. What is held is one unit's columns and one piece of pairs.
    """
    starts = np.concatenate([[0], np.cumsum([done.counts["documents"] for done in work.tagged])]).astype(np.int64)
    parent, begins, size = (_on_disk(output, name, starts[-1], np.int64) for name in ("parent", "begins", "size"))
    linked = _on_disk(output, "linked", starts[-1], np.bool_)
    for begin, end in pairwise(starts.tolist()):
        parent[begin:end] = np.arange(begin, end)
    for done in work.linked:
        pairs = np.load(done.path(store, "pairs.npy"), mmap_mode="r")
        for piece in range(0, len(pairs), PAIRS_AT_ONCE):
            places = starts[unit_of(pairs[piece : piece + PAIRS_AT_ONCE])] + (
                pairs[piece : piece + PAIRS_AT_ONCE] & np.uint64(0xFFFFFFFF)
            ).astype(np.int64)
            linked[places.ravel()] = True
            _unite(parent, np.ascontiguousarray(places[:, 0]), np.ascontiguousarray(places[:, 1]))
    _flatten(parent)
    total = _measure_components(store, work, starts, parent, linked, size, begins)
    each = max(BIN_CHARACTERS, -(-total // MOST_PARTITIONS))
    write_slices(output.scratch / "bins.slices", max(len(work.tagged), 1), _rows_of_units(starts, parent, linked, begins, each))
    output.add(output.scratch / "bins.slices", "bins.slices")
    return {"documents": int(linked.sum()), "characters": total, "bins": -(-total // each)}


def _on_disk(output: Output, name: str, length: int, kind: type) -> np.ndarray:
    return np.memmap(output.scratch / name, dtype=kind, mode="w+", shape=max(int(length), 1))


def _measure_components(store: Store, work: BinsWork, starts, parent, linked, size, begins) -> int:
    """Fill each root's size, and the characters of all components that begin before it; return all characters."""
    for unit, (begin, end) in enumerate(pairwise(starts.tolist())):
        rows = np.flatnonzero(linked[begin:end])
        if len(rows):
            characters = read_columns(work.tagged[unit].path(store, "attributes.parquet"), ["characters"])["characters"][rows]
            np.add.at(size, parent[begin:end][rows], np.maximum(characters, 1))
    total = 0
    for begin, end in pairwise(starts.tolist()):
        begins[begin:end] = total + np.cumsum(size[begin:end]) - size[begin:end]
        total += int(size[begin:end].sum())
    return total


def _rows_of_units(starts, parent, linked, begins, each: int) -> Iterator[tuple[int, bytes]]:
    for unit, (begin, end) in enumerate(pairwise(starts.tolist())):
        places = np.flatnonzero(linked[begin:end])
        rows = np.empty(len(places), dtype=BIN_ROW)
        roots = parent[begin:end][places]
        rows["row"], rows["component"], rows["bin"] = places, roots, begins[roots] // each
        yield unit, rows.tobytes()


@njit(cache=True)
def _unite(parent, left, right):
    """Join the sets of each pair; the smaller document becomes the root."""
    for pair in range(len(left)):
        a, b = left[pair], right[pair]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b


@njit(cache=True)
def _flatten(parent):
    for place in range(len(parent)):
        parent[place] = parent[parent[place]]  # parents come before their children
