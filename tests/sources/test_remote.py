"""Files that lie elsewhere are read as local ones are: here in fsspec's filesystem in memory."""

import gzip
import io

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from tasks.sources.records import read_at
from tests.sources.raw import lines, members, page, read, source


@pytest.fixture
def remote():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {n}" for n in range(5)]}), buffer, row_group_size=2)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "format", "count"),
    [
        ("a.jsonl", lines(*({"text": f"line {n}"} for n in range(5))), "jsonl", 5),
        ("a.jsonl.gz", gzip.compress(lines({"text": "one"}, {"text": "two"})), "jsonl", 2),
        ("a.parquet", parquet(), "parquet", 5),
        ("a.warc.gz", members(page(b"<p>one"), page(b"<p>two")), "warc", 2),
        ("a.txt", b"a text", "text", 1),
    ],
    ids=["jsonl", "jsonl.gz", "parquet", "warc.gz", "text"],
)
@pytest.mark.parametrize("target", [1, 1 << 30])
def test_records_are_read_and_read_again(remote, monkeypatch, name: str, data: bytes, format: str, count: int, target: int):
    remote.pipe_file(f"/raw/{name}", data)
    monkeypatch.setattr(remote, "info", lambda path, **_: {"size": len(data), "type": "file", "name": path, "ETag": '"an-etag"'})
    own = source("memory:///raw/*", format)
    records = read(own, target, html="all_text") if format == "warc" else read(own, target)
    assert len(records) == count and not any(record.fault for record in records)
    assert [read_at(own, record.address) for record in records] == records
