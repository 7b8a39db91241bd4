"""Texts, and the strings of Python files."""

import gzip
from pathlib import Path

import pytest

from tasks.sources.record import Record
from tasks.sources.records import read_at, split_long
from tests.sources.raw import brief, read, rules, source, write


def test_a_text_is_utf8_or_latin1_and_its_lines_end_alike(tmp_path: Path):
    write(tmp_path / "a.txt", "\ufeffGrüße\r\nund <s>".encode())
    write(tmp_path / "b.txt", "Grüße".encode("latin-1"))
    write(tmp_path / "c.txt.gz", gzip.compress(b"packed"))
    write(tmp_path / "d.txt", b"")
    own = source(tmp_path / "*.txt*", "text")
    records = read(own)
    assert [(record.address.rpartition("/")[2], record.text) for record in records] == [
        ("a.txt#0", "Grüße\nund <s>"), ("b.txt#0", "Grüße"), ("c.txt.gz#0", "packed"),
    ]  # fmt: skip
    assert [read_at(own, record.address) for record in records] == records


def test_a_long_text_is_too_long_and_a_torn_one_unreadable(tmp_path: Path):
    write(tmp_path / "a.txt", b"x" * 101)
    write(tmp_path / "b.txt", b"x" * 65_537)
    write(tmp_path / "c.txt.gz", gzip.compress(b"packed")[:-3])
    assert [record.fault for record in read(source(tmp_path / "*", "text"), max_characters=100)] == ["too_long", "too_long", "unreadable"]


def test_a_long_text_of_a_source_that_cuts_is_read_whole(tmp_path: Path):
    own = source(write(tmp_path / "a.txt", b"word\n" * 20_000), "text", split_above_characters=1000)
    (record,) = read(own, max_characters=100)
    assert len(record.text) == 100_000
    parts = list(split_long(record, 1000))
    assert "".join(part.text for part in parts) == record.text and len(parts) == 100
    assert read_at(own, parts[7].address, rules()) == parts[7]


def test_a_cut_record_keeps_its_url_and_licences():
    whole = Record("aaaa\nbbbb", "f#0", "", "http://a", "py", ("MIT",))
    assert [(part.text, part.address, part.url, part.licences) for part in split_long(whole, 6)] == [
        ("aaaa\n", "f#0+0", "http://a", ("MIT",)),
        ("bbbb", "f#0+5", "http://a", ("MIT",)),
    ]


def test_strings_of_python_files_are_addressed_by_line_and_column(tmp_path: Path):
    own = source(
        write(tmp_path / "a.py", b"SHORT = 'x'\nLONG = '" + b"y" * 200 + b"'\nODD = '\\ud800" + b"z" * 200 + b"'\n"), "python_strings"
    )
    records = read(own)
    assert brief(records) == [("2:7", "y" * 200), ("3:6", "[unreadable]")]
    assert read_at(own, records[0].address) == records[0]


def test_docstrings_are_addressed_by_line_and_column(tmp_path: Path):
    own = source(write(tmp_path / "a.py", b'"""Module."""\ndef f():\n    """Function."""\n'), "python_docstrings")
    assert brief(read(own)) == [("1:0", "Module."), ("3:4", "Function.")]


@pytest.mark.parametrize("code", [b"def f(:", b"x = " + b"(" * 5000, b"\0\0", b"\xff\xfe\xfa"])
def test_a_python_file_that_cannot_be_parsed_is_one_unreadable_record(tmp_path: Path, code: bytes):
    assert brief(read(source(write(tmp_path / "a.py", code), "python_strings"))) == [("0", "[unreadable]")]


def test_the_standard_library_is_read_again_from_its_address():
    own = source("stdlib:pydoc_data/topics.py", "python_strings")
    record = read(own)[3]
    assert record.address.startswith("stdlib:pydoc_data/topics.py#") and read_at(own, record.address) == record
