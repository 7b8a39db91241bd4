"""Texts to the numbers that the heuristic rules need (Gopher, FineWeb, Moxin, code), in one compiled pass over each text.

Characters are code points. Words are what `str.split()` gives, compared exactly. Lines are separated by "\\n" and paragraphs by
blank lines (`\\n\\s*\\n`); both are taken without the white space around them, and count only if something is left.

Memory beside the texts: some 13 bytes a character of the longest text, 20 if it is all words of one letter.
"""

import functools
import string
from collections.abc import Iterator

import numpy as np

from tasks.curation.fact_kernels import (
    ALPHABETIC,
    ALPHANUMERIC,
    BULLET,
    CHUNK,
    CLOSING,
    END_OF_SENTENCE,
    FACTS,
    SPACE,
    STOP_INITIAL,
    STRIPPED,
    fill,
)

__all__ = ["BULLETS", "CLOSING_QUOTES", "FACTS", "STOP_WORDS", "measure"]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = "•‣▶◀◦■□▪▫–-*"
CLOSING_QUOTES = "\"”’'"
_SLICE = 1 << 15  # characters of short texts that are measured together
_PIECE = 1 << 14  # characters that are encoded at once


@functools.cache
def _flags() -> np.ndarray:
    """Make the table from code points to what they are; white space, letters and digits are those of Python's `str`."""
    flags = np.zeros(0x110000, dtype=np.uint8)
    for point in range(0x110000):
        letter = chr(point)
        if letter.isalnum():
            flags[point] = ALPHANUMERIC | (ALPHABETIC if letter.isalpha() else 0)
        elif letter.isspace():
            flags[point] = SPACE
    initials = "".join(word[0] + word[0].upper() for word in STOP_WORDS)
    for letters, flag in (
        (string.punctuation + string.whitespace, STRIPPED), (BULLETS, BULLET), (".!?", END_OF_SENTENCE), (CLOSING_QUOTES, CLOSING),
        (initials, STOP_INITIAL),
    ):  # fmt: skip
        flags[[ord(letter) for letter in sorted(set(letters))]] |= flag
    return flags


@functools.cache
def _tallies() -> np.ndarray:
    """For each value of the flags, what it adds to two counts in one number: below 2^32 characters not stripped, above alphanumerics."""
    flags = np.arange(256, dtype=np.uint64)
    return ((flags & STRIPPED) == 0).astype(np.uint64) | (((flags & ALPHANUMERIC) != 0).astype(np.uint64) << np.uint64(32))


@functools.cache
def _stops() -> np.ndarray:
    """Write each stop word as a number, its first letter in the lowest byte."""
    return np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], dtype=np.uint32)


def _groups(texts: list[str]) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts that are measured by one call: short ones together, since a call costs as much as a kilobyte."""
    first, characters = 0, 0
    for i, text in enumerate(texts):
        if i > first and characters + len(text) > _SLICE:
            yield first, i
            first, characters = i, 0
        characters += len(text) + 1
    if texts:
        yield first, len(texts)


def _write_codes(text: str, codes: np.ndarray) -> None:
    """Write a text's code points to the beginning of `codes`, in pieces, so that a long text is not held three times over."""
    encoding, unit = ("ascii", np.uint8) if text.isascii() else ("utf-32-le", np.uint32)
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        codes[start : start + len(piece)] = np.frombuffer(piece.encode(encoding, "surrogatepass"), dtype=unit)


def measure(texts: list[str], short_line_characters: int = 30) -> np.ndarray:
    """Measure the facts of a batch of texts; float64[texts, FACTS]. Lines below `short_line_characters` characters are short."""
    longest = max((len(text) for text in texts), default=0)
    most_words = longest // 2 + 2
    codes = np.empty(longest + 2 * _SLICE, dtype=np.uint32)
    hashes, sizes = np.empty((4, most_words), dtype=np.uint64), np.empty((3, most_words + 1), dtype=np.int64)
    marks, cutting = np.empty((4, most_words), dtype=np.uint32), np.empty((3, CHUNK + 4), dtype=np.uint64)
    slots, base = np.zeros(1 << (2 * most_words).bit_length(), dtype=np.uint64), 1
    facts = np.zeros((len(texts), len(FACTS)), dtype=np.float64)
    for first, last in _groups(texts):
        _write_codes(" ".join([*texts[first:last], ""]), codes)
        starts = np.cumsum([0, *(len(text) + 1 for text in texts[first:last])], dtype=np.int64)
        if base > 1 << 31:  # numbers have 32 bits
            slots.fill(0)
            base = 1
        base = fill(
            codes, starts, _flags(), _tallies(), _stops(), short_line_characters, hashes, sizes, marks, slots, cutting,
            np.uint64(base), facts[first:last],
        )  # fmt: skip
    return facts
