"""A raw file to records: what a source holds, one text at a time.

A record keeps the address it was read from (`file#position`), so that every document of a model leads back to its raw bytes.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from recipes.errors import BadInput
from tasks.sources.files import RawFile, open_raw

MIN_LITERAL_CHARACTERS = 200


@dataclass(frozen=True)
class Record:
    """A raw record: its text, and where it was read. `text` is None for a record that could not be read."""

    text: str | None
    address: str


def read_records(format: str, file: RawFile, text_field: str = "text") -> Iterator[Record]:
    """Read the records of a file of a format in order; records that cannot be read come as `text=None`, for the caller to count."""
    reader = {"text": _read_text, "jsonl": _read_jsonl, "parquet": _read_parquet, "warc": _read_warc, "python_strings": _read_literals}[
        format
    ]
    yield from reader(file, text_field)


def _read_text(file: RawFile, _: str) -> Iterator[Record]:
    with open_raw(file.path) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # the public-domain collections of the quickstart are Latin-1 or UTF-8
    yield Record(text.replace("\r\n", "\n"), f"{file.address}#0")


def _read_jsonl(file: RawFile, text_field: str) -> Iterator[Record]:
    with open_raw(file.path) as stream:
        for number, line in enumerate(stream):
            if line.strip():
                address = f"{file.address}#{number + 1}"
                try:
                    text = orjson.loads(line)[text_field]
                except (orjson.JSONDecodeError, KeyError, TypeError):
                    text = None
                yield Record(text if isinstance(text, str) else None, address)


def _read_parquet(file: RawFile, text_field: str) -> Iterator[Record]:
    import pyarrow.parquet

    with open_raw(file.path) as stream:
        table = pyarrow.parquet.ParquetFile(stream)
        if text_field not in table.schema_arrow.names:
            raise BadInput(f"{file.path} has no column {text_field!r}: set text_field to one of {', '.join(table.schema_arrow.names)}")
        number = 0
        for batch in table.iter_batches(batch_size=1024, columns=[text_field]):
            for text in batch.column(0).to_pylist():
                yield Record(text if isinstance(text, str) else None, f"{file.address}#{number}")
                number += 1


def _read_warc(file: RawFile, _: str) -> Iterator[Record]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    with open_raw(file.path) as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, parse_http=True):
            body = record.reader.read()
            kind = record.http_content_type or ""
            if "html" in kind or "plain" in kind:
                text = bytes_to_str(body, detect_encoding(body))
                yield Record(extract_plain_text(text, main_content=True) if "html" in kind else text, f"{file.address}#{record.stream_pos}")


def _read_literals(file: RawFile, _: str) -> Iterator[Record]:
    """Read long string literals of a Python file: how some packages carry their texts."""
    with open_raw(file.path) as stream:
        tree = ast.parse(stream.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= MIN_LITERAL_CHARACTERS:
            yield Record(node.value, f"{file.address}#{node.lineno}:{node.col_offset}")


def split_long(record: Record, limit: int | None) -> Iterator[Record]:
    """Cut a record above `limit` characters at paragraph or line borders into parts of about that size; nothing is lost."""
    text = record.text
    if text is None or limit is None or len(text) <= limit:
        yield record
        return
    start = 0
    while start < len(text):
        end = len(text)
        if end - start > limit:
            end = max(text.rfind("\n\n", start + limit // 2, start + limit), text.rfind("\n", start + limit // 2, start + limit))
            end = end + 1 if end > 0 else start + limit
        yield Record(text[start:end], f"{record.address}+{start}")
        start = end
