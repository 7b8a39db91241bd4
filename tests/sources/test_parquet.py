"""Parquet: row numbers as addresses, needed columns only, damage counted, missing columns refused."""

from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from recipes.errors import BadInput
from tasks.sources.records import read_at
from tests.sources.raw import brief, read, source


def table(path: Path, columns: dict, rows: int = 2) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=rows, compression="none")
    return path


def test_a_record_is_addressed_by_its_row_and_read_again_from_there(tmp_path: Path):
    own = source(table(tmp_path / "a.parquet", {"text": ["a", "b", None, "d", "e"], "other": [1, 2, 3, 4, 5]}), "parquet")
    records = read(own)
    assert brief(records) == [("r0", "a"), ("r1", "b"), ("r2", "[unreadable]"), ("r3", "d"), ("r4", "e")]
    assert [read_at(own, record.address) for record in records] == records
    with pytest.raises(BadInput, match=r"row 5 of .* is not there any more"):
        read_at(own, f"{tmp_path}/a.parquet#r5")


def test_fields_of_structs_are_read_and_where_excludes_rows(tmp_path: Path):
    columns = {
        "text": ["a", "b"],
        "meta": [{"set": "CC", "url": "http://a"}, {"set": "C4", "url": "http://b"}],
        "licences": [["MIT", "BSD"], []],
    }
    own = source(
        table(tmp_path / "a.parquet", columns), "parquet", fields={"url": "meta.url", "licence": "licences"}, where={"meta.set": ["CC"]}
    )
    skipped: Counter = Counter()
    (record,) = read(own, skipped=skipped)
    assert (record.text, record.url, record.licences) == ("a", "http://a", ("MIT", "BSD")) and skipped == {"where": 1}


def test_a_missing_column_is_refused_with_the_names_there_are(tmp_path: Path):
    path = table(tmp_path / "a.parquet", {"content": ["a"], "lang": ["en"]})
    with pytest.raises(BadInput, match=r"has no column 'text': set the source's fields to some of content, lang"):
        read(source(path, "parquet"))
    with pytest.raises(BadInput, match="has no column 'question'"):
        read(source(path, "parquet", fields={"template": "{content} {question}"}))
    assert [record.url for record in read(source(path, "parquet", fields={"text": "content", "url": "address"}))] == [""]


def test_bytes_that_are_not_utf8_cost_one_row(tmp_path: Path):
    binary = pyarrow.array([b"good", b"\xff\xfe", b"fine"], pyarrow.binary())
    strings = pyarrow.StringArray.from_buffers(3, binary.buffers()[1], binary.buffers()[2])
    records = read(source(table(tmp_path / "a.parquet", {"text": strings}, rows=10), "parquet"))
    assert [record.fault or record.text for record in records] == ["good", "unreadable", "fine"]


def test_a_file_without_its_footer_is_one_unreadable_record(tmp_path: Path):
    path = table(tmp_path / "a.parquet", {"text": ["a", "b"]})
    path.write_bytes(path.read_bytes()[:-10])
    assert brief(read(source(path, "parquet"))) == [("r0", "[unreadable]")]
    assert brief(read(source(path, "parquet"), target_bytes=1)) == [("r0", "[unreadable]")]


def test_a_damaged_page_costs_the_rest_of_its_row_group_and_is_said(tmp_path: Path):
    path = table(tmp_path / "a.parquet", {"text": ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"]})
    data = bytearray(path.read_bytes())
    at = data.index(b"aaaaaaaa")
    data[4:at] = b"\xff" * (at - 4)  # the header of the first page, after the file's four magic bytes
    path.write_bytes(bytes(data))
    assert brief(read(source(path, "parquet"))) == [("r0", "[unreadable]"), ("r2", "cccccccc"), ("r3", "dddddddd")]


def test_a_file_without_rows_has_no_records(tmp_path: Path):
    assert read(source(table(tmp_path / "a.parquet", {"text": pyarrow.array([], pyarrow.string())}), "parquet")) == []
