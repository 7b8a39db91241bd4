"""Raw files made by hand for the tests of reading."""

import gzip
import json
from pathlib import Path

from recipes.curation import Rules, Source
from tasks.sources.records import Record, read_unit
from tasks.sources.units import pin_files, plan_units


def source(location: object, format: str = "jsonl", **fields) -> Source:
    return Source(name="own", kind="books", format=format, location=str(location), licence="CC0", rules="plain", **fields)


def rules(**fields) -> Rules:
    return Rules(**{"min_characters": 0, "max_characters": 100_000} | fields)


def read(own: Source, target_bytes: int = 1 << 30, skipped=None, **rule) -> list[Record]:
    units = plan_units(own, pin_files(own), target_bytes)
    return [record for unit in units for record in read_unit(own, rules(**rule), unit, skipped)]


def brief(records: list[Record]) -> list[tuple[str, str | None]]:
    """Position and text of every record, or its fault in brackets."""
    return [(record.address.rpartition("#")[2], f"[{record.fault}]" if record.fault else record.text) for record in records]


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def page(body: bytes, url: str = "http://example.org/", kind: str = "text/html", status: str = "200 OK", headers: bytes = b"") -> bytes:
    """One WARC record that holds a web server's answer."""
    answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n".encode() + headers + b"\r\n" + body
    return warc_record("response", answer, "application/http; msgtype=response", url)


def warc_record(type: str, content: bytes, kind: str, url: str = "") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Target-URI: {url}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + b"\r\n\r\n"


def members(*records: bytes) -> bytes:
    return b"".join(gzip.compress(record, mtime=0) for record in records)
