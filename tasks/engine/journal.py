"""Training metrics to an append-only journal in the artifact store: the record that trackers and reports are filled from.

Rank 0 writes segments (`journal/<attempt>-<number>.jsonl`), whole or not at all: the newest one is written again with more rows about
once a second, and a new one begun every minute, so that weeks of training leave thousands of objects and not a million. After a
restart, rows of a later attempt stand in for those of an earlier one at the same step, so that the series counts every step once.
"""

import time
from typing import Any

import orjson

from tasks.artifacts.store import Store

Row = dict[str, Any]
FLUSH_SECONDS, SEGMENT_SECONDS = 1.0, 60.0


class JournalWriter:
    """Append rows; they become visible in segments about once a second."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}/journal"
        self.attempt = f"{time.time_ns():020d}"
        self.segment, self.written = 0, b""
        self.rows: list[Row] = []  # not visible yet
        self.begun = self.flushed = time.monotonic()

    def append(self, row: Row) -> None:
        """Add one row; it must have `step` and `time`."""
        self.rows.append(row)
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make all rows visible; after an error nothing has changed, and it may be called again."""
        now = time.monotonic()
        if self.rows:
            data = self.written + b"".join(orjson.dumps(row) + b"\n" for row in self.rows)
            self.store.write(f"{self.folder}/{self.attempt}-{self.segment:06d}.jsonl", data)
            self.written, self.rows = data, []
            if now - self.begun >= SEGMENT_SECONDS:
                self.segment, self.written, self.begun = self.segment + 1, b"", now
        self.flushed = now


class JournalReader:
    """Follow a journal that is being written."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}/journal"
        self.seen: dict[str, int] = {}  # rows of a segment that were returned
        self.whole: set[str] = set()  # segments that have all their rows: a later one of the same attempt was begun

    def new_rows(self) -> list[Row]:
        """Return the rows that appeared since the last call, in order of writing; after an error, the next call returns them."""
        rows: list[Row] = []
        seen, keys = dict(self.seen), self.store.list(self.folder)
        for key in keys:
            if key not in self.whole:
                lines = self.store.read(key).splitlines()
                rows += [orjson.loads(line) for line in lines[seen.get(key, 0) :]]
                seen[key] = len(lines)
        self.seen = seen
        attempts = [key.rpartition("-")[0] for key in keys]
        self.whole |= {key for key, own, after in zip(keys, attempts, attempts[1:], strict=False) if own == after}
        return rows


def merged_rows(store: Store, folder: str) -> list[Row]:
    """Return one row a step, in order of steps; a later attempt replaces an earlier one."""
    by_step = {int(row["step"]): row for row in JournalReader(store, folder).new_rows()}
    return [by_step[step] for step in sorted(by_step)]


def steps_taken_again(store: Store, folder: str) -> int:
    """Count the steps that were taken once more after a restart; only the last time led to the weights."""
    taken = [int(row["step"]) for row in JournalReader(store, folder).new_rows() if "skipped" not in row]
    return len(taken) - len(set(taken))
