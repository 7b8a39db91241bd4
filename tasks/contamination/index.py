"""Benchmark items to an index of their word n-grams, and a text to those that it shares with them.

n-grams are curation's (`tasks/curation/decontamination.py`): of lower-cased words without ASCII punctuation, within one string, compared
by 64-bit hashes. Unlike curation, which asks whether a document is to be dropped, this keeps every item that has an n-gram.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tasks.contamination.items import BenchmarkItem
from tasks.curation.decontamination import first_look, word_shingles
from tasks.curation.minhash import shingle_hashes


@dataclass
class ItemIndex:
    """Distinct n-grams, sorted by hash; those at place g belong to the items `owners[starts[g]:starts[g + 1]]`."""

    words: int
    hashes: np.ndarray  # uint64[n-grams], sorted, distinct
    starts: np.ndarray  # int64[n-grams + 1]
    owners: np.ndarray  # uint32, ascending for each n-gram
    sizes: np.ndarray  # uint32[items]: distinct n-grams of each item; 0: its strings are all shorter than one
    _shift: np.uint64 = field(init=False, repr=False)
    _maybe: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._shift, self._maybe = first_look(self.hashes)

    @classmethod
    def build(cls, items: Sequence[BenchmarkItem], words: int) -> "ItemIndex":
        """Hash the n-grams of all items."""
        own = [ngrams(item, words) for item in items]
        sizes = np.array([len(one) for one in own], dtype=np.uint32)
        hashes = np.concatenate([np.zeros(0, np.uint64), *own])
        owners = np.repeat(np.arange(len(items), dtype=np.uint32), sizes)
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        distinct, starts = np.unique(hashes, return_index=True)
        return cls(words, distinct, np.append(starts, len(hashes)).astype(np.int64), owners, sizes)

    def save(self, path: Path) -> None:
        """Write the index to a `.npz` file; equal indexes give equal bytes."""
        with path.open("wb") as file:
            np.savez(file, words=np.int64(self.words), hashes=self.hashes, starts=self.starts, owners=self.owners, sizes=self.sizes)

    @classmethod
    def load(cls, path: Path) -> "ItemIndex":
        """Read an index."""
        with np.load(path) as stored:
            return cls(int(stored["words"]), *(stored[name] for name in ("hashes", "starts", "owners", "sizes")))

    def shared(self, text: str) -> np.ndarray:
        """Return the places of the different n-grams that a text shares with any item, ascending; int64."""
        hashes = shingle_hashes(text, word_shingles(self.words))
        candidates = hashes[self._maybe[hashes >> self._shift]]
        if not len(candidates) or not len(self.hashes):
            return np.zeros(0, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.hashes, candidates), len(self.hashes) - 1)
        return np.unique(places[self.hashes[places] == candidates])

    def items_with(self, place: int) -> np.ndarray:
        """Return the items that have an n-gram."""
        return self.owners[self.starts[place] : self.starts[place + 1]]


def ngrams(item: BenchmarkItem, words: int) -> np.ndarray:
    """Return the different n-grams of an item's strings, sorted; uint64. A string shorter than one n-gram has none."""
    rule = word_shingles(words)
    # to `shingle_hashes` a text of fewer words would be one shorter shingle
    own = [shingle_hashes(text, rule) for text in item.texts if long_enough(text, words)]
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *own]))


def long_enough(text: str, words: int) -> bool:
    """Tell whether a text has at least so many words once it is cleaned as n-grams are."""
    return len(shingle_hashes(text, word_shingles(1))) >= words
