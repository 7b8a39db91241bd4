"""Measured rates to what a large corpus will need: core-hours, storage, bytes through the shuffles, requests, memory.

    python benchmarks/plan_curation.py --rates benchmarks/results/curation.json --terabytes 10

Everything is scaled from the row `reynard: whole chain` of the benchmark: seconds and stored bytes of each step for each byte of text. That
holds where work is linear in the text, which all steps are but two: verification grows with the share of candidates, and a shuffle
reads one slice for each pair of unit and partition.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contenders import WHOLE  # noqa: E402

GROUPS = {  # steps as a person thinks of them
    "measure (tag)": ("tag",), "score quality (rate)": ("rate", "train"), "exact copies": ("select", "copies"),
    "near copies: propose": ("bands", "buckets", "bins"), "near copies: verify": ("gather", "verify"), "write": ("emit", "shard"),
}  # fmt: skip
SHUFFLED = {
    "exact copies": ("select/hashes.slices",), "near copies: propose": ("bands/keys.slices",), "near copies: verify": ("gather/texts.slices",),
    "write": ("emit/documents.slices", "emit/verdicts.slices"),
}  # fmt: skip


def plan(row: dict, terabytes: float, cores: int) -> list[str]:
    """Return the plan's lines for a corpus of so many terabytes of text on so many cores."""
    from tasks.curation.curate import LEAST_UNIT_BYTES, MOST_UNIT_BYTES, SHARD_CHARACTERS, UNITS_AIMED_AT
    from tasks.curation.exact import HASHES_PER_PARTITION
    from tasks.curation.near import BIN_CHARACTERS, KEYS_PER_PARTITION
    from tasks.curation.shuffle import MOST_PARTITIONS, partitions_for

    times = terabytes * 1e12 / row["bytes"]
    documents = row["documents"] * times
    units = terabytes * 1e12 / min(max(LEAST_UNIT_BYTES, terabytes * 1e12 / UNITS_AIMED_AT), MOST_UNIT_BYTES)
    bands = 9
    partitions = {
        "exact copies": partitions_for(documents, HASHES_PER_PARTITION), "near copies: propose": bands * partitions_for(documents, KEYS_PER_PARTITION),
        "near copies: verify": partitions_for(row["stored_bytes"].get("gather/texts.slices", 0) * 3 * times, BIN_CHARACTERS),
        "write": partitions_for(terabytes * 1e12, SHARD_CHARACTERS),
    }  # fmt: skip
    lines = [
        f"{terabytes:g} TB of text, {documents / 1e9:.2f} billion documents, {units:,.0f} units; at most {MOST_PARTITIONS} partitions a shuffle", "",
        "| work | core-hours | hours on " + f"{cores:,} cores | stored | through the shuffle | slices read |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    total = 0.0
    for name, steps in GROUPS.items():
        hours = sum(row["step_seconds"].get(step, 0.0) for step in steps) * times / 3600
        stored = sum(size for file, size in row["stored_bytes"].items() if file.split("/")[0] in steps) * times
        shuffled = sum(row["stored_bytes"].get(file, 0) for file in SHUFFLED.get(name, ())) * times
        reads = units * partitions[name] if name in partitions else 0
        total += hours
        lines.append(
            f"| {name} | {hours:,.0f} | {hours / cores:,.1f} | {stored / 1e12:.2f} TB | {shuffled / 1e12:.2f} TB | {reads / 1e6:,.1f} M |"
        )
    lines.append(f"| all | {total:,.0f} | {total / cores:,.1f} | | | |")
    lines += [
        "", f"Memory: see docs/curation.md; on disk while components are found: {25 * documents / 1e9:,.0f} GB.",
        f"Bloom filter: {43.13 * documents / 8 / 1e9:,.0f} GB at 1e-9, in {partitions['exact copies']:,} parts.",
    ]  # fmt: skip
    return lines


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rates", type=Path, required=True, help="the rows that benchmarks/curation.py wrote")
    parser.add_argument("--terabytes", type=float, default=10.0, help="of UTF-8 text")
    parser.add_argument("--cores", type=int, default=1024)
    given = parser.parse_args()
    row = next((row for row in json.loads(given.rates.read_text()) if row["name"] == WHOLE and "step_seconds" in row), None)
    if row is None:
        raise SystemExit(f"{given.rates} has no row {WHOLE!r}: run benchmarks/curation.py with the group `chain`")
    print("\n".join(plan(row, given.terabytes, given.cores)))


if __name__ == "__main__":
    main()
