"""Finished pieces of work to a file of JSON lines, and back: a killed run continues with what is missing.

A row is written whole and flushed to the disk before anything counts on it. What a kill left of a last row is cut off when the file is opened.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

import orjson

from recipes.errors import BadInput

JSON = dict[str, Any]


class Ledger:
    """The rows of a file by their `key`; use it as a context manager. BadInput if another run has it open, or a row is not one of ours."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, dict[str, JSON]()

    def __enter__(self) -> "Ledger":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("a+b")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.file.close()
            raise BadInput(f"another run writes {self.path}: let it end, or give another --out") from None
        self.file.seek(0)
        data = self.file.read()
        whole = data.rfind(b"\n") + 1
        self.file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                row = orjson.loads(line)
                self.rows[row["key"]] = row
            except (orjson.JSONDecodeError, KeyError, TypeError):
                self.file.close()
                raise BadInput(f"{self.path} line {number} is no row of a run: remove it, or give another --out") from None
        return self

    def add(self, row: JSON) -> None:
        """Write a finished row."""
        self.file.write(orjson.dumps(row) + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.rows[row["key"]] = row

    def __exit__(self, *_: object) -> None:
        self.file.close()
