"""128-bit hashes, in order, to `seen before` or `new`: a Bloom filter that persists, knows its capacity and states its error rate.

Size and number of probes follow from capacity n and false-positive rate p (Bloom 1970): m = -n ln p / (ln 2)^2 bits, k = m/n ln 2.
Probe i of a hash (hi, lo) is the bit (hi + i lo) mod m (Kirsch and Mitzenmacher 2006). At p = 1e-9 that is 43 bits a hash.
"""

import math
from pathlib import Path

import numpy as np
from numba import njit

from recipes.errors import BadInput


class BloomFilter:
    """A set of hashes that forgets none and mistakes a new one for a member with at most the stated rate, up to its capacity."""

    def __init__(self, capacity: int, false_positive_rate: float) -> None:
        self.capacity, self.false_positive_rate, self.added = capacity, false_positive_rate, 0
        bits = max(64, math.ceil(-max(capacity, 1) * math.log(false_positive_rate) / math.log(2) ** 2))
        self.words = np.zeros((bits + 63) // 64, dtype=np.uint64)
        self.probes = max(1, round(bits / max(capacity, 1) * math.log(2)))

    @property
    def bytes(self) -> int:
        """The filter's size."""
        return self.words.nbytes

    def add_new(self, hashes: np.ndarray) -> np.ndarray:
        """Tell, for each hash (rows of two uint64) in order, whether it was seen before, and remember it.

        BadInput if more new hashes come than the filter was made for: past its capacity the stated rate would be a lie.
        """
        room = self.capacity - self.added
        seen, new = _add_new(self.words, self.probes, np.ascontiguousarray(hashes), room)
        if new > room:
            raise BadInput(
                f"the Bloom filter was made for {self.capacity:,} hashes and is full: past that its false-positive rate of "
                f"{self.false_positive_rate:g} would not hold; make a larger one"
            )
        self.added += new
        return seen

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Tell, for each hash, whether it was seen before; remember nothing."""
        return _contains(self.words, self.probes, np.ascontiguousarray(hashes))

    def save(self, path: Path) -> None:
        """Write the filter to a `.npz` file."""
        with path.open("wb") as file:
            np.savez(
                file, words=self.words, capacity=self.capacity, added=self.added, false_positive_rate=self.false_positive_rate, probes=self.probes
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "BloomFilter":
        """Read a filter back."""
        with np.load(path, allow_pickle=False) as data:
            found = cls(int(data["capacity"]), float(data["false_positive_rate"]))
            found.words, found.added, found.probes = data["words"], int(data["added"]), int(data["probes"])
        return found


@njit(cache=True)
def _add_new(words, probes, hashes, room):
    bits = np.uint64(len(words) * 64)
    seen = np.zeros(len(hashes), dtype=np.bool_)
    new = 0
    for row in range(len(hashes)):
        place, step = hashes[row, 0], hashes[row, 1] | np.uint64(1)
        known = True
        for _ in range(probes):
            bit = place % bits
            word, mask = bit >> np.uint64(6), np.uint64(1) << (bit & np.uint64(63))
            if not words[word] & mask:
                if known and new >= room:
                    return seen, new + 1
                known = False
                words[word] |= mask
            place += step
        seen[row] = known
        if not known:
            new += 1
    return seen, new


@njit(cache=True)
def _contains(words, probes, hashes):
    bits = np.uint64(len(words) * 64)
    seen = np.ones(len(hashes), dtype=np.bool_)
    for row in range(len(hashes)):
        place, step = hashes[row, 0], hashes[row, 1] | np.uint64(1)
        for _ in range(probes):
            bit = place % bits
            if not words[bit >> np.uint64(6)] & (np.uint64(1) << (bit & np.uint64(63))):
                seen[row] = False
                break
            place += step
    return seen
