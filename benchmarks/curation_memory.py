"""Corpora of growing size to the peak memory of curation's workers and of its driver: it should not grow.

    python benchmarks/curation_memory.py --inputs 100mb.jsonl 400mb.jsonl 2400mb.jsonl --workers 2 --json memory.json

The peak is `VmHWM` of /proc, the most memory that a process ever had resident, of every Ray worker and forked child that was
seen working; the driver accounts for itself.
Files that are mapped into memory count, though the system may drop them at any time. Models are left out: they are a constant.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def section(path: Path) -> dict:
    """Return a curation section with heuristics, exact and verified near duplicates, and repeated paragraphs."""
    from benchmarks.ours.filters import HEURISTICS

    near = {"unit": "character", "shingle_length": 13, "permutations": 128, "bands": 9, "rows": 13, "jaccard_threshold": 0.8}
    rules = {name: rule for name, rule in HEURISTICS.items() if name in ("min_characters", "max_characters", "gopher_repetition")}
    return {
        "sources": [{"name": "text", "kind": "mixed_web", "format": "jsonl", "location": str(path), "licence": "-", "rules": "web"}],
        "rules": {"web": rules | {"near_duplicates": "text", "duplicate_paragraphs": True}}, "max_unreadable_fraction": 0.01,
        "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9},
        "near_duplicates": {"text": near | {"scope": "across_sources"}},
        "duplicate_paragraphs": {"scope": "across_sources", "min_characters": 200, "false_positive_rate": 1e-9},
    }  # fmt: skip


def workers_peak(session: int) -> int:
    """Return the largest peak, in megabytes, of the workers of a session that are there now."""
    largest = 0
    for entry in Path("/proc").iterdir():
        try:
            mine = entry.name.isdigit() and os.getsid(int(entry.name)) == session
            if mine and (entry / "cmdline").read_bytes().startswith(b"ray::make_item"):
                status = (entry / "status").read_text()
                largest = max(largest, int(status.split("VmHWM:")[1].split()[0]) // 1000)
        except (OSError, ValueError, IndexError):  # it has just ended
            continue
    return largest


def curate_once(path: str, workers: int, answer: str) -> None:
    """Curate one corpus in a process and session of its own, and write down the peaks."""
    os.setsid()
    from recipes.curation import Curation
    from tasks.artifacts.store import Store
    from tasks.curation.curate import curate
    from tasks.runtime.steps import Steps
    from tasks.sources.units import pin_files

    rules = Curation.model_validate(section(Path(path)))
    peaks = [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            peaks.append(max(peaks.pop(), workers_peak(os.getpid())))

    with tempfile.TemporaryDirectory(prefix="reynard-memory-", dir=Path(answer).parent) as store:
        steps = Steps(Store(store), "working", workers)
        places = {s.name: [{"address": f.address, "bytes": f.bytes, "mark": f.mark} for f in pin_files(s)] for s in rules.sources}
        threading.Thread(target=watch, daemon=True).start()
        begun = time.monotonic()
        counts, _ = curate(rules, places, steps, lambda done, name, path: None)
        seconds = time.monotonic() - begun
        stop.set()
    row = {
        "megabytes": round(Path(path).stat().st_size / 1e6), "documents": counts["documents_in"], "kept": counts["documents_kept"],
        "worker_peak_megabytes": peaks[0], "driver_peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        "seconds": round(seconds, 1), "items": sum(steps.made.values()),
    }  # fmt: skip
    Path(answer).write_text(json.dumps(row))


def main() -> None:
    """Run the corpora one after the other; print and write a row for each."""
    from benchmarks.machine import machine_facts

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=Path, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    rows = []
    for path in given.inputs:
        answer = given.json.with_suffix(".part")
        child = multiprocessing.get_context("spawn").Process(
            target=curate_once, args=(str(path.resolve()), given.workers, str(answer.resolve()))
        )
        child.start()
        child.join()
        rows.append(json.loads(answer.read_text()) | {"machine": machine_facts()})
        answer.unlink()
        print({key: value for key, value in rows[-1].items() if key != "machine"}, flush=True)
    given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
