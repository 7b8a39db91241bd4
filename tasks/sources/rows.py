"""A row of JSON or Parquet to a record: which fields are the text, and which rows belong to the source at all."""

import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from recipes.curation import Fields, Rules, Source
from recipes.errors import BadInput
from tasks.sources.html import BYTE_ORDER_MARK, MAX_PAGE_BYTES, is_nested_too_deeply
from tasks.sources.record import TOO_LONG, Record, faulty

Row = dict[str, Any]
ToRecord = Callable[[Any, str], Record | None]


def template_parts(template: str, wanted_by: str) -> list[tuple[str, str | None]]:
    """Split a template into pairs of literal text and the field that follows it; BadInput if its braces do not pair."""
    try:
        parts = [(literal, field) for literal, field, _, _ in string.Formatter().parse(template)]
    except ValueError as error:
        raise BadInput(
            f"{wanted_by}: fields.template {template!r} cannot be read ({error}): write {{field}}, and {{{{ for a brace"
        ) from None
    if not any(field for _, field in parts):
        raise BadInput(f"{wanted_by}: fields.template {template!r} names no field: write it as {{question}}\\n\\n{{answer}}")
    return parts


def text_fields(fields: Fields, wanted_by: str) -> list[str]:
    """Return the fields that a document's text is made from."""
    if fields.template is None:
        return [fields.text]
    return [field for _, field in template_parts(fields.template, wanted_by) if field]


def wanted_fields(source: Source) -> list[str]:
    """Return every field that is read of a row, each once: text, addresses, licences, and those that `where` looks at."""
    fields = source.fields
    optional = [field for field in (fields.url, fields.licence, fields.path) if field]
    return list(dict.fromkeys([*text_fields(fields, f"source {source.name!r}"), *optional, *(source.where or {})]))


def lookup(field: str) -> Callable[[Row], Any]:
    """Return the function that takes a field from a row, None where it is not there. A dot leads into a field of a field."""
    if "." not in field:
        return lambda row: row.get(field)
    steps = field.split(".")

    def find(row: Row) -> Any:
        if field in row:
            return row[field]
        value: Any = row
        for step in steps:
            if not isinstance(value, dict):
                return None
            value = value.get(step)
        return value

    return find


def row_mapping(source: Source, rules: Rules, skipped: Counter) -> ToRecord:
    """Return the function that turns a row and its address into a record, or into None (counted as `where`) if `where` excludes it.

    A row without text is unreadable; a text above the rules' `max_characters` is too long, unless the source cuts long ones.
    """
    text_of = _text_reader(source.fields, f"source {source.name!r}")
    conditions = [(lookup(field), frozenset(values)) for field, values in (source.where or {}).items()]
    url, path, licence = (lookup(field) if field else None for field in (source.fields.url, source.fields.path, source.fields.licence))
    has_more = url is not None or path is not None or licence is not None
    longest = rules.max_characters if source.split_above_characters is None else float("inf")
    is_html = rules.html is not None
    if not (conditions or has_more or is_html or source.fields.template or "." in source.fields.text):
        return _plain_mapping(source.fields.text, longest)

    def to_record(row: Any, address: str) -> Record | None:
        if not isinstance(row, dict):
            return faulty(address)
        for condition, values in conditions:
            if not _matches(condition(row), values):
                skipped["where"] += 1
                return None
        text = text_of(row)
        if not isinstance(text, str):
            return faulty(address)
        more = (_string(url, row), _string(path, row), _strings(licence, row)) if has_more else ("", "", ())
        if is_html:
            return _page(text, address, more)
        if len(text) > longest:
            return Record(None, address, TOO_LONG, *more)
        return Record(text, address, "", *more)

    return to_record


def _plain_mapping(field: str, longest: float) -> ToRecord:
    """The same for rows of which nothing but a text is wanted: the most common ones, in half the time."""

    def to_record(row: Any, address: str) -> Record:
        text = row.get(field) if isinstance(row, dict) else None
        if not isinstance(text, str):
            return faulty(address)
        return Record(text, address) if len(text) <= longest else Record(None, address, TOO_LONG)

    return to_record


def _text_reader(fields: Fields, wanted_by: str) -> Callable[[Row], Any]:
    if fields.template is None:
        return lookup(fields.text)
    parts = [(literal, lookup(field) if field else None) for literal, field in template_parts(fields.template, wanted_by)]

    def write(row: Row) -> str | None:
        pieces: list[str] = []
        for literal, find in parts:
            pieces.append(literal)
            value = find(row) if find else ""
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                return None  # half a text is no text
            pieces.append(str(value))
        return "".join(pieces)

    return write


def _page(text: str, address: str, more: tuple[str, str, tuple[str, ...]]) -> Record:
    page = BYTE_ORDER_MARK + text.encode("utf-8", errors="replace")  # the mark tells the extraction that nothing is to be guessed
    return page_record(page, address, *more)


def page_record(page: bytes, address: str, url: str = "", path: str = "", licences: tuple[str, ...] = ()) -> Record:
    """Return the record of a page whose text is still to be extracted; one too large or nested too deeply is a fault."""
    if len(page) > MAX_PAGE_BYTES:
        return Record(None, address, TOO_LONG, url, path, licences)
    if is_nested_too_deeply(page):
        return Record(None, address, "unreadable", url, path, licences)
    return Record(None, address, "", url, path, licences, page)


def _matches(value: Any, values: frozenset[str]) -> bool:
    if isinstance(value, list):
        return any(_matches(one, values) for one in value)
    return value is not None and (value if isinstance(value, str) else str(value)) in values


def _string(find: Callable[[Row], Any] | None, row: Row) -> str:
    value = find(row) if find else None
    return value if isinstance(value, str) else "" if value is None else str(value)


def _strings(find: Callable[[Row], Any] | None, row: Row) -> tuple[str, ...]:
    value = find(row) if find else None
    if value is None:
        return ()
    return tuple(str(one) for one in value if one is not None) if isinstance(value, list | tuple) else (str(value),)
