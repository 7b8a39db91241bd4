"""Dealing a batch to ranks without rounding, and the journal that outlives restarts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.artifacts.store import Store
from tasks.engine.job import micro_batch_units
from tasks.engine.journal import JournalReader, JournalWriter, merged_rows


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 50))
def test_every_rank_takes_equally_many_units_equally_often(world, share, most):
    micro = micro_batch_units(world * share, world, most)
    assert share % micro == 0 and 1 <= micro <= max(most, 1)


def test_a_batch_that_does_not_divide_is_refused_with_the_way_out():
    with pytest.raises(
        ValueError, match=r"a batch of 10 units cannot be dealt to 4 workers equally: use a number of workers that divides 10"
    ):
        micro_batch_units(10, 4, 100)


def test_rows_of_a_later_attempt_stand_in_for_those_of_an_earlier_one(tmp_path: Path):
    store = Store(str(tmp_path))
    for attempt, steps in (("first", range(1, 6)), ("second", range(4, 8))):
        writer = JournalWriter(store, "w")
        for step in steps:
            writer.append({"step": step, "time": 0.0, "loss": float(step if attempt == "first" else -step)})
        writer.flush()
    assert [row["loss"] for row in merged_rows(store, "w")] == [1, 2, 3, -4, -5, -6, -7]


def test_a_follower_sees_every_row_once(tmp_path: Path):
    store = Store(str(tmp_path))
    writer, reader = JournalWriter(store, "w"), JournalReader(store, "w")
    assert reader.new_rows() == []
    writer.append({"step": 1, "time": 0.0})
    writer.flush()
    assert [row["step"] for row in reader.new_rows()] == [1]
    writer.append({"step": 2, "time": 0.0})
    writer.flush()
    assert [row["step"] for row in reader.new_rows()] == [2]
