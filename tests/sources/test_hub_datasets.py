"""Datasets in the hub's layout, streamed from a local folder without a network."""

from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from recipes.errors import BadInput
from tasks.sources.hub_datasets import split_location
from tasks.sources.records import read_at
from tasks.sources.units import pin_files, plan_units
from tests.sources.raw import brief, read, source


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two shards of two rows to train on, one row to test."""
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    for shard in range(2):
        rows = {"text": [f"{shard}{row}" for row in range(2)], "meta": [{"set": "CC"}, {"set": "C4"}], "unused": [1, 2]}
        pyarrow.parquet.write_table(pyarrow.table(rows), folder / f"train-0000{shard}-of-00002.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table({"text": ["test"], "meta": [{"set": "CC"}], "unused": [1]}), folder / "test-00000-of-00001.parquet"
    )
    return tmp_path / "set"


def test_rows_are_addressed_by_shard_and_row_and_each_shard_is_a_unit(dataset: Path):
    own = source(dataset, "dataset")
    units = plan_units(own, pin_files(own), 1 << 30)
    assert [(unit.begin, unit.end) for unit in units] == [(0, 1), (1, 2)]
    records = read(own)
    assert brief(records) == [("0:0", "00"), ("0:1", "01"), ("1:0", "10"), ("1:1", "11")]
    assert records[3].address == f"{dataset}#1:1" and read_at(own, records[3].address) == records[3]


def test_a_split_is_chosen_and_rows_are_selected(dataset: Path):
    assert [record.text for record in read(source(f"{dataset} test", "dataset"))] == ["test"]
    skipped: Counter = Counter()
    assert [record.text for record in read(source(dataset, "dataset", where={"meta.set": ["C4"]}), skipped=skipped)] == ["01", "11"]
    assert skipped == {"where": 2}


def test_a_datasets_mark_follows_its_bytes(dataset: Path):
    own = source(dataset, "dataset")
    before = pin_files(own)
    assert pin_files(own) == before and before[0].bytes > 0
    (dataset / "data" / "test-00000-of-00001.parquet").write_bytes(b"other")
    assert pin_files(own)[0].mark != before[0].mark


def test_what_is_not_there_is_refused(dataset: Path):
    for location, message in (
        (f"{dataset} nope", "cannot be opened"),
        ("org/absent", "cannot be opened"),
        ("a b c d", "NAME \\[CONFIG\\] \\[SPLIT\\]"),
    ):
        with pytest.raises(BadInput, match=message):
            read_at(source(location, "dataset"), f"{location}#0:0")
    with pytest.raises(BadInput, match="has no column 'body': set the source's fields to some of meta, text, unused"):
        read(source(dataset, "dataset", fields={"text": "body"}))
    for position, message in (("0:9", "row 9 of shard 0"), ("7:0", "no shard 7"), ("7", "is no address")):
        with pytest.raises(BadInput, match=message):
            read_at(source(dataset, "dataset"), f"{dataset}#{position}")


def test_a_location_is_a_name_a_configuration_and_a_split():
    assert split_location(source("a/b", "dataset")) == ("a/b", None, "train")
    assert split_location(source("a/b test", "dataset")) == ("a/b", None, "test")
    assert split_location(source("a/b en test", "dataset")) == ("a/b", "en", "test")
