"""Shingle hashes, signatures and band keys against plain Python and against datasketch itself."""

import re
import string

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.curation import NearDuplicates
from tasks.curation import minhash

SLIM = NearDuplicates(
    unit="character", shingle_length=13, permutations=128, bands=9, rows=13, jaccard_threshold=0.8, scope="across_sources"
)
WORD = SLIM.model_copy(update={"unit": "word", "shingle_length": 3})
CODE = SLIM.model_copy(update={"unit": "code_token", "shingle_length": 2, "permutations": 256, "bands": 20, "rows": 12})
MASK = 2**64 - 1
BASE = 0xD1342543DE82EF95
NASTY = [
    "", " ", "\u00a0\u2003\n", "...", ". . .", "a", "a b", " a\x1cb\x85c\u3000d ", "ΣΑΣ ΟΔΟΣ. Σ", "İstanbul İ", "ß\ud800x", "x" * 12,
    "x" * 13, "x" * 14, "a-b_c d", "def f(x_1):\r\n\treturn x_1", "\x00\x00 \x00", "中文 没有 空格", "\U0001f600 \U0001f600", "K K",
]  # fmt: skip


def _mix(value: int) -> int:
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * multiplier & MASK
    return value ^ value >> 33


def _polynomial(symbols: list[int]) -> int:
    value = 0
    for symbol in symbols:
        value = (value * BASE + symbol) & MASK
    return value


def _reference_shingles(text: str, rule: NearDuplicates) -> list[int]:
    if rule.unit == "code_token":
        tokens = [token for token in re.split(r"[^A-Za-z_0-9]", text) if token]
    else:
        clean = " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())
        tokens = clean.split(" ") if clean else []
    if rule.unit == "character":
        symbols = [ord(letter) + 1 for letter in clean]
    else:
        symbols = [_mix(_polynomial([ord(letter) + 1 for letter in token])) for token in tokens]
    length = min(rule.shingle_length, len(symbols))
    return [_mix(_polynomial(symbols[i : i + length])) for i in range(len(symbols) - length + 1)] if symbols else []


def _long_text(words: int) -> str:
    generator = np.random.default_rng(3)
    return " ".join(f"word{n}," if n % 7 else f"Ünïcode{n}.\n" for n in generator.integers(0, 5000, words))


@pytest.mark.parametrize(
    "rule", [SLIM, WORD, CODE, SLIM.model_copy(update={"shingle_length": 1})], ids=["character", "word", "code", "single"]
)
@pytest.mark.parametrize("text", [*NASTY, _long_text(20_000), _long_text(5_000).encode("ascii", "ignore").decode()])
def test_shingle_hashes_are_those_of_the_written_formula(text: str, rule: NearDuplicates) -> None:
    assert minhash.shingle_hashes(text, rule).tolist() == _reference_shingles(text, rule)


@given(text=st.text(alphabet=st.one_of(st.sampled_from(" \n\t.,aAbΣİK\u00a0\u0301_9-"), st.characters())), length=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_any_text_has_the_shingles_of_the_written_formula(text: str, length: int) -> None:
    for rule in (SLIM, WORD, CODE):
        rule = rule.model_copy(update={"shingle_length": length})
        assert minhash.shingle_hashes(text, rule).tolist() == _reference_shingles(text, rule)


def test_a_text_longer_than_the_buffers_is_shingled_across_their_borders(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Ab,  c\u2003dé " * 40
    whole = [minhash.shingle_hashes(text, rule).tolist() for rule in (SLIM, WORD, CODE)]
    for slice_characters in (1, 2, 3, 7):
        monkeypatch.setattr(minhash, "_SLICE", slice_characters)
        assert [minhash.shingle_hashes(text, rule).tolist() for rule in (SLIM, WORD, CODE)] == whole


def test_lower_case_that_depends_on_neighbours_is_that_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ΟΔΟΣ ΣΟΦΟΣ, İstanbul " * 30
    for slice_characters in (12, 13, 1 << 15):  # a word and the space after it have at most 10 characters
        monkeypatch.setattr(minhash, "_SLICE", slice_characters)
        assert minhash.shingle_hashes(text, SLIM).tolist() == _reference_shingles(text, SLIM)


def test_punctuation_case_and_white_space_do_not_make_a_difference_in_prose() -> None:
    assert minhash.shingle_hashes("Hello,  World!\n", SLIM).tolist() == minhash.shingle_hashes("hello world", SLIM).tolist()
    assert minhash.shingle_hashes("Hello", CODE).tolist() != minhash.shingle_hashes("hello", CODE).tolist()


def test_texts_of_n_symbols_have_so_many_shingles_as_counted_by_hand() -> None:
    assert len(minhash.shingle_hashes("abcdefghijklmno", SLIM)) == 3  # 15 characters, 13 a shingle
    assert len(minhash.shingle_hashes("one two three four", WORD)) == 2
    assert len(minhash.shingle_hashes("a = b + c", CODE)) == 2
    assert len(minhash.shingle_hashes("short", SLIM)) == 1
    assert len(minhash.shingle_hashes(" ,.! ", SLIM)) == 0


def test_a_shingle_set_is_sorted_and_distinct() -> None:
    rule = SLIM.model_copy(update={"shingle_length": 2})
    found = minhash.shingle_set("ababab", rule)  # ab and ba
    assert len(minhash.shingle_hashes("ababab", rule)) == 5 and len(found) == 2 and found[0] < found[1]


def test_jaccard_is_the_share_of_common_hashes() -> None:
    def array(*values: int) -> np.ndarray:
        return np.array(values, dtype=np.uint64)

    assert minhash.jaccard(array(1, 2, 3), array(2, 3, 4)) == 0.5
    assert minhash.jaccard(array(1, 5, 9), array(2, 5, 2**63 + 5)) == 0.2
    assert minhash.jaccard(array(), array(1)) == 0.0 and minhash.jaccard(array(), array()) == 1.0


def test_permutations_are_datasketchs() -> None:
    a, b = minhash.permutations(256)
    theirs = MinHash(num_perm=256).permutations
    assert a.dtype == b.dtype == np.uint32
    assert np.array_equal(a, theirs[0]) and np.array_equal(b, theirs[1])


@pytest.mark.parametrize("rule", [SLIM, WORD, CODE], ids=["character", "word", "code"])
@pytest.mark.parametrize("text", [*NASTY, _long_text(3_000)])
def test_signatures_are_datasketchs_bit_for_bit(text: str, rule: NearDuplicates) -> None:
    hashes = minhash.shingle_hashes(text, rule)
    theirs = MinHash(num_perm=rule.permutations, seed=1, hashfunc=int)
    if len(hashes):
        theirs.update_batch(minhash.datasketch_hash(hashes).tolist())
    ours = minhash.signature(hashes, rule)
    assert ours.dtype == np.uint32 and np.array_equal(ours, theirs.hashvalues)


def test_an_empty_text_has_the_largest_signature_and_no_keys() -> None:
    assert set(minhash.signature(minhash.shingle_hashes("", SLIM), SLIM).tolist()) == {2**32 - 1}
    assert not minhash.near_keys(["", " ?! "], SLIM).any()


@pytest.mark.parametrize("rule", [SLIM, WORD, CODE], ids=["character", "word", "code"])
def test_keys_of_a_batch_are_the_keys_of_each_text_alone(rule: NearDuplicates) -> None:
    texts = [*NASTY, _long_text(20_000), "a plain text of some words, then", _long_text(10)]
    together = minhash.near_keys(texts, rule)
    assert together.shape == (len(texts), rule.bands) and together.dtype == np.uint64
    for text, row in zip(texts, together, strict=True):
        hashes = minhash.shingle_hashes(text, rule)
        alone = minhash.band_keys(minhash.signature(hashes, rule), rule) if len(hashes) else np.zeros(rule.bands)
        assert np.array_equal(row, alone)


def test_equal_bands_have_equal_keys_and_bands_do_not_share_keys() -> None:
    one, other = np.zeros(128, dtype=np.uint32), np.zeros(128, dtype=np.uint32)
    other[14] = 1  # in the second band of 13 rows
    keys, others = minhash.band_keys(one, SLIM), minhash.band_keys(other, SLIM)
    assert (keys == others).tolist() == [True, False, *[True] * 7]
    assert len(set(keys.tolist())) == 9 and keys.all()
