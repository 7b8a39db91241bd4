"""Texts to the numbers that the heuristic rules need (Gopher, FineWeb, Moxin, code), by compiled kernels.

Characters are code points. Words are what `str.split()` gives, compared exactly. Lines are separated by "\\n" and paragraphs by
blank lines (`\\n\\s*\\n`); both are taken without the white space around them, and count only if something is left. Repeated
lines, paragraphs and words are recognised by 64-bit hashes, n-grams exactly by the numbers of their words.

Memory beside the texts: some 12 bytes a character of the longest text, 18 if it is all words of one letter.
Kernels call only kernels of this file: numba's cache looks at one file's date, and would keep stale code of another's.
"""

import functools
import string
from collections.abc import Iterator

import numpy as np
from numba import njit

from tasks.curation.repetition import REPETITIONS, RepetitionCounter

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

_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels alone: quicker to compile
_BASE = np.uint64(0xD1342543DE82EF95)
_CHUNK = 2048  # characters that are cut into words at once: what is known of them stays in the first-level cache
_SLICE = 1 << 16  # characters of short texts that are measured together
_PIECE = 1 << 14  # characters that are encoded at once
# what a character is, one bit each; `_cut` relies on the first two
_SPACE, _ALPHABETIC, _ALPHANUMERIC, _STRIPPED, _BULLET, _END, _CLOSING, _STOP_INITIAL = (np.uint8(1 << bit) for bit in range(8))
(
    _BYTES, _CHARACTERS, _STRIPPED_CHARACTERS, _WORDS, _WORD_CHARACTERS, _HASHES, _ELLIPSES, _LINES, _BULLET_LINES, _ELLIPSIS_LINES,
    _ALPHABETIC_WORDS, _STOP_WORDS, _, _LINE_CHARACTERS, _, _PARAGRAPHS, *_, _END_LINES, _SHORT_LINES, _NEWLINES, _LONGEST_LINE,
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
    initials = "".join(word[0] + word[0].upper() for word in STOP_WORDS)
    for letters, flag in (
        (string.punctuation + string.whitespace, _STRIPPED), (BULLETS, _BULLET), (".!?", _END), (CLOSING_QUOTES, _CLOSING),
        (initials, _STOP_INITIAL),
    ):  # fmt: skip
        flags[[ord(letter) for letter in sorted(set(letters))]] |= flag
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


@_inner
def _cut(codes, start, stop, flags, tallies, state, cuts, hashes, ends):
    """Cut `codes[start:stop]` into white space and words by turns: the hash of each and where it ends.

    Returns how many cuts are complete; the one after them is still open. Where a word ends cannot be predicted: nothing branches.
    Indices are unsigned, since numba tests signed ones for being negative.
    """
    value, was_space, tally, one = state[0], state[1], state[2], np.uint64(1)
    cut = np.uint64(cuts)
    for i in range(np.uint64(start), np.uint64(stop)):
        code = np.uint64(codes[i])
        flag = np.uint64(flags[code])
        is_space = flag & one
        begins = is_space ^ was_space
        was_space = is_space
        cut += begins
        # value * B + code, where the value of a new cut is 1, so that NULs at its beginning count
        value = value * (_BASE & (begins - one)) + (code + (_BASE & (np.uint64(0) - begins)))
        hashes[cut], ends[cut] = value, i + one
        tally += tallies[flag]
    state[0], state[1], state[2] = value, was_space, tally
    return np.int64(cut)


@_inner
def _newlines(codes, start, end):
    count = 0
    for i in range(start, end):
        count += np.int64(codes[i] == 10)
    return count


@_inner
def _is_alphabetic(codes, start, end, flags):
    while start < end and not flags[codes[start]] & _ALPHABETIC:
        start += 1
    return start < end


@_inner
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


@_inner
def _scan(codes, size, flags, tallies, short, words, reach, word_ends, lines, line_sizes, paragraphs, paragraph_sizes, cutting, row):
    """Read a text once: fill the counts of `row`, hash its words, lines and paragraphs. `codes[size]` is a space.

    reach[i]: characters of the words before word i. The hash of a line or paragraph takes in its words and what separates them.
    """
    hashes, ends, state = cutting[0], cutting[1], cutting[2]
    state[0], state[1], state[2] = 1, 1, 0  # the text begins in white space, which may be empty
    hashes[0], ends[0], reach[0] = 1, 0, 0
    zero = np.int64(0)  # not the literal: numba would compile what it is passed to for the literal, and then for a number
    line, paragraph, space = np.uint64(0), np.uint64(0), _BASE + np.uint64(32)
    count, line_count, paragraph_count, line_start, paragraph_start, end = zero, zero, zero, zero, zero, zero
    newlines, alphabetic, cuts = zero, zero, zero
    for chunk in range(0, size + 1, _CHUNK):
        cuts = _cut(codes, chunk, min(chunk + _CHUNK, size + 1), flags, tallies, state, cuts, hashes, ends)
        for cut in range(0, cuts - 1, 2):
            gap, start, word = hashes[cut], np.int64(ends[cut]), hashes[cut + 1]
            word ^= word >> np.uint64(32)
            line, paragraph = (line * _BASE + gap) * _BASE + word, (paragraph * _BASE + gap) * _BASE + word
            if gap != space or count == 0:
                breaks = _newlines(codes, end, start)
                newlines += breaks
                if count > 0 and breaks > 0:
                    _count_line(codes, line_start, end, flags, short, row)
                    line_sizes[line_count] = end - line_start
                    line_count += 1
                if count > 0 and breaks > 1:
                    paragraph_sizes[paragraph_count] = end - paragraph_start
                    paragraph_count += 1
                if count == 0 or breaks > 0:
                    line, line_start = word, start
                if count == 0 or breaks > 1:
                    paragraph, paragraph_start = word, start
            lines[line_count], paragraphs[paragraph_count] = line, paragraph
            end = np.int64(ends[cut + 1])
            alphabetic += (flags[codes[start]] & _ALPHABETIC) != 0 or _is_alphabetic(codes, start, end, flags)
            words[count], word_ends[count] = word, end
            count += 1
            reach[count] = reach[count - 1] + end - start
        done = cuts - cuts % 2
        hashes[0], ends[0] = hashes[done], ends[done]  # at most one complete cut is left, and the open one
        hashes[1], ends[1] = hashes[done + 1], ends[done + 1]
        cuts -= done
    if count > 0:
        _count_line(codes, line_start, end, flags, short, row)
        line_sizes[line_count], paragraph_sizes[paragraph_count] = end - line_start, end - paragraph_start
        line_count, paragraph_count = line_count + 1, paragraph_count + 1
    tally = state[2] - tallies[flags[codes[size]]]
    row[_STRIPPED_CHARACTERS], row[_ALPHANUMERICS] = tally & np.uint64(0xFFFFFFFF), tally >> np.uint64(32)
    row[_NEWLINES], row[_ALPHABETIC_WORDS] = newlines + _newlines(codes, end, size), alphabetic
    return count, line_count, paragraph_count


@_inner
def _symbols(codes, size, row):
    """Count what needs no words: UTF-8 bytes, hash symbols and ellipses. Counts of 32 bits, for eight at a time."""
    more, hashes, ellipses, dots = np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(0)
    for i in range(size):
        code = codes[i]
        more = np.uint32(more + np.uint32(code > 0x7F) + np.uint32(code > 0x7FF) + np.uint32(code > 0xFFFF))
        hashes = np.uint32(hashes + np.uint32(code == 35))
        ellipses = np.uint32(ellipses + np.uint32(code == 0x2026))
    one = np.uint64(1)
    for i in range(np.uint64(2), np.uint64(max(size, 2))):
        dots = np.uint32(dots + np.uint32((codes[i] == 46) & (codes[i - one] == 46) & (codes[i - one - one] == 46)))
    if dots > 0:  # few texts have any: only those are searched one by one
        dots, run = 0, 0
        for i in range(size):
            run = run + 1 if codes[i] == 46 else 0
            if run == 3:
                dots, run = dots + 1, 0
    row[_BYTES], row[_HASHES], row[_ELLIPSES] = size + np.int64(more), hashes, np.int64(ellipses) + np.int64(dots)


@_inner
def _stop_word(codes, start, end, flags, stops):
    """Return the bit of the stop word that lies between punctuation, or 0."""
    while start < end and flags[codes[start]] & _STRIPPED:
        start += 1
    while start < end and flags[codes[end - 1]] & _STRIPPED:
        end -= 1
    if end - start < 2 or end - start > 4:
        return 0
    size = np.uint32(end - start)
    third, fourth = codes[min(start + 2, end - 1)], codes[min(start + 3, end - 1)]
    if (codes[start] | codes[start + 1] | third | fourth) > 127:
        return 0
    word = codes[start] | (codes[start + 1] << np.uint32(8)) | (third << np.uint32(16)) | (fourth << np.uint32(24))
    word = (word | np.uint32(0x20202020)) & (np.uint32(0xFFFFFFFF) >> (np.uint32(8) * (np.uint32(4) - size)))  # lower case, cut off
    found = 0
    for number in range(stops.size):
        found |= np.int64(np.uint32(word) == stops[number]) << number
    return found


@_inner
def _likely_stop_words(codes, different, flags, reach, word_ends, firsts):
    """Keep those first places of words that may hold a stop word, and return how many those are."""
    likely = 0
    for j in range(different):
        i = np.int64(firsts[j])
        end = np.int64(word_ends[i])
        start = end - (reach[i + 1] - reach[i])
        start, end = start + np.int64((flags[codes[start]] & _STRIPPED) != 0), end - np.int64((flags[codes[end - 1]] & _STRIPPED) != 0)
        first, last = flags[codes[start]], flags[codes[end - 1]]  # after one mark of punctuation on either side
        firsts[likely] = i
        likely += ((end - start < 5) & ((first & _STOP_INITIAL) != 0)) | (((first | last) & _STRIPPED) != 0)
    return likely


@njit(cache=True)
def _count_stop_words(codes, starts, offsets, counts, flags, stops, reach, word_ends, firsts, rows):
    """Fill the count of different stop words, from the texts' different words."""
    for t in range(rows.shape[0]):
        text, lengths, ends, places = codes[starts[t] : starts[t + 1]], reach[offsets[t] :], word_ends[offsets[t] :], firsts[offsets[t] :]
        found = 0
        for j in range(_likely_stop_words(text, counts[t, 3], flags, lengths, ends, places)):
            i = np.int64(places[j])
            end = np.int64(ends[i])
            found |= _stop_word(text, end - (lengths[i + 1] - lengths[i]), end, flags, stops)
            if found == (1 << stops.size) - 1:
                break
        for bit in range(stops.size):
            rows[t, _STOP_WORDS] += (found >> bit) & 1


@njit(cache=True)
def _read(codes, starts, offsets, flags, tallies, short, hashes, sizes, word_ends, cutting, rows, counts):
    """Fill what one reading gives in the rows of texts that lie one after the other in `codes`, each with a space behind it.

    counts: words, lines and paragraphs of each text. Their hashes and sizes begin at the text's offset.
    """
    for t in range(rows.shape[0]):
        text, row, i = codes[starts[t] : starts[t + 1]], rows[t], offsets[t]
        size = text.size - 1
        words, lines, paragraphs = _scan(
            text, size, flags, tallies, short, hashes[0][i:], sizes[0][i:], word_ends[i:], hashes[1][i:], sizes[1][i:], hashes[2][i:],
            sizes[2][i:], cutting, row,
        )  # fmt: skip
        _symbols(text, size, row)
        row[_CHARACTERS], row[_WORDS], row[_WORD_CHARACTERS] = size, words, sizes[0, i + words]
        row[_LINES], row[_PARAGRAPHS] = lines, paragraphs
        counts[t, 0], counts[t, 1], counts[t, 2] = words, lines, paragraphs


# --- the function others call -----------------------------------------------------------------------------------------------------


def _groups(ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of texts that are measured by one call: short ones together, since a call costs as much as a kilobyte.

    ends: where the texts end when they lie one after the other.
    """
    first = 0
    while first < len(ends):
        start = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, start + _SLICE, side="right")), first + 1)
        yield first, last
        first = last


def _write_codes(text: str, codes: np.ndarray) -> None:
    """Write a text's code points to the beginning of `codes`, in pieces, so that a long text is not held three times over."""
    encoding, unit = ("ascii", np.uint8) if text.isascii() else ("utf-32-le", np.uint32)
    for start in range(0, len(text), _PIECE):
        piece = text[start : start + _PIECE]
        codes[start : start + len(piece)] = np.frombuffer(piece.encode(encoding, "surrogatepass"), dtype=unit)


def measure(texts: list[str], short_line_characters: int = 30) -> np.ndarray:
    """Measure the facts of a batch of texts; float64[texts, FACTS]. Lines below `short_line_characters` characters are short."""
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1  # each with a space behind it
    ends = np.cumsum(lengths)
    groups = list(_groups(ends))
    room = max((int(lengths[first:last].sum()) for first, last in groups), default=0)
    most_words = room // 2 + 2 * max((last - first for first, last in groups), default=0) + 2
    codes, cutting = np.empty(room, dtype=np.uint32), np.empty((3, _CHUNK + 4), dtype=np.uint64)
    hashes, sizes = np.empty((3, most_words), dtype=np.uint64), np.empty((3, most_words), dtype=np.int64)
    word_ends, firsts = np.empty((2, most_words), dtype=np.uint32)
    counter, columns = RepetitionCounter(most_words), [FACTS.index(name) for name in REPETITIONS]
    facts = np.zeros((len(texts), len(FACTS)), dtype=np.float64)
    for first, last in groups:
        _write_codes(" ".join([*texts[first:last], ""]), codes)
        starts = np.append(0, ends[first:last] - ends[first] + lengths[first])
        offsets = starts[:-1] // 2 + 2 * np.arange(last - first)  # a word takes two characters, and reach has one entry more
        counts, rows = np.zeros((last - first, 4), dtype=np.int64), facts[first:last]
        _read(codes, starts, offsets, _flags(), _tallies(), short_line_characters, hashes, sizes, word_ends, cutting, rows, counts)
        rows[:, columns] = counter.count(offsets, counts, hashes, sizes, firsts)
        _count_stop_words(codes, starts, offsets, counts, _flags(), _stops(), sizes[0], word_ends, firsts, rows)
    return facts
