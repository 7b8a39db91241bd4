"""Pieces of data by partition to one file that a reader takes a single partition out of: what a shuffle writes and reads.

Layout: magic, number of partitions, one table row (offset, stored bytes, hash) a partition, the table's own hash, then the pieces,
each compressed with zstd. A reader fetches the table and one piece, and believes neither before its hash agrees: a torn or
altered file is an error, never wrong data.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import xxhash
import zstandard

from tasks.artifacts.store import Store

MAGIC = b"slices 1"
_ROW = np.dtype([("offset", "<u8"), ("bytes", "<u8"), ("hash", "<u8")])


def write_slices(path: Path, partitions: int, pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write pieces, given in any order and at most one for a partition; equal pieces in equal order give equal bytes."""
    table = np.zeros(partitions, dtype=_ROW)
    compressor = zstandard.ZstdCompressor(level=1)
    with path.open("wb") as file:
        file.write(b"\x00" * _table_bytes(partitions))
        for partition, data in pieces:
            if not data:
                continue
            stored = compressor.compress(data)
            table[partition] = (file.tell(), len(stored), xxhash.xxh3_64_intdigest(stored))
            file.write(stored)
        head = MAGIC + partitions.to_bytes(8, "little") + table.tobytes()
        file.seek(0)
        file.write(head + xxhash.xxh3_64_digest(head))


def read_slice(store: Store, key: str, partitions: int, partition: int) -> bytes:
    """Return a partition's piece (empty if it has none); OSError if the file is torn or altered."""
    head = store.read_range(key, 0, _table_bytes(partitions))
    if head[:16] != MAGIC + partitions.to_bytes(8, "little") or xxhash.xxh3_64_digest(head[:-8]) != head[-8:]:
        raise OSError(f"{store.uri(key)} is torn or not a file of {partitions} slices: delete it and run again")
    row = np.frombuffer(head, dtype=_ROW, count=partitions, offset=16)[partition]
    if not row["bytes"]:
        return b""
    stored = store.read_range(key, int(row["offset"]), int(row["offset"] + row["bytes"]))
    if xxhash.xxh3_64_intdigest(stored) != int(row["hash"]):
        raise OSError(f"{store.uri(key)} holds other bytes for slice {partition} than its table says: delete it and run again")
    return zstandard.ZstdDecompressor().decompress(stored)


def _table_bytes(partitions: int) -> int:
    return 16 + _ROW.itemsize * partitions + 8


class Spool:
    """Collects pieces that are too much for memory: rows are added to any partition, and come out partition by partition."""

    def __init__(self, folder: Path, held_bytes: int = 64_000_000) -> None:
        self.folder, self.held_bytes = folder, held_bytes
        self.held: dict[int, list[bytes]] = {}
        self.size = 0
        self.spilled: set[int] = set()

    def add(self, partition: int, row: bytes) -> None:
        """Append a row to a partition's piece."""
        self.held.setdefault(partition, []).append(row)
        self.size += len(row)
        if self.size > self.held_bytes:
            self._spill()

    def _spill(self) -> None:
        for partition, rows in self.held.items():
            with (self.folder / f"spool-{partition}").open("ab") as file:
                file.writelines(rows)
        self.spilled |= self.held.keys()
        self.held, self.size = {}, 0

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield each partition's piece, one at a time in memory."""
        if self.spilled:
            self._spill()
        for partition in sorted(self.spilled | self.held.keys()):
            file = self.folder / f"spool-{partition}"
            if partition in self.spilled:
                yield partition, file.read_bytes()
                file.unlink()
            else:
                yield partition, b"".join(self.held[partition])
