"""Kept documents to documents without the paragraphs that an earlier document has already (boilerplate that survives page by page).

A paragraph is a line. Step `paragraphs` spreads the hashes of long enough lines by range of hash values; step `repeats` asks a Bloom
filter, in order of preference, which were seen before, and looks each up, as for whole documents. A repetition inside one document is
left to the rules on repetition.
"""

from dataclasses import dataclass

import numpy as np
import xxhash

from tasks.artifacts.manifest import JSON
from tasks.artifacts.slices import write_slices
from tasks.artifacts.store import Store
from tasks.curation.bloom import BloomFilter
from tasks.curation.exact import HASH_ROW, copies_of_unit, gather_hashes, originals
from tasks.curation.rules import REASONS
from tasks.curation.shuffle import UnitWork, by_partition, gather, partition_of, scope_salt, unit_of
from tasks.curation.tagged import iterate_texts
from tasks.curation.verify import NEAR_ROW
from tasks.runtime.steps import Done, Output

HASHES_PER_PARTITION = 4_000_000
LINE_ROW = np.dtype([*HASH_ROW.descr, ("line", "<u4")])
REPEAT_ROW = np.dtype([("row", "<u4"), ("line", "<u4")])


def settled(store: Store, work: UnitWork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a unit's reasons after all rules on documents, its exact copies (COPY_ROW) and its near copies (NEAR_ROW)."""
    reasons, copies = copies_of_unit(store, work)
    near = gather(store, work.earlier["verify"], "near.slices", int(work.settings["units"] or 0), work.unit.number, NEAR_ROW)
    reasons[near["row"]] = REASONS.index("near_duplicate")
    return reasons, copies, near


def spread_paragraphs(store: Store, work: UnitWork, output: Output) -> JSON:
    """Step `paragraphs`: the hashes of the unit's lines, by range of hash values."""
    rule = work.section.duplicate_paragraphs
    hashes, rows, lines = [], [], []
    if rule is not None and work.rules.duplicate_paragraphs:
        kept = np.flatnonzero(settled(store, work)[0] == 0)
        for row, text in iterate_texts(work.unit.tagged.path(store, "text.parquet"), kept):
            for number, line in enumerate(text.split("\n")):
                if len(line) >= rule.min_characters and len(stripped := line.strip()) >= rule.min_characters:
                    hashes.append(xxhash.xxh3_128_digest(stripped.encode("utf-8", "surrogatepass")))
                    rows.append(row)
                    lines.append(number)
    found = np.empty(len(rows), dtype=LINE_ROW)
    both = np.frombuffer(b"".join(hashes), dtype=np.uint64).reshape(-1, 2)
    salt = scope_salt(rule.scope, work.source) if rule else np.uint64(0)
    found["hi"], found["lo"], found["reference"], found["line"] = both[:, 0] ^ salt, both[:, 1], rows, lines
    partitions = int(work.settings["partitions"] or 1)
    write_slices(output.scratch / "lines.slices", partitions, by_partition(partition_of(found["hi"], partitions), found))
    output.add(output.scratch / "lines.slices", "lines.slices")
    return {"lines": len(found)}


@dataclass(frozen=True)
class RepeatsWork:
    """One range of line hashes, and all units in order."""

    partition: int
    partitions: int
    spread: list[Done]
    numbers: list[int]
    frozen: list[bool]
    false_positive_rate: float


def find_repeats(store: Store, work: RepeatsWork, output: Output) -> JSON:
    """Step `repeats`: the lines of one range of hash values that an earlier document has, by unit."""
    rows = gather_hashes(store, work.spread, work.numbers, "lines.slices", work.partitions, work.partition, LINE_ROW)
    bloom = BloomFilter(len(rows), work.false_positive_rate)
    suspected = bloom.add_new(np.stack([rows["hi"], rows["lo"]], axis=1))
    original = originals(rows, suspected)
    repeated = suspected & (original != rows["reference"]) & ~np.asarray(work.frozen, dtype=bool)[unit_of(rows["reference"])]
    found = np.empty(int(repeated.sum()), dtype=REPEAT_ROW)
    found["row"], found["line"] = rows["reference"][repeated] & np.uint64(0xFFFFFFFF), rows["line"][repeated]
    write_slices(output.scratch / "repeats.slices", len(work.frozen), by_partition(unit_of(rows["reference"][repeated]), found))
    output.add(output.scratch / "repeats.slices", "repeats.slices")
    bloom.save(output.scratch / "bloom.npz")
    output.add(output.scratch / "bloom.npz", "bloom.npz")
    return {
        "capacity": bloom.capacity,
        "added": bloom.added,
        "bytes": bloom.bytes,
        "false_positives": int(suspected.sum()) - repetitions(rows),
        "repeats": len(found),
    }


def repetitions(rows: np.ndarray) -> int:
    """Count rows whose hash another row had before."""
    return len(rows) - len(np.unique(np.stack([rows["hi"], rows["lo"]], axis=1), axis=0))


def without_lines(text: str, lines: np.ndarray) -> str:
    """Return a text without some of its lines (by number)."""
    gone = set(lines.tolist())
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in gone)
