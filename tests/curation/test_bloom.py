"""The Bloom filter: forgets nothing, mistakes as seldom as it says, refuses to be overfilled, and persists."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.errors import BadInput
from tasks.curation.bloom import BloomFilter
from tasks.curation.exact import HASH_ROW, originals


def hashes(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size=(count, 2), dtype=np.uint64)


def test_every_member_is_recognised_and_order_decides_who_is_first():
    bloom = BloomFilter(6, 1e-9)
    rows = hashes(1, 3)
    assert bloom.add_new(rows[[0, 1, 0, 2, 1, 1]]).tolist() == [False, False, True, False, True, True]
    assert bloom.added == 3 and bloom.contains(rows).all()


def test_false_positives_come_at_the_stated_rate():
    bloom = BloomFilter(20_000, 0.01)
    bloom.add_new(hashes(2, 20_000))
    mistaken = bloom.contains(hashes(3, 100_000)).mean()
    assert 0.005 < mistaken < 0.015


def test_the_size_is_the_formulas():
    assert BloomFilter(1_000_000, 1e-9).bytes * 8 / 1_000_000 == pytest.approx(43.13, abs=0.01)


def test_it_refuses_to_run_past_its_capacity():
    bloom = BloomFilter(10, 1e-6)
    bloom.add_new(hashes(4, 10))
    assert bloom.add_new(hashes(4, 10)).all()
    with pytest.raises(BadInput, match="made for 10 hashes and is full"):
        bloom.add_new(hashes(5, 1))


def test_a_saved_filter_knows_what_it_knew(tmp_path: Path):
    bloom = BloomFilter(100, 1e-9)
    bloom.add_new(hashes(6, 90))
    bloom.save(tmp_path / "bloom.npz")
    again = BloomFilter.load(tmp_path / "bloom.npz")
    assert again.contains(hashes(6, 90)).all() and not again.contains(hashes(7, 90)).any()
    assert (again.capacity, again.added, again.false_positive_rate) == (100, 90, 1e-9)
    with pytest.raises(BadInput, match="full"):
        again.add_new(hashes(8, 11))


@given(st.lists(st.integers(0, 5), max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_original_of_a_row_is_the_first_with_its_hash(values):
    rows = np.zeros(len(values), dtype=HASH_ROW)
    rows["hi"], rows["lo"], rows["reference"] = [value // 2 for value in values], [value % 2 for value in values], np.arange(len(values))
    suspected = np.array([value in values[:place] for place, value in enumerate(values)], dtype=bool)
    assert originals(rows, suspected).tolist() == [values.index(value) for value in values]
