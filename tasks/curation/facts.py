"""Texts to the numbers that the heuristic rules need (Gopher, FineWeb, Moxin, code), in one compiled pass over each text.

Characters are code points. Words are what `str.split()` gives, compared exactly. Lines are separated by "\\n" and paragraphs by
blank lines (`\\n\\s*\\n`); both are taken without the white space around them, and count only if something is left. Repeated
lines, paragraphs and words are recognised by 64-bit hashes, n-grams exactly by the numbers of their words.

n-grams go level by level: an n-gram can occur twice only where both (n-1)-grams that it contains do, so each level looks at what
was repeated on the level before, and most texts need no level beyond the fourth.

Memory beside the texts: some 20 bytes a character of the longest text, 60 if it is all words of one letter.
Kernels call only kernels of this file: numba's cache looks at one file's date, and would keep stale code of another's.
"""

import functools
import string

import numpy as np
from numba import njit

FACTS: tuple[str, ...] = (
    "bytes",  # in UTF-8
    "characters",
    "stripped_characters",  # without string.punctuation and string.whitespace (Moxin section 3.2.1)
    "words",
    "word_characters",
    "hash_symbols",
    "ellipses",  # "..." without overlaps, and "…"
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",  # with at least one alphabetic character
    "stop_words",  # how many different ones of STOP_WORDS occur, in any case, between any punctuation
    "duplicate_lines",  # equal to an earlier line
    "line_characters",
    "duplicate_line_characters",
    "paragraphs",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    # count x length of the most frequent n-gram, the longest of several; its words and a character between two; 0 if none repeats
    "top_2gram_characters",
    "top_3gram_characters",
    "top_4gram_characters",
    # characters of the words that lie in an n-gram which occurred before, each once
    "duplicate_5gram_characters",
    "duplicate_6gram_characters",
    "duplicate_7gram_characters",
    "duplicate_8gram_characters",
    "duplicate_9gram_characters",
    "duplicate_10gram_characters",
    "end_punctuation_lines",  # end in . ! ? or in a closing quote after one
    "short_lines",
    "newlines",
    "max_line_characters",  # of one line, without the white space around it
    "alphanumeric_characters",
)
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = "•‣▶◀◦■□▪▫–-*"
CLOSING_QUOTES = "\"”’'"

_BASE = np.uint64(0xD1342543DE82EF95)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_LONGEST_NGRAM = 10
_SLICE = 1 << 16  # characters that are turned into code points at once
# what a character is, one bit each; _DOT: one of # . … that are counted on their own
_SPACE, _ALPHABETIC, _ALPHANUMERIC, _STRIPPED, _DOT, _BULLET, _END, _CLOSING = (np.uint8(1 << bit) for bit in range(8))
(
    _BYTES, _CHARACTERS, _STRIPPED_CHARACTERS, _WORDS, _WORD_CHARACTERS, _HASHES, _ELLIPSES, _LINES, _BULLET_LINES, _ELLIPSIS_LINES,
    _ALPHABETIC_WORDS, _STOP_WORDS, _DUPLICATE_LINES, _LINE_CHARACTERS, _DUPLICATE_LINE_CHARACTERS, _PARAGRAPHS, _DUPLICATE_PARAGRAPHS,
    _DUPLICATE_PARAGRAPH_CHARACTERS, _TOP_2, _, _, _DUPLICATE_5, _, _, _, _, _, _END_LINES, _SHORT_LINES, _NEWLINES, _LONGEST_LINE,
    _ALPHANUMERICS,
) = range(len(FACTS))  # fmt: skip


@functools.cache
def _flags() -> np.ndarray:
    """Make the table from code points to what they are; white space, letters and digits are those of Python's `str`."""
    flags = np.zeros(0x110000, dtype=np.uint8)
    for point in range(0x110000):
        letter = chr(point)
        if letter.isalnum():
            flags[point] = _ALPHANUMERIC | (_ALPHABETIC if letter.isalpha() else 0)
        elif letter.isspace():
            flags[point] = _SPACE
    for letters, flag in (
        (string.punctuation + string.whitespace, _STRIPPED), ("#.…", _DOT), (BULLETS, _BULLET), (".!?", _END), (CLOSING_QUOTES, _CLOSING),
    ):  # fmt: skip
        flags[[ord(letter) for letter in letters]] |= flag
    return flags


@functools.cache
def _tallies() -> np.ndarray:
    """For each value of the flags, what it adds to two counts in one number: below 2^32 characters not stripped, above alphanumerics."""
    flags = np.arange(256, dtype=np.uint64)
    return ((flags & _STRIPPED) == 0).astype(np.uint64) | (((flags & _ALPHANUMERIC) != 0).astype(np.uint64) << np.uint64(32))


@functools.cache
def _stops() -> np.ndarray:
    """Write each stop word as a number, its first letter in the lowest byte."""
    return np.array([int.from_bytes(word.encode(), "little") for word in STOP_WORDS], dtype=np.uint32)


# --- kernels: code points to words, lines and paragraphs --------------------------------------------------------------------------


@njit(cache=True)
def _stop_word(codes, start, end, flags, stops):
    """Return the bit of the stop word that lies between punctuation, or 0."""
    while start < end and flags[codes[start]] & _STRIPPED:
        start += 1
    while start < end and flags[codes[end - 1]] & _STRIPPED:
        end -= 1
    if end - start < 2 or end - start > 4:
        return 0
    word = np.uint32(0)
    for i in range(end - 1, start - 1, -1):
        letter = codes[i] | np.uint32(32)
        if letter < 97 or letter > 122:
            return 0
        word = np.uint32((word << np.uint32(8)) | letter)
    for number in range(stops.size):
        if word == stops[number]:
            return 1 << number
    return 0


@njit(cache=True)
def _count_line(codes, start, end, flags, short, row):
    """Add a line, given without the white space around it, to the counts of lines."""
    last = codes[end - 1]
    row[_LINE_CHARACTERS] += end - start
    row[_LONGEST_LINE] = max(row[_LONGEST_LINE], end - start)
    row[_SHORT_LINES] += end - start < short
    row[_BULLET_LINES] += (flags[codes[start]] & _BULLET) != 0
    dots = end - start >= 3 and last == 46 and codes[end - 2] == 46 and codes[end - 3] == 46
    row[_ELLIPSIS_LINES] += dots or last == 0x2026
    after_end = end - start >= 2 and (flags[last] & _CLOSING) != 0 and (flags[codes[end - 2]] & _END) != 0
    row[_END_LINES] += after_end or (flags[last] & _END) != 0


@njit(cache=True)
def _scan(codes, size, flags, tallies, stops, short, words, reach, lines, line_sizes, paragraphs, paragraph_sizes, row):
    """Read a text once: fill the counts of `row`, hash its words, lines and paragraphs. `codes[size]` is a space.

    reach[i]: characters of the words before word i. The hash of a line or paragraph takes in its words and what separates them.
    """
    i, count, line_count, paragraph_count, line_start, paragraph_start, end = 0, 0, 0, 0, 0, 0, 0
    newlines, hashes, ellipses, dots, last_dot, alphabetic, found = 0, 0, 0, 0, -2, 0, 0
    line, paragraph, tally = np.uint64(0), np.uint64(0), np.uint64(0)
    reach[0] = 0
    while True:
        gap, breaks = np.uint64(0), 0
        while i < size and flags[codes[i]] & _SPACE:
            breaks += codes[i] == 10
            gap = gap * _BASE + np.uint64(codes[i])
            tally += tallies[flags[codes[i]]]
            i += 1
        newlines += breaks
        if count > 0 and (breaks > 0 or i == size):
            lines[line_count], line_sizes[line_count] = line, end - line_start
            line_count += 1
            _count_line(codes, line_start, end, flags, short, row)
        if count > 0 and (breaks > 1 or i == size):
            paragraphs[paragraph_count], paragraph_sizes[paragraph_count] = paragraph, end - paragraph_start
            paragraph_count += 1
        if i == size:
            break
        if count == 0 or breaks > 0:
            line_start = i
        if count == 0 or breaks > 1:
            paragraph_start = i
        start, word, seen = i, np.uint64(1), np.uint8(0)
        while True:
            code = codes[i]
            flag = flags[code]
            if flag & _SPACE:
                break
            word = word * _BASE + np.uint64(code)  # it began as 1, so that its length counts even where it begins with NULs
            seen |= flag
            tally += tallies[flag]
            if flag & _DOT:
                hashes += code == 35
                dots = 0 if code != 46 else dots + 1 if last_dot == i - 1 and dots < 3 else 1
                last_dot = i
                ellipses += dots == 3 or code == 0x2026
            i += 1
        end = i
        word ^= word >> np.uint64(32)
        words[count] = word
        count += 1
        reach[count] = reach[count - 1] + end - start
        alphabetic += (seen & _ALPHABETIC) != 0
        if found != 255 and (end - start < 5 or seen & _STRIPPED):
            found |= _stop_word(codes, start, end, flags, stops)
        line = word if start == line_start else (line * _BASE + gap) * _BASE + word
        paragraph = word if start == paragraph_start else (paragraph * _BASE + gap) * _BASE + word
    row[_STRIPPED_CHARACTERS], row[_ALPHANUMERICS] = tally & np.uint64(0xFFFFFFFF), tally >> np.uint64(32)
    row[_HASHES], row[_ELLIPSES], row[_NEWLINES], row[_ALPHABETIC_WORDS] = hashes, ellipses, newlines, alphabetic
    for bit in range(stops.size):
        row[_STOP_WORDS] += (found >> bit) & 1
    return count, line_count, paragraph_count


# --- kernels: repetitions ---------------------------------------------------------------------------------------------------------


@njit(cache=True)
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


@njit(cache=True)
def _duplicates(keys, lengths, count, numbers, known, slots, base):
    """Return how many keys equal an earlier one, the sum of their lengths, and the next base."""
    distinct, length = np.int64(_number(keys, count, numbers, known, slots, base)), 0
    first = 0  # the number of the next key that is new
    for i in range(count):
        length += 0 if numbers[i] == first else lengths[i]
        first += numbers[i] == first
    return count - distinct, length, base + np.uint64(distinct)


@njit(cache=True)
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


@njit(cache=True)
def _keep_repeated(n, count, distinct, reach, places, numbers, times):
    """Keep the n-grams that occur more than once; return how many places they have, and the characters of the most frequent one."""
    times[:distinct] = 0
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


@njit(cache=True)
def _pair(count, places, numbers, keys):
    """Make the keys of n-grams from the repeated (n-1)-grams that stand one word apart; return how many there are."""
    made = 0
    for i in range(count - 1):
        place = places[i]
        keys[made] = (np.uint64(numbers[i]) << np.uint64(32)) | np.uint64(numbers[i + 1])
        places[made] = place
        made += places[i + 1] - place == 1
    return made


@njit(cache=True)
def _utf8_bytes(codes, size):
    total = size
    for i in range(size):
        code = codes[i]
        total += np.int64(code > 0x7F) + np.int64(code > 0x7FF) + np.int64(code > 0xFFFF)
    return total


@njit(cache=True)
def _fill(codes, size, is_ascii, flags, tallies, stops, short, hashes, sizes, marks, slots, base, row):
    """Fill a row of facts about the text `codes[:size]`; returns the base of the next use of the slots.

    hashes: of words, lines, paragraphs; keys by number. sizes: reach of words, lengths of lines and paragraphs. marks: places, numbers, times.
    """
    words, lines, paragraphs = _scan(
        codes, size, flags, tallies, stops, short, hashes[0], sizes[0], hashes[1], sizes[1], hashes[2], sizes[2], row
    )
    row[_BYTES] = size if is_ascii else _utf8_bytes(codes, size)
    row[_CHARACTERS], row[_WORDS], row[_WORD_CHARACTERS] = size, words, sizes[0, words]
    row[_LINES], row[_PARAGRAPHS] = lines, paragraphs
    places, numbers, times, known = marks[0], marks[1], marks[2], hashes[3]
    copies, length, base = _duplicates(hashes[1], sizes[1], lines, numbers, known, slots, base)
    row[_DUPLICATE_LINES], row[_DUPLICATE_LINE_CHARACTERS] = copies, length
    copies, length, base = _duplicates(hashes[2], sizes[2], paragraphs, numbers, known, slots, base)
    row[_DUPLICATE_PARAGRAPHS], row[_DUPLICATE_PARAGRAPH_CHARACTERS] = copies, length
    for place in range(words):
        places[place] = place
    count = words
    for n in range(1, _LONGEST_NGRAM + 1):
        if n > 1:
            count = _pair(count, places, numbers, hashes[0])
        if count < 2:
            break
        distinct = _number(hashes[0], count, numbers, known, slots, base)
        base += distinct
        if n > 4:
            row[_DUPLICATE_5 + n - 5] = _covered(n, count, sizes[0], places, numbers)
        count, top = _keep_repeated(n, count, distinct, sizes[0], places, numbers, times)
        if 1 < n < 5:
            row[_TOP_2 + n - 2] = top
    return base


# --- the function others call -----------------------------------------------------------------------------------------------------


def measure(texts: list[str], short_line_characters: int = 30) -> np.ndarray:
    """Measure the facts of a batch of texts; float64[texts, FACTS]. Lines below `short_line_characters` characters are short."""
    longest = max((len(text) for text in texts), default=0)
    most_words = longest // 2 + 1
    codes = np.empty(longest + 1, dtype=np.uint32)
    hashes, sizes = np.empty((4, most_words), dtype=np.uint64), np.empty((3, most_words + 1), dtype=np.int64)
    marks = np.empty((3, most_words), dtype=np.uint32)
    slots, base = np.zeros(1 << (2 * most_words).bit_length(), dtype=np.uint64), 1
    facts = np.zeros((len(texts), len(FACTS)), dtype=np.float64)
    for text, row in zip(texts, facts, strict=True):
        encoding, unit = ("ascii", np.uint8) if text.isascii() else ("utf-32-le", np.uint32)
        for start in range(0, len(text), _SLICE):
            piece = text if len(text) <= _SLICE else text[start : start + _SLICE]
            codes[start : start + len(piece)] = np.frombuffer(piece.encode(encoding, "surrogatepass"), dtype=unit)
        codes[len(text)] = ord(" ")  # ends the last word
        if base > 1 << 31:  # numbers have 32 bits
            slots.fill(0)
            base = 1
        base = _fill(
            codes, len(text), text.isascii(), _flags(), _tallies(), _stops(), short_line_characters, hashes, sizes, marks, slots,
            np.uint64(base), row,
        )  # fmt: skip
    return facts
