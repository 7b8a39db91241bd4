"""Code points to facts about a text: the compiled kernels beneath `tasks/curation/facts.py`.

Repeated lines, paragraphs and words are recognised by 64-bit hashes, n-grams exactly, by the numbers of their parts. n-grams go
level by level: one can occur twice only where both (n-1)-grams that it contains do, so each level looks at what was repeated on
the level before, and most texts need no level beyond the fourth.

Kernels use only what this file defines: numba's cache looks at one file's date, and would keep stale code of another's.
"""

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

_inner = njit(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by kernels alone: quicker to compile
_BASE = np.uint64(0xD1342543DE82EF95)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_LONGEST_NGRAM = 10
CHUNK = 2048  # characters that are cut into words at once: what is known of them stays in the first-level cache
# what a character is, one bit each; `_cut` relies on the first two
SPACE, ALPHABETIC, ALPHANUMERIC, STRIPPED, BULLET, END_OF_SENTENCE, CLOSING, STOP_INITIAL = (np.uint8(1 << bit) for bit in range(8))
(
    _BYTES, _CHARACTERS, _STRIPPED_CHARACTERS, _WORDS, _WORD_CHARACTERS, _HASHES, _ELLIPSES, _LINES, _BULLET_LINES, _ELLIPSIS_LINES,
    _ALPHABETIC_WORDS, _STOP_WORDS, _DUPLICATE_LINES, _LINE_CHARACTERS, _DUPLICATE_LINE_CHARACTERS, _PARAGRAPHS, _DUPLICATE_PARAGRAPHS,
    _DUPLICATE_PARAGRAPH_CHARACTERS, _TOP_2, _, _, _DUPLICATE_5, _, _, _, _, _, _END_LINES, _SHORT_LINES, _NEWLINES, _LONGEST_LINE,
    _ALPHANUMERICS,
) = range(len(FACTS))  # fmt: skip


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
    while start < end and not flags[codes[start]] & ALPHABETIC:
        start += 1
    return start < end


@_inner
def _count_line(codes, start, end, flags, short, row):
    """Add a line, given without the white space around it, to the counts of lines."""
    last = codes[end - 1]
    row[_LINE_CHARACTERS] += end - start
    row[_LONGEST_LINE] = max(row[_LONGEST_LINE], end - start)
    row[_SHORT_LINES] += end - start < short
    row[_BULLET_LINES] += (flags[codes[start]] & BULLET) != 0
    dots = end - start >= 3 and last == 46 and codes[end - 2] == 46 and codes[end - 3] == 46
    row[_ELLIPSIS_LINES] += dots or last == 0x2026
    after_end = end - start >= 2 and (flags[last] & CLOSING) != 0 and (flags[codes[end - 2]] & END_OF_SENTENCE) != 0
    row[_END_LINES] += after_end or (flags[last] & END_OF_SENTENCE) != 0


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
    for chunk in range(0, size + 1, CHUNK):
        cuts = _cut(codes, chunk, min(chunk + CHUNK, size + 1), flags, tallies, state, cuts, hashes, ends)
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
            alphabetic += (flags[codes[start]] & ALPHABETIC) != 0 or _is_alphabetic(codes, start, end, flags)
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
    while start < end and flags[codes[start]] & STRIPPED:
        start += 1
    while start < end and flags[codes[end - 1]] & STRIPPED:
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
def _count_stop_words(codes, distinct, flags, stops, reach, word_ends, firsts, row):
    """Look at the first occurrence of every word that may be a stop word, until all are found; overwrites `firsts`."""
    likely, found, everything = 0, 0, (1 << stops.size) - 1
    for number in range(distinct):
        i = np.int64(firsts[number])
        end = np.int64(word_ends[i])
        start = end - (reach[i + 1] - reach[i])
        start, end = start + np.int64((flags[codes[start]] & STRIPPED) != 0), end - np.int64((flags[codes[end - 1]] & STRIPPED) != 0)
        first, last = flags[codes[start]], flags[codes[end - 1]]  # after one mark of punctuation on either side
        is_likely = ((end - start < 5) & ((first & STOP_INITIAL) != 0)) | (((first | last) & STRIPPED) != 0)
        firsts[likely] = i
        likely += is_likely
    for j in range(likely):
        i = np.int64(firsts[j])
        end = np.int64(word_ends[i])
        found |= _stop_word(codes, end - (reach[i + 1] - reach[i]), end, flags, stops)
        if found == everything:
            break
    for bit in range(stops.size):
        row[_STOP_WORDS] += (found >> bit) & 1


# --- kernels: repetitions ---------------------------------------------------------------------------------------------------------


@_inner
def _number(keys, count, numbers, known, firsts, slots, base):
    """Give equal keys equal numbers, from 0 in the order of first occurrence; returns how many different ones there are.

    A slot holds 32 bits of a key's hash and base + its number; below `base` it is a leftover of an earlier use. known, firsts: by
    number, the key and where it occurs first. Whether a key is new cannot be predicted, so nothing but the end of the search branches.
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
        firsts[distinct] = i  # overwritten until `i` is the first occurrence of a new key
        distinct += np.uint64(is_free)
    return distinct


@_inner
def _duplicates(keys, lengths, count, numbers, known, firsts, slots, base):
    """Return how many keys equal an earlier one, the sum of their lengths, and the next base."""
    distinct, length = np.int64(_number(keys, count, numbers, known, firsts, slots, base)), 0
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
def _ngrams(codes, words, flags, stops, hashes, reach, marks, slots, base, row):
    """Fill the counts of stop words and of repeated n-grams from the hashes of the words; returns the next base.

    marks: places, numbers, times (at first where the words end), first occurrences.
    """
    places, numbers, times, firsts, known = marks[0], marks[1], marks[2], marks[3], hashes[3]
    count = words
    for n in range(1, _LONGEST_NGRAM + 1):
        if n > 1:
            count = _pair(count, places, numbers, hashes[0])
        if count < 1:
            break
        distinct = _number(hashes[0], count, numbers, known, firsts, slots, base)
        base += distinct
        if n == 1:
            _count_stop_words(codes, distinct, flags, stops, reach, times, firsts, row)
            for place in range(words):
                places[place] = place
        if n > 4:
            row[_DUPLICATE_5 + n - 5] = _covered(n, count, reach, places, numbers)
        count, top = _keep_repeated(n, count, distinct, reach, places, numbers, times)
        if 1 < n < 5:
            row[_TOP_2 + n - 2] = top
    return base


@njit(cache=True)
def fill(codes, starts, flags, tallies, stops, short, hashes, sizes, marks, slots, cutting, base, rows):
    """Fill the rows of texts that lie one after the other in `codes`, each with a space behind it; returns the next base.

    hashes: of words, lines, paragraphs; keys by number. sizes: reach of words, lengths of lines and paragraphs.
    """
    for i in range(rows.shape[0]):
        text, row = codes[starts[i] : starts[i + 1]], rows[i]
        size = text.size - 1
        words, lines, paragraphs = _scan(
            text, size, flags, tallies, short, hashes[0], sizes[0], marks[2], hashes[1], sizes[1], hashes[2], sizes[2], cutting, row
        )
        _symbols(text, size, row)
        row[_CHARACTERS], row[_WORDS], row[_WORD_CHARACTERS] = size, words, sizes[0, words]
        row[_LINES], row[_PARAGRAPHS] = lines, paragraphs
        copies, length, base = _duplicates(hashes[1], sizes[1], lines, marks[1], hashes[3], marks[3], slots, base)
        row[_DUPLICATE_LINES], row[_DUPLICATE_LINE_CHARACTERS] = copies, length
        copies, length, base = _duplicates(hashes[2], sizes[2], paragraphs, marks[1], hashes[3], marks[3], slots, base)
        row[_DUPLICATE_PARAGRAPHS], row[_DUPLICATE_PARAGRAPH_CHARACTERS] = copies, length
        base = _ngrams(text, words, flags, stops, hashes, sizes[0], marks, slots, base, row)
    return base
