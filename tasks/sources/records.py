"""A unit of raw data to records: what a source holds, one text or page at a time, in bounded memory."""

import re
from collections import Counter
from collections.abc import Iterator

from recipes.curation import Rules, Source
from recipes.errors import BadInput
from tasks.sources.files import locate
from tasks.sources.html import extract_text
from tasks.sources.record import Record
from tasks.sources.rows import row_mapping, text_fields, wanted_fields
from tasks.sources.units import PinnedFile, Unit

__all__ = ["Record", "max_record_bytes", "read_at", "read_unit", "split_long"]

MIN_LINE_BYTES = 65_536  # a row's other fields and JSON's escapes never make a short text too long
MAX_WHOLE_BYTES = 64_000_000  # the longest text that is held in memory to be cut into documents
POSITIONS = {"jsonl": r"b\d+", "parquet": r"r\d+", "warc": r"w\d+(:\d+)?", "dataset": r"\d+:\d+"}
WITHOUT_RULES = Rules(min_characters=0, max_characters=MAX_WHOLE_BYTES)


def max_record_bytes(source: Source, rules: Rules) -> int:
    """Return the longest line or text file that is read: 4 bytes for each of `max_characters`; 64 MB where long texts are cut."""
    if source.split_above_characters is not None:
        return MAX_WHOLE_BYTES
    return max(4 * rules.max_characters, MIN_LINE_BYTES)


def read_unit(source: Source, rules: Rules, unit: Unit, skipped: Counter | None = None) -> Iterator[Record]:
    """Read the records of a unit in order; those that cannot be used come with a fault. Rows that `where` excludes, and parts of
    a WARC file that are no pages, are no records: `skipped` counts them by reason.

    Long texts are not cut here: `split_long` does. BadInput if a column that the source names is missing altogether.
    """
    skipped = Counter() if skipped is None else skipped
    for file in unit.files:
        yield from _read_file(source, rules, unit, file, skipped)


def _read_file(source: Source, rules: Rules, unit: Unit, file: PinnedFile, skipped: Counter) -> Iterator[Record]:
    max_bytes = max_record_bytes(source, rules)
    max_characters = rules.max_characters if source.split_above_characters is None else None
    begin = unit.begin or 0
    if source.format == "jsonl":
        from tasks.sources.json_lines import read_json_lines

        yield from read_json_lines(file.raw, row_mapping(source, rules, skipped), max_bytes, begin, unit.end)
    elif source.format == "parquet":
        from tasks.sources.parquet import read_parquet

        to_record = row_mapping(source, rules, skipped)
        yield from read_parquet(file.raw, wanted_fields(source), _needed(source), to_record, begin, unit.end)
    elif source.format == "dataset":
        from tasks.sources.hub_datasets import count_shards, read_shard

        to_record = row_mapping(source, rules, skipped)
        for shard in range(begin, count_shards(source) if unit.end is None else unit.end):
            yield from read_shard(source, file.address, wanted_fields(source), _needed(source), to_record, shard)
    elif source.format == "warc":
        from tasks.sources.warc import read_warc

        yield from read_warc(file.raw, max_characters, skipped)
    else:
        yield from _read_whole(source, file, max_bytes, max_characters)


def _read_whole(source: Source, file: PinnedFile, max_bytes: int, max_characters: int | None) -> Iterator[Record]:
    from tasks.sources import whole_files

    if source.format == "text":
        yield from whole_files.read_text(file.raw, max_bytes, max_characters)
    elif source.format == "python_strings":
        yield from whole_files.read_python_strings(file.raw, max_characters)
    elif source.format == "python_docstrings":
        yield from whole_files.read_python_docstrings(file.raw, max_characters)
    else:
        raise BadInput(f"source {source.name!r} of format {source.format} is made from other sources: it has no files to read")


def _needed(source: Source) -> list[str]:
    """Return the columns without which nothing can be read: the text's, and those that `where` asks for."""
    return [*text_fields(source.fields, f"source {source.name!r}"), *(source.where or {})]


def read_at(source: Source, address: str, rules: Rules | None = None) -> Record:
    """Read one record again from its address; BadInput if it is not there any more.

    With the source's rules, a page comes as its text and a part of a text that was cut (`address+offset`) as that part; without
    them, a page comes as its bytes and a part as the whole.
    """
    base, position, part = _split_address(source, address)
    try:
        record = _read_position(source, base, position, address, rules or WITHOUT_RULES)
    except FileNotFoundError:
        raise BadInput(f"{base} is not there any more: the record {address} can only be read from its source") from None
    if rules is None or record.fault:
        return record
    if record.html is not None:
        text = extract_text(record.html, rules.html or "all_text")
        record = Record(text, record.address, "", record.url, record.path, record.licences)
    if part is None:
        return record
    for piece in split_long(record, source.split_above_characters):
        if piece.address == address:
            return piece
    raise BadInput(f"{base} holds no part at {address} any more: the text was changed since it was read, or is cut elsewhere")


def _split_address(source: Source, address: str) -> tuple[str, str, int | None]:
    base, mark, position = address.rpartition("#")
    position, plus, part = position.partition("+")
    if not mark or not position or (plus and not part.isdigit()):
        raise BadInput(f"{address!r} is no address of a record of source {source.name!r}: such an address is a file, `#` and a position")
    return base, position, int(part) if plus else None


def _read_position(source: Source, base: str, position: str, address: str, rules: Rules) -> Record:
    if source.format in POSITIONS:
        if not re.fullmatch(POSITIONS[source.format], position):
            raise BadInput(f"{address!r} is no address of a record of source {source.name!r}, which is read as {source.format}")
        if source.format != "dataset":
            return _read_numbered(source, base, position[1:], f"{base}#{position}", rules)
        from tasks.sources.hub_datasets import read_dataset_row

        shard, _, row = position.partition(":")
        values = read_dataset_row(source, wanted_fields(source), _needed(source), int(shard), int(row))
        return _mapped(source, rules, values, f"{base}#{position}")
    file = locate(base, f"source {source.name!r}")
    pinned = PinnedFile(file.path, file.address, 0, "")
    for record in _read_whole(source, pinned, MAX_WHOLE_BYTES, None):
        if record.address == f"{base}#{position}":
            return record
    raise BadInput(f"{base} holds no record at {address} any more: the file was changed since it was read")


def _read_numbered(source: Source, base: str, number: str, address: str, rules: Rules) -> Record:
    file = locate(base, f"source {source.name!r}")
    if source.format == "warc":
        from tasks.sources.warc import read_page_at

        return read_page_at(file, number, None)
    if source.format == "parquet":
        from tasks.sources.parquet import read_row_at

        return _mapped(source, rules, read_row_at(file, wanted_fields(source), _needed(source), int(number)), address)
    import orjson

    from tasks.sources.json_lines import read_line_at

    try:
        row = orjson.loads(read_line_at(file, int(number), max_record_bytes(source, rules)))
    except orjson.JSONDecodeError:
        row = None
    return _mapped(source, rules, row, address)


def _mapped(source: Source, rules: Rules, row: object, address: str) -> Record:
    record = row_mapping(source, rules, Counter())(row, address)
    if record is None:
        raise BadInput(f"the row at {address} is none of source {source.name!r}: its `where` excludes it")
    return record


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
        yield Record(text[start:end], f"{record.address}+{start}", "", record.url, record.path, record.licences)
        start = end
