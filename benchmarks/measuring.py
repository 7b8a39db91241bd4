"""One contender in a process of its own, to the row that its run gives: the child side of the benchmark.

    python -m benchmarks.measuring benchmarks.peers.near:datasketch TASK.json

Needs the standard library and orjson alone, since peers live in environments of their own. The clock starts after the interpreter,
imports and compiled kernels are there, and stops after the last result: reading and parsing the file is inside. What counts is
CPU time, user and system, of the process, all its threads and its finished children.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.machine import peak_bytes

BATCH_DOCUMENTS = 2_000


@dataclass
class Task:
    """What a contender works on: an input file, a folder of its own, and the settings that all contenders share."""

    input: Path
    scratch: Path
    documents: int  # in the input
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0  # CPU
    wall_seconds: float = 0.0
    start_seconds: float = 0.0  # CPU of what the clock left out

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure what happens inside; a contender enters it once."""
        assert self.seconds == 0.0, "a contender is measured once"
        begun, clock = cpu_seconds(), time.perf_counter()
        yield
        self.seconds, self.wall_seconds, self.start_seconds = cpu_seconds() - begun, time.perf_counter() - clock, begun

    def texts(self) -> Iterator[str]:
        """Read and parse the input, document by document."""
        with self.input.open("rb") as file:
            for line in file:
                yield orjson.loads(line)["text"]

    def batches(self) -> Iterator[list[str]]:
        """Read and parse the input, BATCH_DOCUMENTS at a time."""
        batch: list[str] = []
        for text in self.texts():
            batch.append(text)
            if len(batch) == BATCH_DOCUMENTS:
                yield batch
                batch = []
        if batch:
            yield batch


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes() -> float:
    """Return this process's largest resident memory."""
    return peak_bytes() / 1e6


def main(contender: str, task_file: str) -> None:
    """Run a contender (`module:function`) and write its row beside the task file, as `row.json`."""
    path = Path(task_file)
    given = json.loads(path.read_text())
    task = Task(Path(given["input"]), path.parent, given["documents"], given["settings"])
    module, function = contender.split(":")
    row = getattr(importlib.import_module(module), function)(task)
    assert task.seconds or "skipped" in row, "a contender enters task.measured()"
    row |= {
        "seconds": task.seconds,
        "wall_seconds": task.wall_seconds,
        "start_seconds": task.start_seconds,
        "peak_megabytes": peak_megabytes(),
    }
    (path.parent / "row.json").write_text(json.dumps(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
