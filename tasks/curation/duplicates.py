"""Documents in order of preference to verdicts: first of its kind, an exact copy, or a near copy of a document kept before.

Near duplicates: MinHash signatures and LSH by datasketch; a candidate counts only if the Jaccard similarity over *all* of its
shingles reaches the threshold, so that nothing is removed on an estimate.
"""

import re
from dataclasses import dataclass

import numpy as np
import xxhash
from datasketch import MinHash, MinHashLSH
from rbloom import Bloom

from recipes.errors import BadInput
from recipes.schema import ExactDuplicates, NearDuplicates

_PUNCTUATION = re.compile(r"[^\w\s]")
_SPACE = re.compile(r"\s+")
_MIX = np.uint64(0x9E3779B97F4A7C15)


class ExactFilter:
    """Recognise copies of documents with a Bloom filter that refuses to run past its capacity.

    A false positive drops a document that was new: the rate is the recipe's, and the filter's size follows from it.
    """

    def __init__(self, rule: ExactDuplicates, capacity: int) -> None:
        self.rule, self.capacity, self.added = rule, capacity, 0
        self.bloom = Bloom(max(capacity, 1), rule.false_positive_rate, _signed_128)

    def is_copy(self, source: str, text: str) -> bool:
        """Tell whether this text was seen before, and remember it."""
        key = text if self.rule.scope == "across_sources" else f"{source}\x00{text}"
        if key in self.bloom:
            return True
        if self.added >= self.capacity:
            raise BadInput(f"the Bloom filter holds {self.capacity} documents and is full: it was sized by a count that was too low")
        self.bloom.add(key)
        self.added += 1
        return False


def _signed_128(text: str) -> int:
    return int.from_bytes(xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")), "big") - 2**127


def shingles(text: str, rule: NearDuplicates) -> np.ndarray:
    """Return the sorted distinct 64-bit hashes of a text's shingles.

    The text is lower-cased, punctuation is removed and white space collapsed first, as SlimPajama's code does. A text shorter
    than one shingle is one shingle.
    """
    clean = _SPACE.sub(" ", _PUNCTUATION.sub("", text.lower())).strip()
    if rule.unit == "word":
        symbols = np.fromiter((xxhash.xxh3_64_intdigest(word) for word in clean.split(" ")), dtype=np.uint64)
    else:
        symbols = np.frombuffer(clean.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    length = min(rule.shingle_length, len(symbols))
    if length == 0:
        return np.zeros(0, dtype=np.uint64)
    windows = len(symbols) - length + 1
    value = np.zeros(windows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(length):
            value = (value ^ symbols[offset : offset + windows]) * _MIX
            value ^= value >> np.uint64(29)
    return np.unique(value)


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """Compute the Jaccard similarity of two sorted arrays of distinct hashes."""
    if not len(left) and not len(right):
        return 1.0
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def signature(hashes: np.ndarray, permutations: int) -> MinHash:
    """Make datasketch's MinHash of shingle hashes (their upper 32 bits)."""
    minhash = MinHash(num_perm=permutations, hashfunc=int)
    if len(hashes):
        minhash.update_batch((hashes >> np.uint64(32)).tolist())
    return minhash


@dataclass(frozen=True)
class Match:
    """The kept document that another one duplicates, and how similar they are."""

    kept: int
    similarity: float


class NearIndex:
    """Find near copies among the documents kept so far."""

    def __init__(self, rule: NearDuplicates) -> None:
        self.rule = rule
        self.lsh = MinHashLSH(num_perm=rule.permutations, params=(rule.bands, rule.rows))
        self.kept_shingles: dict[int, np.ndarray] = {}
        self.kept_source: dict[int, str] = {}

    def find_or_keep(self, number: int, source: str, text: str) -> Match | None:
        """Return the most similar kept document at or above the threshold; if there is none, keep this one."""
        hashes = shingles(text, self.rule)
        minhash = signature(hashes, self.rule.permutations)
        best: Match | None = None
        for other in sorted(self.lsh.query(minhash)):
            if self.rule.scope == "within_sources" and self.kept_source[other] != source:
                continue
            similarity = jaccard(hashes, self.kept_shingles[other])
            if similarity >= self.rule.jaccard_threshold and (best is None or similarity > best.similarity):
                best = Match(other, round(similarity, 4))
        if best is None:
            self.lsh.insert(number, minhash, check_duplication=False)
            self.kept_shingles[number] = hashes
            self.kept_source[number] = source
        return best
