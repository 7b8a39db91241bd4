"""WARC files to pages and texts, by FastWARC: each addressed by its record's offset in the file as it lies (`file.warc.gz#w1200`).

Records that are not answers of a web server with a page (requests, metadata, redirects, images) are counted as skipped. A broken
record is one unreadable record; reading goes on at the next place where a record begins.
"""

import io
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType

from recipes.errors import BadInput
from tasks.sources.files import BUFFER_BYTES, RawFile, Watched, open_raw
from tasks.sources.html import MAX_PAGE_BYTES, decode_page
from tasks.sources.record import TOO_LONG, Record, faulty
from tasks.sources.rows import page_record

SEARCH_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b\x08"
WARC_MAGIC = b"WARC/1."
RECORD_BORDER = b"\r\n\r\n" + WARC_MAGIC


def read_warc(file: RawFile, max_characters: int | None, skipped: Counter) -> Iterator[Record]:
    """Read the pages of a file in order; plain texts above `max_characters` and pages above 32 MB are too long."""
    start: int | None = 0
    with _open(file) as stream:
        while start is not None:
            last, found, is_read = start, None, False  # the present record: where it begins, what it gave, whether it was dealt with
            same, found_at = 0, -1  # records of a file that is compressed as one piece can share a position
            try:
                stream.seek(start)
                for record in _iterate(stream):
                    same = same + 1 if found_at == start + record.stream_pos else 0
                    last = found_at = start + record.stream_pos
                    is_read = False
                    found = _read(record, f"{file.address}#w{last}" + (f":{same}" if same else ""), max_characters, skipped)
                    is_read = True
                    if found is not None:
                        yield found
                        if found.fault == TOO_LONG:
                            record.consume()
                torn = _torn_end(stream, last)
                if torn is not None and (torn != last or found is None):  # a torn page is a fault already
                    yield faulty(f"{file.address}#w{torn}")
                return
            except OSError:
                stream.raw.check()
                if not is_read:
                    yield faulty(f"{file.address}#w{last}")
            start = _next_record(stream, last + 1)
            if start is None and is_read and not (found is not None and found.fault):  # no record follows: the rest is one fault
                torn = _torn_end(stream, last)
                yield faulty(f"{file.address}#w{last + 1 if torn in (None, last) else torn}")


def read_page_at(file: RawFile, position: str, max_characters: int | None) -> Record:
    """Return the record at a position (`1200`, or `1200:2` in a file compressed as one piece); BadInput if it is not there any more."""
    address = f"{file.address}#w{position}"
    offset = int(position.partition(":")[0])
    with _open(file) as stream:
        is_one_piece = ":" in position or (_is_gzip(stream) and not _is_gzip(stream, offset))
        stream.seek(offset)
        try:
            for record in _iterate(stream) if not is_one_piece else ():
                if (found := _read(record, address, max_characters, Counter())) is not None:
                    return found
                break
        except OSError:
            stream.raw.check()
    for found in read_warc(file, max_characters, Counter()) if is_one_piece else ():
        if found.address == address and not found.fault:
            return found
    raise BadInput(f"no page begins at byte {position} of {file.address} any more, or it is broken: the file was changed since it was read")


def _open(file: RawFile) -> io.BufferedReader:
    return io.BufferedReader(Watched(open_raw(file.path)), BUFFER_BYTES)


def _iterate(stream: io.BufferedIOBase) -> Iterator[Any]:
    return ArchiveIterator(stream, record_types=WarcRecordType.any_type, parse_http=False)


def _read(record: Any, address: str, max_characters: int | None, skipped: Counter) -> Record | None:
    """Turn a WARC record into a record, or into None with a count of what it is."""
    type = record.headers.get("WARC-Type")
    if not type or record.headers.get("Content-Length") is None:
        return faulty(address)  # what every record must say of itself: its header is broken or torn
    if record.record_type not in (WarcRecordType.response, WarcRecordType.conversion, WarcRecordType.resource):
        skipped[f"warc_{type}"] += 1
        return None
    url = record.headers.get("WARC-Target-URI") or ""
    whole = record.content_length
    kind = record.headers.get("Content-Type") or ""
    if record.record_type == WarcRecordType.response and not record.is_http:
        skipped["not_http"] += 1  # answers to DNS queries and the like
        return None
    if record.is_http:
        record.parse_http(auto_decode="all")
        if record.http_headers is None:
            return faulty(address)
        if record.http_headers.status_code != 200:
            skipped["http_status"] += 1
            return None
        kind = record.http_content_type or ""
    if "html" not in kind and "text/plain" not in kind:
        skipped["content_type"] += 1
        return None
    if whole > MAX_PAGE_BYTES:
        return Record(None, address, TOO_LONG, url)
    stored = record.content_length
    body = record.reader.read(MAX_PAGE_BYTES + 1)
    is_encoded = record.is_http and (record.http_headers.get("Content-Encoding") or record.http_headers.get("Transfer-Encoding"))
    if not is_encoded and len(body) < stored:  # the record says that it is longer: the file ends in it
        return Record(None, address, "unreadable", url)
    if "html" in kind or len(body) > MAX_PAGE_BYTES:
        return page_record(body, address, url)
    text = decode_page(body)
    if max_characters is not None and len(text) > max_characters:
        return Record(None, address, TOO_LONG, url)
    return Record(text, address, "", url)


def _next_record(stream: io.BufferedIOBase, start: int) -> int | None:
    """Return the first offset at or after `start` where a record seems to begin, None if there is none."""
    is_gzip = _is_gzip(stream)
    magic = GZIP_MAGIC if is_gzip else RECORD_BORDER
    position, tail = start, b""
    while True:
        stream.seek(position)
        piece = stream.read(SEARCH_BYTES)
        if not piece:
            return None
        window, begin = tail + piece, position - len(tail)
        at = window.find(magic)
        while at >= 0:
            if not is_gzip:
                return begin + at + 4
            if _is_member_of_record(stream, begin + at):
                return begin + at
            at = window.find(magic, at + 1)
        position, tail = position + len(piece), window[-len(magic) + 1 :]


def _is_gzip(stream: io.BufferedIOBase, offset: int = 0) -> bool:
    stream.seek(offset)
    return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _is_member_of_record(stream: io.BufferedIOBase, offset: int) -> bool:
    stream.seek(offset)
    try:
        return zlib.decompressobj(wbits=31).decompress(stream.read(4096), len(WARC_MAGIC)).startswith(WARC_MAGIC)
    except zlib.error:
        return False


def _torn_end(stream: io.BufferedIOBase, start: int) -> int | None:
    """Return where the torn record at a file's end begins, None if the file ends as it should.

    FastWARC takes a torn end for an end. `start` is the last record that it saw.
    """
    if not _is_gzip(stream):
        return _torn_plain_end(stream, start)
    stream.seek(start)
    data = stream.read(SEARCH_BYTES)
    if not data.startswith(GZIP_MAGIC):
        return None  # compressed as one piece, not record by record: only FastWARC knows where it is
    member, consumed = start, 0
    while data.lstrip(b"\0"):
        part = zlib.decompressobj(wbits=31)
        while data and not part.eof:
            try:
                part.decompress(data, SEARCH_BYTES)
            except zlib.error:
                return member
            consumed += len(data) - len(part.unconsumed_tail) - len(part.unused_data)
            data = part.unconsumed_tail or part.unused_data or stream.read(SEARCH_BYTES)
        if not part.eof:
            return member
        member = start + consumed
        data = part.unused_data or stream.read(SEARCH_BYTES)
    return None


def _torn_plain_end(stream: io.BufferedIOBase, start: int) -> int | None:
    """The same for a file that is not compressed: the last record's length must end at the file's end."""
    stream.seek(start)
    head = stream.read(SEARCH_BYTES).split(b"\r\n\r\n", 1)
    lengths = [line.partition(b":")[2] for line in head[0].lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not head[0]:
        return None
    if len(head) < 2 or not lengths or not lengths[0].strip().isdigit():
        return start
    end = start + len(head[0]) + 4 + int(lengths[0])
    size = stream.seek(0, io.SEEK_END)
    if size < end:
        return start
    stream.seek(end)
    return end + 4 if stream.read(SEARCH_BYTES).strip() else None
