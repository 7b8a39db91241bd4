"""Units of work: every record in exactly one, whatever their size, and an identity that says what their bytes are."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sources.records import read_unit
from tasks.sources.units import PinnedFile, Unit, pin_files, plan_units
from tests.sources.raw import lines, read, rules, source, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve JSON-lines records in three files (one compressed), seven Parquet rows in four groups."""
    folder = tmp_path_factory.mktemp("raw")
    rows = [{"text": "x" * (7 * n % 40)} for n in range(12)]
    write(folder / "a.jsonl", lines(*rows[:6]) + b"\n\n" + lines(*rows[6:8])[:-1])  # blank lines, and no end of the last
    write(folder / "b.jsonl", lines(*rows[8:10]))
    write(folder / "c.jsonl.gz", gzip.compress(lines(*rows[10:])))
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {n}" for n in range(7)]}), folder / "d.parquet", row_group_size=2)
    return folder


@settings(max_examples=60, deadline=None)
@given(target=st.integers(1, 600))
def test_records_and_addresses_are_the_same_for_every_size_of_units(folder: Path, target: int):
    for own, count in ((source(folder / "*.jsonl*"), 12), (source(folder / "d.parquet", "parquet"), 7)):
        whole = read(own)
        assert len({record.address for record in whole}) == len(whole) == count
        assert read(own, target) == whole


def test_small_files_are_grouped_and_a_large_one_is_cut(tmp_path: Path):
    for name, size in (("a", 10), ("b", 20), ("c", 100), ("d", 30)):
        write(tmp_path / f"{name}.jsonl", b"x" * (size - 1) + b"\n")
    own = source(tmp_path / "*.jsonl")
    units = plan_units(own, pin_files(own), 40)
    names = [("".join(Path(file.path).stem for file in unit.files), unit.begin, unit.end) for unit in units]
    assert names == [("ab", None, None), ("c", 0, 40), ("c", 40, 80), ("c", 80, 100), ("d", None, None)]
    assert [unit.bytes for unit in units] == [30, 40, 40, 20, 30]


def test_a_line_belongs_to_the_unit_in_which_it_begins(tmp_path: Path):
    own = source(write(tmp_path / "a.jsonl", lines({"text": "one"}, {"text": "two"})))  # 16 bytes each
    units = plan_units(own, pin_files(own), 16)
    assert [[r.text for r in read_unit(own, rules(), unit)] for unit in units] == [["one"], ["two"]]
    units = plan_units(own, pin_files(own), 17)
    assert [[r.text for r in read_unit(own, rules(), unit)] for unit in units] == [["one", "two"], []]


def test_a_compressed_file_is_never_cut(tmp_path: Path):
    own = source(write(tmp_path / "a.jsonl.gz", gzip.compress(b"{}\n" * 100)))
    (unit,) = plan_units(own, pin_files(own), 1)
    assert unit.begin is None and unit.end is None


def test_a_unit_survives_json_and_its_identity_has_no_path():
    unit = Unit("own", (PinnedFile("/here/a.jsonl", "package:x/a.jsonl", 100, "sha256:00"),), 0, 50)
    assert Unit.from_json(json.loads(json.dumps(unit.to_json()))) == unit
    assert unit.identity() == {"files": [["package:x/a.jsonl", 100, "sha256:00"]], "begin": 0, "end": 50}
    assert "/here" not in json.dumps(unit.identity())


def test_a_source_made_from_others_has_no_files():
    own = source("", "planted", plants={"of": ["x"], "exact_copies": 1, "near_copies": 1, "junk": 1, "seed": 1})
    assert pin_files(own) == [] and plan_units(own, [], 10) == []
