"""The real engine to what its checkpoints cost: their size, the loop's stall, the seconds until they are sealed, and the steps beside them.

    python benchmarks/checkpoints.py --json rows.json --s3

Ray Train and DeepSpeed train a decoder on random tokens, at one and two workers, into a local folder and into an S3 server on
loopback. A stall is what the loop waited for, over the median step; a step is beside a checkpoint if any part of it was before the seal.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.engine_jobs import RandomTokens, decoder, engine_job, profile_of, run, step_seconds  # noqa: E402
from benchmarks.training import device_facts  # noqa: E402
from tasks.artifacts.manifest import read_manifest  # noqa: E402
from tasks.artifacts.store import open_store  # noqa: E402
from tasks.engine.job import Job  # noqa: E402

Row = dict[str, Any]
MOST_STALL = 0.05  # of a step
WARM_UP = 1  # steps
SHAPES = {"cpu": (8192, 512, 10, 1536, 512), "cuda": (256_000, 2048, 32, 4096, 2048)}  # Fox-1 on a GPU


def checkpoints_of(job: Job, journal: list[Row]) -> list[Row]:
    """Return a row for each checkpoint inside the stage: bytes, stall and its part of a step, seconds to the seal."""
    store = open_store(job.store)
    step = median(step_seconds(job, row) for row in journal[WARM_UP:])
    found = []
    for before, after in pairwise(journal):
        manifest = read_manifest(store, f"{job.working_folder}/step-{before['step']:010d}")
        if manifest is not None:
            stall, told = after["checkpoint_stall_seconds"], manifest.recorded
            found.append({
                "step": before["step"], "bytes": sum(entry.bytes for entry in manifest.files), "stall_seconds": stall,
                "stall_share": stall / step, "sealed_seconds": told["sealed"] - told["begun"], "begun": told["begun"], "sealed": told["sealed"],
            })  # fmt: skip
    return found


def slowdown(job: Job, journal: list[Row], saved: list[Row]) -> tuple[float, int]:
    """Return the median of steps beside an unsealed checkpoint over the median of the others, and how many were beside one."""
    beside, alone = [], []
    for row in journal[WARM_UP:]:
        seconds = step_seconds(job, row)
        begun = row["time"] - seconds  # at most an update too early
        near = any(one["begun"] < row["time"] and begun < one["sealed"] for one in saved)
        (beside if near else alone).append(seconds)
    return (median(beside) / median(alone) if beside and alone else float("nan")), len(beside)


def measure(given: argparse.Namespace, workers: int, kind: str, root: str, scratch: str) -> Row:
    """Train once; return the run's row, with one for each checkpoint."""
    vocabulary, hidden, layers, intermediate, tokens = SHAPES[given.device]
    model = decoder(vocabulary, hidden, layers, intermediate, tokens, 128 if given.device == "cuda" else 64)
    batches = RandomTokens(given.steps, given.units, tokens, vocabulary)
    name, precision = f"{kind}-{workers}", "bfloat16" if given.device == "cuda" else "float32"
    job = engine_job(model, batches, precision, root, name, given.every)
    journal = run(job, profile_of(workers, 1, given.micro_batch_tokens, given.device), scratch)
    saved = checkpoints_of(job, journal)
    ratio, beside = slowdown(job, journal, saved)
    return {
        "workers": workers, "store": kind, "device": given.device, "precision": precision, "parameters": model.parameter_count(),
        "tokens_per_step": job.tokens_per_step, "steps": len(journal), "step_seconds": median(step_seconds(job, row) for row in journal[WARM_UP:]),
        "bytes": saved[0]["bytes"], "stall_seconds": median(one["stall_seconds"] for one in saved),
        "stall_share": median(one["stall_share"] for one in saved), "stall_share_most": max(one["stall_share"] for one in saved),
        "sealed_seconds": median(one["sealed_seconds"] for one in saved), "steps_beside": beside, "slowdown": ratio, "checkpoints": saved,
    }  # fmt: skip


@contextmanager
def stores(folder: Path, s3: bool) -> Iterator[dict[str, str]]:
    """Yield the stores to measure by name: a local folder, and the project's own S3 server."""
    found = {"folder": str(folder / "store")}
    if not s3:
        yield found
        return
    from infra.local.services import start_s3, stop

    process, variables = start_s3(folder / "s3")
    os.environ.update(variables)  # before Ray starts: its workers inherit them
    try:
        yield found | {"s3": variables["REYNARD_STORE"]}
    finally:
        stop(process)


def line_of(row: Row) -> str:
    """Write a run as a line of the table."""
    return (
        f"{row['workers']:>7} {row['store']:<7} {row['step_seconds']:>7.2f} {row['bytes'] / 1e6:>9,.0f} {row['stall_seconds']:>8.3f} "
        f"{row['stall_share']:>7.2%} {row['stall_share_most']:>7.2%} {row['sealed_seconds']:>7.2f} {row['slowdown']:>9.3f}"
    )


def main() -> int:
    """Measure, print the table and write the rows; 1 if the loop's stall is not under a twentieth of a step."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the rows go; rows of the other device that are there are kept")
    parser.add_argument("--s3", action="store_true", help="into the project's own S3 server too")
    parser.add_argument("--device", choices=tuple(SHAPES), default="cpu")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--every", type=int, default=3, help="steps between checkpoints")
    parser.add_argument("--units", type=int, default=8, help="sequences of a step")
    parser.add_argument("--micro-batch-tokens", type=int, default=1024)
    given = parser.parse_args()
    facts, rows = device_facts(given.device), []
    print(f"{facts.get('gpu') or facts['processor']}, {facts['cores']} cores")
    print(f"{'workers':>7} {'store':<7} {'step s':>7} {'MB':>9} {'stall s':>8} {'of step':>7} {'most':>7} {'seal s':>7} {'slowdown':>9}")
    with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as folder, stores(Path(folder), given.s3) as roots:
        for kind, root in roots.items():
            for workers in given.workers:
                rows.append(measure(given, workers, kind, root, str(Path(folder) / "ray")))
                print(line_of(rows[-1]), flush=True)
    kept = [row for row in (json.loads(given.json.read_text()) if given.json.exists() else []) if row["device"] != given.device]
    given.json.write_text(json.dumps([*kept, *(row | {"machine": facts} for row in rows)], indent=1) + "\n")
    worst = max(row["stall_share"] for row in rows)
    print(f"{'reached' if worst < MOST_STALL else 'MISSED '}  the loop's stall {worst:.2%} of a step (below {MOST_STALL:.0%})")
    return int(worst >= MOST_STALL)


if __name__ == "__main__":
    sys.exit(main())
