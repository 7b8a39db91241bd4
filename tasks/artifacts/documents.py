"""Curated documents to shards and back: zstd-compressed JSON lines, `documents/<source>/<number>.jsonl.zst`.

A document has `id` (the first 32 hex digits of the sha256 of its text), `text`, `raw` (the address it was read from) and
`quality`. Within a source documents are ordered by id, so that adding or reordering raw files moves nothing else.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson
import zstandard

from tasks.artifacts.manifest import JSON

SHARD_BYTES = 64_000_000


def document_id(text: str) -> str:
    """Return a document's id: it follows from the text alone."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def last_documents(run: str) -> str:
    """Return the store's key under which a run says which documents artifact it used last, made anew or found."""
    return f"last/{run}/documents"


def write_lines(path: Path, rows: Iterable[JSON]) -> None:
    """Write rows as one zstd-compressed JSON-lines file; equal rows give equal bytes."""
    with path.open("wb") as file, zstandard.ZstdCompressor(level=3).stream_writer(file) as stream:
        for row in rows:
            stream.write(orjson.dumps(row) + b"\n")


def read_lines(path: Path) -> Iterator[JSON]:
    """Read rows of a zstd-compressed JSON-lines file."""
    with path.open("rb") as file, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)) as stream:
        for line in stream:
            yield orjson.loads(line)


def write_shards(rows: Iterable[JSON], scratch: Path, prefix: str, add: Callable[[Path, str], None]) -> None:
    """Write rows into shards of about SHARD_BYTES of text and hand each one on as it is finished."""
    shard: list[JSON] = []
    size = number = 0

    def finish() -> None:
        nonlocal number, size
        path = scratch / "shard.jsonl.zst"
        write_lines(path, shard)
        add(path, f"{prefix}/{number:05d}.jsonl.zst")
        number, size = number + 1, 0
        shard.clear()

    for row in rows:
        shard.append(row)
        size += len(row.get("text", ""))
        if size >= SHARD_BYTES:
            finish()
    if shard or number == 0:
        finish()
