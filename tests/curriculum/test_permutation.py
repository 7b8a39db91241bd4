"""Shuffled orders without a table: every number once, both ways, whatever the size, and well mixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.curriculum.permutation import Permutation


@given(st.integers(1, 3000), st.text(max_size=5))
def test_every_number_comes_once_and_is_found_where_it_came(size: int, seed: str):
    order = Permutation(size, seed)
    taken = order.take(np.arange(size))
    assert sorted(taken.tolist()) == list(range(size))
    assert np.array_equal(order.place(taken), np.arange(size))


@given(st.integers(1, 2**61), st.lists(st.integers(0, 2**61), max_size=20), st.text(max_size=3))
def test_places_of_a_huge_order_are_found_one_by_one(size: int, numbers: list[int], seed: str):
    order, wanted = Permutation(size, seed), np.array([number % size for number in numbers], dtype=np.int64)
    taken = order.take(wanted)
    assert ((taken >= 0) & (taken < size)).all()
    assert np.array_equal(order.place(taken), wanted)


def test_the_order_is_the_same_for_ever():
    assert Permutation(10, "seed").take(np.arange(10)).tolist() == [3, 1, 5, 7, 6, 8, 0, 4, 9, 2]
    assert Permutation(10**15, "seed").take(np.arange(3)).tolist() == [854324259512578, 462307628685884, 386229392421359]


@pytest.mark.parametrize("size", [1000, 4096, 10_007])
def test_an_order_looks_drawn_by_chance(size: int):
    """Fixed points of a random permutation: 1 on average; neighbours and places are uncorrelated to within 4 / sqrt(n)."""
    fixed, limit = 0, 4 / size**0.5
    for seed in range(200):
        taken = Permutation(size, str(seed)).take(np.arange(size))
        fixed += int((taken == np.arange(size)).sum())
        if seed < 20:
            assert abs(np.corrcoef(np.arange(size), taken)[0, 1]) < limit
            assert abs(np.corrcoef(taken[:-1], taken[1:])[0, 1]) < limit
    assert 140 < fixed < 260  # 200 expected, with a standard deviation of 14


def test_a_number_beyond_the_size_is_refused():
    with pytest.raises(AssertionError, match="out of range"):
        Permutation(5, "").take(np.array([5]))
