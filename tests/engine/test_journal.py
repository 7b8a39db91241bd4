"""The journal: what a writer appends, a reader finds once and in order, whatever the segments and however often training began again."""

import json
from pathlib import Path

import pytest

from tasks.artifacts.store import Store
from tasks.engine import journal
from tasks.engine.journal import JournalReader, JournalWriter, merged_rows

FOLDER = "working/x"


def write(store: Store, steps: range, mark: str = "") -> JournalWriter:
    """Write rows of steps as one attempt."""
    writer = JournalWriter(store, FOLDER)
    for step in steps:
        writer.append({"step": step, "time": float(step), "mark": mark})
    writer.flush()
    return writer


def steps(rows: list[journal.Row]) -> list[int]:
    """Return the steps of rows."""
    return [row["step"] for row in rows]


def test_a_segment_that_grows_is_read_row_by_row_and_each_row_once(tmp_path: Path):
    store = Store(str(tmp_path))
    writer, reader = write(store, range(1, 4)), JournalReader(store, FOLDER)
    assert steps(reader.new_rows()) == [1, 2, 3] and reader.new_rows() == []
    for step in (4, 5):
        writer.append({"step": step, "time": 0.0})
    writer.flush()
    assert len(store.list(FOLDER)) == 1 and steps(reader.new_rows()) == [4, 5]


def test_a_minute_of_rows_makes_one_object_and_the_next_row_begins_another(tmp_path: Path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    store = Store(str(tmp_path))
    writer, reader, read = JournalWriter(store, FOLDER), JournalReader(store, FOLDER), []
    for second in range(1, 151):
        clock[0] = float(second)
        writer.append({"step": second, "time": float(second)})
        read += reader.new_rows()
    assert [len((tmp_path / key).read_bytes().splitlines()) for key in store.list(FOLDER)] == [60, 60, 30]
    assert steps(read) == steps(merged_rows(store, FOLDER)) == list(range(1, 151))


def test_finished_segments_are_not_read_again(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_SECONDS", 0.0)
    store = Store(str(tmp_path))
    writer = write(store, range(1, 2))
    for step in range(2, 5):
        writer.append({"step": step, "time": 0.0})
        writer.flush()
    reader, keys = JournalReader(store, FOLDER), []
    assert steps(reader.new_rows()) == [1, 2, 3, 4]
    real = store.read
    monkeypatch.setattr(store, "read", lambda key: (keys.append(key), real(key))[1])
    reader.new_rows()
    assert len(keys) == 1 and keys[0].endswith("-000003.jsonl")


def test_rows_of_a_later_attempt_stand_in_for_those_of_an_earlier_one(tmp_path: Path):
    store = Store(str(tmp_path))
    write(store, range(1, 7), "first")
    write(store, range(4, 9), "second")
    assert [(row["step"], row["mark"]) for row in merged_rows(store, FOLDER)] == [
        *((step, "first") for step in (1, 2, 3)), *((step, "second") for step in (4, 5, 6, 7, 8))]  # fmt: skip


def test_a_store_that_does_not_answer_costs_no_row_on_either_side(tmp_path: Path, monkeypatch):
    store = Store(str(tmp_path))
    writer = write(store, range(1, 3))
    reader = JournalReader(store, FOLDER)
    real_read, real_write = store.read, store.write

    def fails(*_: object) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(store, "read", fails)
    with pytest.raises(OSError):
        reader.new_rows()
    monkeypatch.setattr(store, "read", real_read)
    monkeypatch.setattr(store, "write", fails)
    writer.append({"step": 3, "time": 0.0})
    with pytest.raises(OSError):
        writer.flush()
    monkeypatch.setattr(store, "write", real_write)
    writer.flush()
    assert steps(reader.new_rows()) == [1, 2, 3]


def test_a_loss_that_is_no_number_is_written_as_nothing(tmp_path: Path):
    store = Store(str(tmp_path))
    writer = JournalWriter(store, FOLDER)
    writer.append({"step": 1, "time": 0.0, "loss": float("nan")})
    writer.flush()
    assert json.loads(store.read(store.list(FOLDER)[0])) == {"step": 1, "time": 0.0, "loss": None}
