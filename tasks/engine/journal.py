"""Training metrics to an append-only journal in the artifact store: the record that trackers and reports are filled from.

Rank 0 writes segments (`journal/<attempt>-<number>.jsonl`), whole or not at all. After a restart, rows of a later attempt stand
in for those of an earlier one at the same step, so that the series counts every step once.
"""

import time

import orjson

from tasks.artifacts.store import Store

Row = dict[str, float]
FLUSH_SECONDS = 1.0


class JournalWriter:
    """Append rows; they become visible in segments about once a second."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}/journal"
        self.attempt = f"{time.time_ns():020d}"
        self.segment, self.rows, self.flushed = 0, [], time.monotonic()

    def append(self, row: Row) -> None:
        """Add one row; it must have `step` and `time`."""
        self.rows.append(row)
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Make all rows visible."""
        if self.rows:
            data = b"".join(orjson.dumps(row) + b"\n" for row in self.rows)
            self.store.write(f"{self.folder}/{self.attempt}-{self.segment:06d}.jsonl", data)
            self.segment += 1
            self.rows = []
        self.flushed = time.monotonic()


class JournalReader:
    """Follow a journal that is being written."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, f"{folder}/journal"
        self.seen: set[str] = set()

    def new_rows(self) -> list[Row]:
        """Return the rows of segments that appeared since the last call, in order of writing."""
        rows: list[Row] = []
        for key in self.store.list(self.folder):
            if key not in self.seen:
                self.seen.add(key)
                rows += [orjson.loads(line) for line in self.store.read(key).splitlines()]
        return rows


def merged_rows(store: Store, folder: str) -> list[Row]:
    """Return one row a step, in order of steps; a later attempt replaces an earlier one."""
    by_step = {int(row["step"]): row for row in JournalReader(store, folder).new_rows()}
    return [by_step[step] for step in sorted(by_step)]
