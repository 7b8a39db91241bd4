"""Duplicates against references: datasketch's own signatures, and exact Jaccard over all pairs."""

import random

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.errors import BadInput
from recipes.schema import ExactDuplicates, NearDuplicates
from tasks.curation.duplicates import ExactFilter, NearIndex, jaccard, shingles, signature

RULE = NearDuplicates(
    unit="character", shingle_length=13, permutations=128, bands=9, rows=13, jaccard_threshold=0.8, scope="across_sources"
)


def words(seed: int, count: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choice("abcdefghij") for _ in range(6)) for _ in range(count)]


def true_jaccard(left: str, right: str, length: int = 13) -> float:
    a, b = ({text[i : i + length] for i in range(len(text) - length + 1)} for text in (left, right))
    return len(a & b) / len(a | b)


@given(st.text(alphabet="abc ", min_size=20, max_size=200), st.text(alphabet="abc ", min_size=20, max_size=200))
@settings(max_examples=60, deadline=None)
def test_similarity_is_exact_jaccard_of_the_cleaned_text(left, right):
    clean = [" ".join(text.split()) for text in (left, right)]
    if min(map(len, clean)) >= 13:
        assert jaccard(shingles(left, RULE), shingles(right, RULE)) == pytest.approx(true_jaccard(*clean))


def test_case_punctuation_and_spacing_do_not_matter():
    assert np.array_equal(shingles("Hello,  World! How are\nyou today?", RULE), shingles("hello world how are you today", RULE))


def test_signatures_are_datasketchs():
    hashes = shingles(" ".join(words(1, 200)), RULE)
    reference = MinHash(num_perm=128, hashfunc=lambda value: value)
    for value in hashes:
        reference.update(int(value >> np.uint64(32)))
    assert np.array_equal(signature(hashes, 128).hashvalues, reference.hashvalues)


def test_a_copy_with_one_changed_word_is_found_and_a_half_changed_one_is_kept():
    base = words(2, 300)
    near, half = base.copy(), base[:150] + words(3, 150)
    near[100] = "vixen"
    index = NearIndex(RULE)
    assert index.find_or_keep(0, "a", " ".join(base)) is None
    match = index.find_or_keep(1, "b", " ".join(near))
    assert match is not None and match.kept == 0
    assert match.similarity == pytest.approx(true_jaccard(" ".join(base), " ".join(near)), abs=1e-4)
    assert index.find_or_keep(1, "b", " ".join(half)) is None


def test_every_removal_is_truly_above_the_threshold_and_no_kept_pair_is_far_above_it():
    chance = random.Random(5)
    texts = []
    for family in range(12):
        base = words(family, 120)
        for _ in range(6):
            edited = base.copy()
            for _ in range(chance.randrange(0, 12)):
                edited[chance.randrange(120)] = "fox"
            texts.append(" ".join(edited))
    index, kept = NearIndex(RULE), []
    for text in texts:
        match = index.find_or_keep(len(kept), "a", text)
        if match is None:
            kept.append(text)
        else:
            assert true_jaccard(text, kept[match.kept]) >= 0.8
    missed = [(a, b) for i, a in enumerate(kept) for b in kept[:i] if true_jaccard(a, b) >= 0.95]
    assert missed == []  # LSH with 9 bands of 13 rows finds a pair at 0.95 with probability 1 - (1 - 0.95^13)^9 > 0.999
    assert 12 <= len(kept) < len(texts)


def test_within_sources_scope_leaves_copies_in_other_sources_alone():
    index = NearIndex(RULE.model_copy(update={"scope": "within_sources"}))
    text = " ".join(words(9, 200))
    assert index.find_or_keep(0, "a", text) is None
    assert index.find_or_keep(1, "b", text) is None
    assert index.find_or_keep(2, "b", text) is not None


def test_the_exact_filter_knows_copies_by_scope_and_refuses_to_overfill():
    everywhere = ExactFilter(ExactDuplicates(scope="across_sources", false_positive_rate=1e-9), capacity=2)
    assert [everywhere.is_copy(*pair) for pair in (("a", "x"), ("b", "x"), ("b", "y"))] == [False, True, False]
    with pytest.raises(BadInput, match="holds 2 documents and is full"):
        everywhere.is_copy("b", "z")
    inside = ExactFilter(ExactDuplicates(scope="within_sources", false_positive_rate=1e-9), capacity=3)
    assert [inside.is_copy(*pair) for pair in (("a", "x"), ("b", "x"), ("b", "x"))] == [False, False, True]
