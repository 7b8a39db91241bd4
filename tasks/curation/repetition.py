"""Hashes of a text's words, lines and paragraphs to how much of it repeats itself, by compiled kernels.

n-grams go level by level: an n-gram can occur twice only where both (n-1)-grams that it contains do, so each level looks at what
was repeated on the level before, and most texts need no level beyond the fourth. Words are recognised by 64-bit hashes, n-grams
exactly, by the numbers of their parts.

Kernels call only kernels of this file: numba's cache looks at one file's date, and would keep stale code of another's.
"""

import numpy as np
from numba import njit

REPETITIONS: tuple[str, ...] = (  # `tasks/curation/facts.py` says what they are
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "top_2gram_characters",
    "top_3gram_characters",
    "top_4gram_characters",
    "duplicate_5gram_characters",
    "duplicate_6gram_characters",
    "duplicate_7gram_characters",
    "duplicate_8gram_characters",
    "duplicate_9gram_characters",
    "duplicate_10gram_characters",
)

_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels alone: quicker to compile
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_LONGEST_NGRAM = 10


@_inner
def _number(keys, count, numbers, known, slots, base):
    """Give equal keys equal numbers, from 0 in the order of first occurrence; returns how many different ones there are.

    A slot holds 32 bits of a key's hash and base + its number; below `base` it is a leftover of an earlier use. known: key by
    number. Whether a key is new cannot be predicted, so nothing but the end of the search branches.
    """
    bits = 1
    while (1 << bits) < 2 * count:
        bits += 1
    shift, mask, low = np.uint64(64 - bits), np.uint64((1 << bits) - 1), np.uint64(0xFFFFFFFF)
    distinct = np.uint64(0)
    for i in range(count):
        key = keys[i]
        spread = (key ^ (key >> np.uint64(29))) * _SPREAD
        slot = spread >> shift
        while True:
            held = slots[slot]
            is_free = (held & low) < base
            number = distinct if is_free else (held & low) - base
            if is_free | ((((held >> np.uint64(32)) ^ spread) & low == 0) & (known[number] == key)):
                break
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (spread << np.uint64(32)) | (base + number)
        known[number] = key
        numbers[i] = number
        distinct += np.uint64(is_free)
    return distinct


@_inner
def _duplicates(keys, lengths, count, numbers, known, slots, base):
    """Return how many keys equal an earlier one, the sum of their lengths, and the next base."""
    distinct, length = np.int64(_number(keys, count, numbers, known, slots, base)), 0
    first = 0  # the number of the next key that is new
    for i in range(count):
        length += 0 if numbers[i] == first else lengths[i]
        first += numbers[i] == first
    return count - distinct, length, base + np.uint64(distinct)


@_inner
def _covered(n, count, reach, places, numbers):
    """Sum the characters of the words in n-grams that occurred before, each word once."""
    total, end, first = 0, 0, 0
    for i in range(count):
        if numbers[i] == first:
            first += 1
        else:
            place = np.int64(places[i])
            total += reach[place + n] - reach[max(place, end)]
            end = place + n
    return total


@_inner
def _keep_repeated(n, count, distinct, reach, places, numbers, times):
    """Keep the n-grams that occur more than once; return how many places they have, and the characters of the most frequent one."""
    for number in range(distinct):
        times[number] = 0
    for i in range(count):
        times[numbers[i]] += 1
    kept, best = 0, 0
    for i in range(count):
        place, number = np.int64(places[i]), numbers[i]
        length = reach[place + n] - reach[place] + n - 1
        best = max(best, (np.int64(times[number]) << 32) + length)
        places[kept], numbers[kept] = place, number
        kept += times[number] > 1
    most, length = best >> 32, best & 0xFFFFFFFF
    return kept, most * length if most > 1 else 0


@_inner
def _pair(count, places, numbers, keys):
    """Make the keys of n-grams from the repeated (n-1)-grams that stand one word apart; return how many there are."""
    made = 0
    for i in range(count - 1):
        place = places[i]
        keys[made] = (np.uint64(numbers[i]) << np.uint64(32)) | np.uint64(numbers[i + 1])
        places[made] = place
        made += places[i + 1] - place == 1
    return made


@_inner
def _ngrams(words, count, reach, firsts, marks, known, slots, base, row):
    """Fill the counts of repeated n-grams from the hashes of the words, which are overwritten.

    Writes the places where a word occurs for the first time to `firsts`. Returns how many there are, and the next base.
    """
    places, numbers, times, different = marks[0], marks[1], marks[2], np.int64(0)
    for n in range(1, _LONGEST_NGRAM + 1):
        if n > 1:
            count = _pair(count, places, numbers, words)
        if count < 1:
            break
        distinct = _number(words, count, numbers, known, slots, base)
        base += distinct
        if n == 1:
            for place in range(count):
                places[place], firsts[different] = place, place
                different += numbers[place] == different
        if n > 4:
            row[n + 2] = _covered(n, count, reach, places, numbers)
        count, top = _keep_repeated(n, count, distinct, reach, places, numbers, times)
        if 1 < n < 5:
            row[n + 2] = top
    return different, base


@njit(cache=True)
def _fill(offsets, counts, hashes, sizes, firsts, marks, known, slots, base, rows):
    for i in range(rows.shape[0]):
        row, first = rows[i], offsets[i]
        lines, line_sizes = hashes[1][first:], sizes[1][first:]
        row[0], row[1], base = _duplicates(lines, line_sizes, counts[i, 1], marks[1], known, slots, base)
        paragraphs, paragraph_sizes = hashes[2][first:], sizes[2][first:]
        row[2], row[3], base = _duplicates(paragraphs, paragraph_sizes, counts[i, 2], marks[1], known, slots, base)
        words, reach = hashes[0][first:], sizes[0][first:]
        counts[i, 3], base = _ngrams(words, counts[i, 0], reach, firsts[first:], marks, known, slots, base, row)
    return base


class RepetitionCounter:
    """Count repetitions in texts of up to a number of words, in tables that are kept from text to text."""

    def __init__(self, most_words: int) -> None:
        self._marks = np.empty((3, most_words), dtype=np.uint32)  # of an n-gram: its place, its number; by number: times
        self._known = np.empty(most_words, dtype=np.uint64)
        self._slots = np.zeros(1 << (2 * most_words).bit_length(), dtype=np.uint64)
        self._base = 1

    def count(self, offsets: np.ndarray, counts: np.ndarray, hashes: np.ndarray, sizes: np.ndarray, firsts: np.ndarray) -> np.ndarray:
        """Count the repetitions of a group of texts; float64[texts, REPETITIONS].

        counts: words, lines and paragraphs of each text; the number of its different words is filled in. What belongs to a text
        begins at `offsets[text]`: in hashes (overwritten) those of words, lines, paragraphs; in sizes the reach of words (characters
        of the words before, one entry more than words) and the lengths of lines and paragraphs; `firsts` receives the different
        words' first places.
        """
        if self._base > 1 << 31:  # numbers have 32 bits
            self._slots.fill(0)
            self._base = 1
        rows = np.zeros((len(counts), len(REPETITIONS)), dtype=np.float64)
        base = np.uint64(self._base)
        self._base = _fill(offsets, counts, hashes, sizes, firsts, self._marks, self._known, self._slots, base, rows)
        return rows
