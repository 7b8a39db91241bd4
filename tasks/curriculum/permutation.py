"""A number and a seed to its place in a shuffled order of [0, n), and back: without a table, whatever n is.

A Feistel network over pairs (a, b) of Z_height x Z_width shuffles the least such rectangle that holds n numbers; a number that
lands beyond n goes through again (cycle walking: Black and Rogaway, CT-RSA 2002). Any place costs the same, takes no memory, and
does not depend on a library's random numbers, which may change.
"""

import hashlib
from math import isqrt

import numpy as np

ROUNDS = 8


class Permutation:
    """A shuffled order of the numbers below `size`: `take(i)` is the i-th of it, `place(x)` where x comes."""

    def __init__(self, size: int, seed: str) -> None:
        assert 0 <= size < 1 << 62, "numbers have 62 bits"
        self.size = size
        self.width = max(isqrt(max(size - 1, 0)) + 1, 1)
        self.height = max(-(-size // self.width), 1)
        digest = hashlib.shake_256(seed.encode()).digest(8 * ROUNDS)
        self.keys = [np.uint64(int.from_bytes(digest[8 * i : 8 * i + 8], "little")) for i in range(ROUNDS)]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return what comes at the given places, int64."""
        return self._walk(numbers, self._forth)

    def place(self, numbers: np.ndarray) -> np.ndarray:
        """Return the places at which the given numbers come, int64."""
        return self._walk(numbers, self._back)

    def _walk(self, numbers: np.ndarray, once) -> np.ndarray:
        values = np.asarray(numbers, dtype=np.int64)
        assert values.size == 0 or (values.min() >= 0 and values.max() < self.size), "a number is out of range"
        values = once(values.astype(np.uint64))
        while (outside := values >= self.size).any():
            values[outside] = once(values[outside])
        return values.astype(np.int64)

    def _forth(self, values: np.ndarray) -> np.ndarray:
        height, width = np.uint64(self.height), np.uint64(self.width)
        a, b = np.divmod(values, width)
        for number, key in enumerate(self.keys):
            if number % 2:
                a = (a + _mixed(b, key) % height) % height
            else:
                b = (b + _mixed(a, key) % width) % width
        return a * width + b

    def _back(self, values: np.ndarray) -> np.ndarray:
        height, width = np.uint64(self.height), np.uint64(self.width)
        a, b = np.divmod(values, width)
        for number, key in reversed(list(enumerate(self.keys))):
            if number % 2:
                a = (a + (height - _mixed(b, key) % height)) % height
            else:
                b = (b + (width - _mixed(a, key) % width)) % width
        return a * width + b


def _mixed(values: np.ndarray, key: np.uint64) -> np.ndarray:
    """Mix 64-bit values with a key (SplitMix64's finalizer: Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = values + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
