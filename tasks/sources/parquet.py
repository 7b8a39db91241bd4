"""Parquet files to records, row group by row group: each addressed by its row number in the file (`file#r1200`)."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pyarrow
import pyarrow.parquet

from recipes.errors import BadInput
from tasks.sources.files import BUFFER_BYTES, RawFile, Watched, open_raw
from tasks.sources.record import Record, faulty
from tasks.sources.rows import Row, ToRecord

BATCH_BYTES = 4_000_000  # of rows held at once; a single larger row is held whole
DAMAGE = (pyarrow.ArrowException, OSError)


class _Opened:
    """A Parquet file, and the stream below it that says whether a failure is damage or a lost connection."""

    def __init__(self, file: RawFile) -> None:
        self.stream = Watched(open_raw(file.path))
        self.table: Any = None
        try:
            self.table = pyarrow.parquet.ParquetFile(io.BufferedReader(self.stream, BUFFER_BYTES))
        except DAMAGE:
            self.stream.check()

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def row_group_rows(file: RawFile) -> list[int] | None:
    """Return the number of rows of each row group, None for a file that cannot be read as Parquet."""
    with _Opened(file) as opened:
        if opened.table is None:
            return None
        metadata = opened.table.metadata
        return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def read_parquet(
    file: RawFile, fields: list[str], needed: list[str], to_record: ToRecord, begin: int = 0, end: int | None = None
) -> Iterator[Record]:
    """Read the records of row groups [begin, end), only the columns of `fields`; BadInput if a column of `needed` is not there.

    A file without a readable footer is one unreadable record, and so is what follows a damaged page to the end of its row group.
    """
    with _Opened(file) as opened:
        if opened.table is None:
            yield faulty(f"{file.address}#r0")
            return
        columns = _columns(opened.table, fields, needed, file.address)
        metadata = opened.table.metadata
        row = sum(metadata.row_group(number).num_rows for number in range(begin))
        for number in range(begin, metadata.num_row_groups if end is None else end):
            read = 0
            try:
                for values in _rows(opened.table, number, columns):
                    record = to_record(values, f"{file.address}#r{row + read}")
                    read += 1
                    if record is not None:
                        yield record
            except DAMAGE:
                opened.stream.check()
                yield faulty(f"{file.address}#r{row + read}")
            row += metadata.row_group(number).num_rows


def read_row_at(file: RawFile, fields: list[str], needed: list[str], number: int) -> Row:
    """Return the fields of one row; BadInput if the file has no such row any more."""
    with _Opened(file) as opened:
        if opened.table is not None:
            columns = _columns(opened.table, fields, needed, file.address)
            first = 0
            with contextlib.suppress(*DAMAGE):
                for group in range(opened.table.metadata.num_row_groups):
                    rows = opened.table.metadata.row_group(group).num_rows
                    if number < first + rows:
                        return next(values for at, values in enumerate(_rows(opened.table, group, columns), first) if at == number)
                    first += rows
            opened.stream.check()
    raise BadInput(f"row {number} of {file.address} is not there any more, or is damaged: the file was changed since it was read")


def _columns(table: Any, fields: list[str], needed: list[str], address: str) -> list[str]:
    """Return the columns to read for fields, of which a dot may lead into a struct."""
    top = set(table.schema_arrow.names)
    leaves = {table.schema.column(number).path for number in range(len(table.schema))}

    def is_there(field: str) -> bool:
        return field in top or field in leaves or any(leaf.startswith(field + ".") for leaf in leaves)

    if missing := [field for field in needed if not is_there(field)]:
        raise BadInput(f"{address} has no column {missing[0]!r}: set the source's fields to some of {', '.join(sorted(top | leaves))}")
    return [field for field in fields if is_there(field)]


def _rows(table: Any, group: int, columns: list[str]) -> Iterator[Row]:
    """Yield the rows of a row group as dictionaries, a bounded number of bytes at a time."""
    metadata = table.metadata.row_group(group)
    row_bytes = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    batch_rows = min(1024, max(1, BATCH_BYTES // row_bytes))
    for batch in table.iter_batches(batch_size=batch_rows, row_groups=[group], columns=columns, use_threads=False):
        names = batch.schema.names
        for values in zip(*(_values(column) for column in batch.columns), strict=True):
            yield dict(zip(names, values, strict=True))


def _values(column: Any) -> list[Any]:
    """Return a column's values; bytes that are not UTF-8 in a column of strings become None, which no text is."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        values = []
        for scalar in column:
            try:
                values.append(scalar.as_py())
            except UnicodeDecodeError:
                values.append(None)
        return values
