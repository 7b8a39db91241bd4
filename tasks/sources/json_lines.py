"""JSON lines, plain or compressed, to records: each addressed by the offset of its line's first byte (`file#b1200`)."""

import io
from collections.abc import Iterator

import orjson

from recipes.errors import BadInput
from tasks.sources.compression import DamagedFile
from tasks.sources.files import RawFile, is_compressed, open_raw
from tasks.sources.record import TOO_LONG, Record, faulty
from tasks.sources.rows import ToRecord

SKIP_BYTES = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json_lines(file: RawFile, to_record: ToRecord, max_bytes: int, begin: int = 0, end: int | None = None) -> Iterator[Record]:
    """Read the records of the lines that begin in [begin, end), offsets in plain bytes.

    Blank lines are no records. A line above `max_bytes` is too long and never held in memory; where compressed bytes are torn,
    one unreadable record stands for all that is lost.
    """
    address = f"{file.address}#b"
    with open_raw(file.path) as stream:
        offset = _first_line(stream, begin)
        loads = orjson.loads
        try:
            while end is None or offset < end:
                start = offset
                line = stream.readline(max_bytes + 1)
                offset += len(line)
                if len(line) > max_bytes and line[-1] != 10:
                    offset += _skip_line(stream)
                    yield faulty(f"{address}{start}", TOO_LONG)
                    continue
                if not line:
                    return
                try:
                    row = loads(line)
                except orjson.JSONDecodeError:
                    if start == 0 and line.startswith(BYTE_ORDER_MARK):
                        row = _without_mark(line)
                    elif line.isspace():
                        continue
                    else:
                        row = None
                record = to_record(row, f"{address}{start}")
                if record is not None:
                    yield record
        except DamagedFile:
            yield faulty(f"{address}{offset}")


def _first_line(stream: io.BufferedIOBase, begin: int) -> int:
    """Move to the first line that begins at or after an offset; return where that is."""
    if begin == 0:
        return 0
    stream.seek(begin - 1)
    return begin - 1 + _skip_line(stream)


def _skip_line(stream: io.BufferedIOBase) -> int:
    """Read to a line's end in bounded memory; return the number of bytes."""
    skipped = 0
    while piece := stream.readline(SKIP_BYTES):
        skipped += len(piece)
        if piece[-1] == 10:
            break
    return skipped


def _without_mark(line: bytes) -> object:
    try:
        return orjson.loads(line.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return None


def read_line_at(file: RawFile, offset: int, max_bytes: int) -> bytes:
    """Return the line that begins at an offset in plain bytes; BadInput if no line begins there any more."""
    with open_raw(file.path) as stream:
        before = b"\n"
        try:
            if is_compressed(file.path):
                before = _advance(stream, offset) or before
            elif offset:
                stream.seek(offset - 1)
                before = stream.read(1)
            line = stream.readline(max_bytes)
        except DamagedFile:
            line = b""
    if before != b"\n" or not line.strip():
        raise BadInput(f"no line begins at byte {offset} of {file.address}: the file was changed since it was read, or is torn there")
    return line.removeprefix(BYTE_ORDER_MARK) if offset == 0 else line


def _advance(stream: io.BufferedIOBase, offset: int) -> bytes:
    """Read up to an offset in bounded memory; return the last byte before it."""
    last = b""
    while offset > 0 and (piece := stream.read(min(offset, SKIP_BYTES))):
        offset -= len(piece)
        last = piece[-1:]
    return last if offset == 0 else b"torn"
