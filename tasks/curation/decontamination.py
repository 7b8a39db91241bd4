"""Benchmark items to an index of their word n-grams, and a text to the number of them that it shares.

As in GPT-3 (Brown et al. 2020, appendix C) n-grams are of lower-cased words without punctuation, 13 as a rule. They are compared
by 64-bit hashes: among a million of the index, one document in two billion words matches by chance.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from recipes.curation import Decontamination, NearDuplicates
from recipes.errors import BadInput
from tasks.curation.minhash import shingle_hashes
from tasks.sources.files import RawFile, open_raw

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BITS_PER_NGRAM = 16  # of the first look: one n-gram in sixteen that is not in the index gets a second


def first_look(hashes: np.ndarray) -> tuple[np.uint64, np.ndarray]:
    """Return a shift s and flags (bool) such that `flags[h >> s]` holds for each uint64 hash h, and for few others."""
    bits = max(16, (len(hashes) * _BITS_PER_NGRAM).bit_length())
    shift, flags = np.uint64(64 - bits), np.zeros(1 << bits, dtype=bool)
    flags[hashes >> shift] = True
    return shift, flags


@dataclass
class BenchmarkIndex:
    """The n-grams of benchmark items: sorted hashes, and for each the item that has it, the first if several do."""

    hashes: np.ndarray  # uint64, sorted, distinct
    item_of: np.ndarray  # uint32, an index into `items`
    items: list[str]  # addresses: file#row
    words: int
    strings: int = 0  # how many strings the items hold
    short_strings: int = 0  # of these, shorter than one n-gram: nothing can be found of them
    _shift: np.uint64 = field(init=False, repr=False)
    _maybe: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shift, self._maybe = first_look(self.hashes)

    @classmethod
    def build(cls, files: list[RawFile], rule: Decontamination) -> "BenchmarkIndex":
        """Read every string of every row of JSON-lines or Parquet files. BadInput if a file cannot be read or no n-gram is found."""
        hashes, owners, items = [], [], []
        strings = short = 0
        for file in files:
            for number, row in _rows(file):
                items.append(f"{file.address}#{number}")
                for text in strings_of(row):
                    strings += 1
                    if len(text.lower().translate(_PUNCTUATION).split()) < rule.ngram_words:
                        short += 1
                        continue
                    found = shingle_hashes(text, word_shingles(rule.ngram_words))
                    hashes.append(found)
                    owners.append(np.full(len(found), len(items) - 1, dtype=np.uint32))
        if not hashes:
            raise BadInput(
                f"curation.decontamination: no string of {rule.ngram_words} words in {len(items)} items of {rule.location!r}: "
                "check the location, or lower ngram_words"
            )
        distinct, first = np.unique(np.concatenate(hashes), return_index=True)
        return cls(distinct, np.concatenate(owners)[first], items, rule.ngram_words, strings, short)

    def save(self, path: Path) -> None:
        """Write the index to a `.npz` file; equal indexes give equal bytes."""
        addresses = np.frombuffer("\n".join(self.items).encode(), dtype=np.uint8)
        numbers = np.array([self.words, self.strings, self.short_strings], dtype=np.int64)
        with path.open("wb") as file:
            np.savez(file, hashes=self.hashes, item_of=self.item_of, items=addresses, numbers=numbers)

    @classmethod
    def load(cls, path: Path, rule: Decontamination) -> "BenchmarkIndex":
        """Read an index. BadInput if it was built for n-grams of another length."""
        with np.load(path) as stored:
            words, strings, short = stored["numbers"].tolist()
            items = stored["items"].tobytes().decode().split("\n")
            index = cls(stored["hashes"], stored["item_of"], items, words, strings, short)
        if words != rule.ngram_words:
            raise BadInput(f"{path} indexes {words}-grams, curation.decontamination.ngram_words is {rule.ngram_words}: build it again")
        return index

    def matches(self, text: str) -> tuple[int, str]:
        """Return how many different n-grams a text shares with the items, and the item of the first one in it ("" if none)."""
        hashes = shingle_hashes(text, word_shingles(self.words))
        candidates = hashes[self._maybe[hashes >> self._shift]]
        places = np.minimum(np.searchsorted(self.hashes, candidates), len(self.hashes) - 1)
        places = places[self.hashes[places] == candidates]
        if not len(places):
            return 0, ""
        return len(np.unique(places)), self.items[self.item_of[places[0]]]


@lru_cache
def word_shingles(words: int) -> NearDuplicates:
    """Return the rule by which n-grams of so many words are hashed."""
    return NearDuplicates(unit="word", shingle_length=words, permutations=1, bands=1, rows=1, jaccard_threshold=1.0, scope="across_sources")


def _rows(file: RawFile) -> Iterator[tuple[int, Any]]:
    if file.path.endswith(".parquet"):
        import pyarrow.parquet

        with open_raw(file.path) as stream:
            number = 0
            for batch in pyarrow.parquet.ParquetFile(stream).iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        return
    with open_raw(file.path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield number, orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise BadInput(f"{file.path} line {number} is not JSON ({error}): benchmark items are JSON lines or Parquet") from None


def strings_of(value: Any) -> Iterator[str]:
    """Yield every string in a row, however deep; keys of objects are not of the item."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_of(inner)
