"""Files that are one document, and Python files whose strings are documents, to records."""

import ast
from collections.abc import Iterator

from tasks.sources.compression import DamagedFile
from tasks.sources.files import RawFile, open_raw
from tasks.sources.record import TOO_LONG, UNREADABLE, Record, faulty

MIN_STRING_CHARACTERS = 200
MAX_PYTHON_BYTES = 64_000_000


def read_text(file: RawFile, max_bytes: int, max_characters: int | None) -> Iterator[Record]:
    """Read a file as one text, UTF-8 or else Latin-1 (collections of public-domain books are one of them). An empty file is none."""
    address = f"{file.address}#0"
    data, fault = _read(file, max_bytes)
    if fault or not data:
        yield from [faulty(address, fault)] if fault else []
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if max_characters is not None and len(text) > max_characters:
        yield faulty(address, TOO_LONG)
    else:
        yield Record(text.replace("\r\n", "\n"), address)


def read_python_strings(file: RawFile, max_characters: int | None) -> Iterator[Record]:
    """Read long string literals of a Python file, which is how some packages carry their texts (`file#line:column`)."""
    tree, fault = _parse(file)
    if tree is None:
        yield from [faulty(f"{file.address}#0", fault)] if fault else []
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) >= MIN_STRING_CHARACTERS:
            yield _string(node.value, f"{file.address}#{node.lineno}:{node.col_offset}", max_characters)


def read_python_docstrings(file: RawFile, max_characters: int | None) -> Iterator[Record]:
    """Read the docstrings of a Python file's module, classes and functions (`file#line:column` of the string)."""
    tree, fault = _parse(file)
    if tree is None:
        yield from [faulty(f"{file.address}#0", fault)] if fault else []
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            place = node.body[0]
            yield _string(text, f"{file.address}#{place.lineno}:{place.col_offset}", max_characters)


def _string(text: str, address: str, max_characters: int | None) -> Record:
    if max_characters is not None and len(text) > max_characters:
        return faulty(address, TOO_LONG)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate, "\ud800", is no character
        return faulty(address)
    return Record(text, address)


def _parse(file: RawFile) -> tuple[ast.Module | None, str]:
    data, fault = _read(file, MAX_PYTHON_BYTES)
    if fault or not data:
        return None, fault
    try:
        return ast.parse(data), ""
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # MemoryError is the parser's word for nested too deeply
        return None, UNREADABLE


def _read(file: RawFile, max_bytes: int) -> tuple[bytes, str]:
    """Return a file's bytes, or none and the fault."""
    with open_raw(file.path) as stream:
        try:
            data = stream.read(max_bytes + 1)
        except DamagedFile:
            return b"", UNREADABLE
    return (b"", TOO_LONG) if len(data) > max_bytes else (data, "")
