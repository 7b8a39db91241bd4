"""The real engine's peak memory and traffic by ZeRO stage, workers and micro-batch, beside what `reynard plan` predicts for them.

    python benchmarks/memory.py --json rows.json

The engine's workers, in processes of their own without Ray, take steps of two micro-batches on random tokens; the first one's peak is
told. On a CPU it is the largest resident memory, less that of the same worker with a model of a few thousand parameters; on a GPU it
is what PyTorch allocated at most. Bytes sent are counted where DeepSpeed calls `torch.distributed`, as rings send them.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.engine_jobs import RandomTokens, decoder, engine_job, profile_of, run_workers  # noqa: E402
from benchmarks.training import device_facts  # noqa: E402
from recipes.schema import Model  # noqa: E402
from tasks.artifacts.store import open_store  # noqa: E402
from tasks.planning.memory import peak_bytes  # noqa: E402
from tasks.planning.traffic import communication_bytes  # noqa: E402

Row = dict[str, Any]
TOLERANCE = 0.15  # of the measured peak
ACCUMULATION, STEPS, TOKENS = 2, 2, 256
SHAPES = {"cpu": (8192, 512, 10, 1536), "cuda": (256_000, 2048, 16, 4096)}  # half of Fox-1's layers on a GPU
ROUNDS = {"all_reduce": 2, "reduce": 1, "all_gather_into_tensor": 1, "all_gather": 1, "reduce_scatter_tensor": 1}  # of the ring
SMALL = 1 << 16  # bytes: what is not counted


@dataclass(frozen=True)
class CountedTokens(RandomTokens):
    """Batches for which a worker's process counts what it sends, and writes it into a folder."""

    folder: str = ""

    def begin(self) -> None:
        """Begin to count, before DeepSpeed is there."""
        count_traffic(Path(self.folder))


def count_traffic(folder: Path) -> None:
    """Let the large collectives of this process write the bytes that a ring sends for each of them, a line each."""
    from torch import distributed

    rank, world = distributed.get_rank(), distributed.get_world_size()

    def wrapped(name: str, times: int):
        inner = getattr(distributed, name)

        def call(*given, **named):
            if (size := max(map(size_of, [*given, *named.values()]))) > SMALL:
                with (folder / f"{rank}.jsonl").open("a") as file:
                    file.write(json.dumps({"what": name, "bytes": size * times * (world - 1) / world}) + "\n")
            return inner(*given, **named)

        setattr(distributed, name, call)

    for name, times in ROUNDS.items():
        wrapped(name, times)


def size_of(value: Any) -> int:
    """Return the bytes of a tensor, or of all in a list; of anything else none."""
    return sum(map(size_of, value)) if isinstance(value, list) else getattr(value, "nbytes", 0)


def train(model: Model, zero_stage: int, workers: int, micro_batch: int, precision: str, device: str, folder: Path) -> tuple[int, float]:
    """Train some steps; return the first worker's peak memory and the bytes that it sent in a step."""
    units = workers * ACCUMULATION * micro_batch // TOKENS
    name = f"{model.hidden_size}-{precision}-{zero_stage}-{workers}-{micro_batch}"
    (folder / name).mkdir()
    batches = CountedTokens(STEPS, units, TOKENS, model.vocabulary_size, str(folder / name))
    job = engine_job(model, batches, precision, str(folder / "store"), name, STEPS)
    rows = run_workers(job, profile_of(workers, zero_stage, micro_batch, device))
    sent = sum(json.loads(line)["bytes"] for path in (folder / name).glob("0.jsonl") for line in path.read_text().splitlines())
    open_store(job.store).delete(job.final_folder)
    return max(row["memory_bytes"] for row in rows), sent / STEPS


def settings(given: argparse.Namespace) -> Iterator[tuple[str, int, int, int]]:
    """Go through precisions, workers, ZeRO stages and micro-batches."""
    for precision in given.precision:
        for workers in given.workers:
            for zero_stage in (1, 2):
                for micro_batch in given.micro_batch_tokens:
                    yield precision, workers, zero_stage, micro_batch


def measure(given: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Measure every setting, and yield its row."""
    vocabulary, hidden, layers, intermediate = SHAPES[given.device]
    model = decoder(vocabulary, hidden, layers, intermediate, TOKENS, 128 if given.device == "cuda" else 64)
    nothing = decoder(64, 16, 1, 32, TOKENS, 16)
    baselines: dict[tuple[str, int], int] = {}
    for precision, workers, zero_stage, micro_batch in settings(given):
        setting = (precision, workers)
        if setting not in baselines:
            baselines[setting] = (
                train(nothing, zero_stage, workers, TOKENS, precision, given.device, folder)[0] if given.device == "cpu" else 0
            )
        peak, sent = train(model, zero_stage, workers, micro_batch, precision, given.device, folder)
        yield compared({
            "device": given.device, "precision": precision, "workers": workers, "zero_stage": zero_stage, "micro_batch_tokens": micro_batch,
            "accumulation": ACCUMULATION, "model": model.model_dump(), "parameters": model.parameter_count(),
            "baseline_bytes": baselines[setting], "measured_bytes": peak - baselines[setting], "sent_bytes": sent,
        })  # fmt: skip


def compared(row: Row) -> Row:
    """Put the planned memory and traffic beside what a row measured."""
    model = Model.model_validate(row["model"])
    planned = peak_bytes(
        model, row["zero_stage"], row["workers"], row["micro_batch_tokens"], row["accumulation"], row["precision"], row["device"] == "cuda"
    )
    sent = communication_bytes(row["parameters"], row["zero_stage"], row["workers"], row["accumulation"], row["precision"])
    return row | {
        "planned_bytes": planned["total"], "planned": planned, "error": planned["total"] / row["measured_bytes"] - 1,
        "planned_sent_bytes": sent,
    }  # fmt: skip


def line_of(row: Row) -> str:
    """Write a row as a line of the table."""
    return (
        f"{row['precision']:<9} {row['workers']:>7} {row['zero_stage']:>4} {row['micro_batch_tokens']:>6} {row['measured_bytes'] / 1e6:>9,.0f} "
        f"{row['planned_bytes'] / 1e6:>8,.0f} {row['error']:>+7.1%} {row['sent_bytes'] / 1e6:>8,.1f} {row['planned_sent_bytes'] / 1e6:>8,.1f}"
    )


def main() -> int:
    """Measure, print the table and write the rows; 1 if a plan is too far from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the rows go; rows of the other device that are there are kept")
    parser.add_argument("--device", choices=tuple(SHAPES), default="cpu")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--micro-batch-tokens", type=int, nargs="+", default=[256, 1024])
    given = parser.parse_args()
    facts, rows = device_facts(given.device), []
    print(f"{facts.get('gpu') or facts['processor']}, {facts['cores']} cores")
    print(f"{'':<9} {'workers':>7} {'ZeRO':>4} {'tokens':>6} {'peak MB':>9} {'planned':>8} {'error':>7} {'sent MB':>8} {'planned':>8}")
    with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as folder:
        for row in measure(given, Path(folder)):
            rows.append(row)
            print(line_of(row), flush=True)
    kept = [row for row in (json.loads(given.json.read_text()) if given.json.exists() else []) if row["device"] != given.device]
    given.json.write_text(json.dumps([*kept, *(row | {"machine": facts} for row in rows)], indent=1) + "\n")
    worst = max(abs(row["error"]) for row in rows)
    print(f"{'reached' if worst < TOLERANCE else 'MISSED '}  the largest error of memory {worst:.1%} (below {TOLERANCE:.0%})")
    return int(worst >= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
