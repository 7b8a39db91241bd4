"""A page to those of its lines that count, after C4 (Raffel et al. 2020, section 2.2, and its published code), in one compiled pass.

A line is dropped if it does not end in . ! or ? (a closing quote may follow; an ellipsis is no end), if it has too few words, or
if it has one of the phrases of boilerplate, in any case. Citation marks go first. Of blank lines between lines that stay, one
stays. A page has a fault if it holds `{` or `lorem ipsum` anywhere.
"""

import re
from dataclasses import dataclass

import numpy as np
from numba import njit

from recipes.curation import C4Lines

_CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
# each with its rarest letter, at which the compiled pass stops to compare; those with one letter follow each other
_PHRASES = (
    ("javascript", "j"), ("cookie policy", "k"), ("uses cookies", "k"), ("use of cookies", "k"), ("use cookies", "k"),
    ("lorem ipsum", "m"), ("terms of use", "m"), ("privacy policy", "v"),
)  # fmt: skip
_STOP = 99
_LOREM = 6  # its number, from 1: it is a fault of the page, not of the line


@dataclass(frozen=True)
class Page:
    """What is left of a page."""

    text: str
    citations_removed: int
    lines_removed: int  # blank ones are not counted
    sentences: int
    has_fault: bool


def keep_lines(text: str, rule: C4Lines) -> Page:
    """Keep the lines that count.

    A line has one sentence more than it has places where a stop, or a closing double quote after one, meets a space.
    """
    citations = 0
    if "[" in text:
        text, citations = _CITATION.subn("", text)
    kind = ("ascii", np.uint8) if text.isascii() else ("utf-32-le", np.uint32)
    codes = np.frombuffer(text.encode(kind[0], "surrogatepass"), dtype=kind[1]).astype(np.uint32)
    ends = np.flatnonzero(codes == 10)
    spans = np.empty((len(ends) + 1, 3), dtype=np.int64)
    tallies = np.zeros(4, dtype=np.int64)
    pieces = _scan(codes, ends, rule.end_punctuation, rule.min_words_per_line, *_TABLES, spans, tallies)
    lines, kept, stops, faults = tallies.tolist()
    parts: list[str] = []
    for start, end, border in spans[:pieces].tolist():
        parts += ["\n\n" if border else "\n", text[start:end]]
    return Page("".join(parts[1:]), citations, lines - kept, kept + stops, bool(faults) or "{" in text)


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Write the phrases for the compiled pass: letters, lengths, the rare letter's place, and what to do at each character.

    That is _STOP for a stop, 0 for nothing, or the number of the first phrase (from 1) with this rare letter; from bit 8 on
    it has a bit for each letter (its lower five bits) that may follow, which settles most cases at once.
    """
    letters = np.zeros((len(_PHRASES), max(len(phrase) for phrase, _ in _PHRASES)), dtype=np.uint32)
    actions = np.zeros(128, dtype=np.int64)
    for number, (phrase, rare) in reversed(list(enumerate(_PHRASES))):
        letters[number, : len(phrase)] = [ord(letter) for letter in phrase]
        follows = 1 << (8 + (ord(phrase[phrase.index(rare) + 1]) & 31))
        for letter in (ord(rare), ord(rare.upper())):
            actions[letter] = (actions[letter] | follows) & ~0xFF | (number + 1)
    actions[[ord(stop) for stop in ".!?"]] = _STOP
    lengths = np.array([len(phrase) for phrase, _ in _PHRASES], dtype=np.int64)
    places = np.array([phrase.index(rare) for phrase, rare in _PHRASES], dtype=np.int64)
    return letters, lengths, places, actions


_TABLES = _tables()


@njit(cache=True)
def _is_space(code):
    """Tell what `str.isspace` tells."""
    if code <= 32:
        return code == 32 or 9 <= code <= 13 or 28 <= code <= 31
    if code < 0x1680:
        return code == 0x85 or code == 0xA0
    return 0x2000 <= code <= 0x200A or code in (0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)


@njit(cache=True)
def _is_stop(code):
    return code == 46 or code == 33 or code == 63  # . ! ?


@njit(cache=True)
def _ends_sentence(codes, start, end):
    code = codes[end - 1]
    if code == 34 or code == 39 or code == 0x201D or code == 0x2019:  # " ' ” ’
        return end - start > 1 and _is_stop(codes[end - 2])
    is_ellipsis = code == 46 and end - start > 2 and codes[end - 2] == 46 and codes[end - 3] == 46
    return _is_stop(code) and not is_ellipsis


@njit(cache=True)
def _has_words(codes, start, end, least):
    words, in_word = 0, False
    for place in range(start, end):
        is_space = _is_space(codes[place])
        words += not is_space and not in_word
        if words >= least:
            return True
        in_word = not is_space
    return words >= least


@njit(cache=True)
def _phrase_at(codes, place, number, letters, lengths, places):
    """Return the number (from 1) of the phrase whose rare letter stands at `place`, beginning with `number`; 0 for none."""
    rare = letters[number - 1, places[number - 1]]
    for row in range(number - 1, len(lengths)):
        if letters[row, places[row]] != rare:
            break
        start, same = place - places[row], 0
        while start >= 0 and same < lengths[row] and start + same < codes.size:
            code = codes[start + same]
            if code != letters[row, same] and not (65 <= code <= 90 and code + 32 == letters[row, same]):
                break
            same += 1
        if same == lengths[row]:
            return row + 1
    return 0


@njit(cache=True)
def _read_line(codes, start, end, letters, lengths, places, actions):
    """Return how many sentences end within a line, whether it has a phrase of boilerplate, and whether `lorem ipsum`."""
    stops, is_boilerplate, has_lorem = 0, False, False
    for place in range(start, end):
        action = actions[min(codes[place], 127)]
        if action == 0:
            continue
        if action == _STOP:
            after = place + 1
            if after < end and (codes[after] == 34 or codes[after] == 0x201D):
                after += 1
            stops += after < end and codes[after] == 32
        elif place + 1 < end and (action >> (8 + (codes[place + 1] & 31))) & 1:
            found = _phrase_at(codes, place, action & 0xFF, letters, lengths, places)
            has_lorem |= found == _LOREM
            is_boilerplate |= found != 0 and found != _LOREM
    return stops, is_boilerplate, has_lorem


@njit(cache=True)
def _scan(codes, ends, end_punctuation, least_words, letters, lengths, places, actions, spans, tallies):
    """Write the pieces to keep as (start, end, whether a blank line goes before); count lines, kept lines, stops and page faults."""
    pieces, border, line_start = 0, False, 0
    for line in range(len(ends) + 1):
        line_end = ends[line] if line < len(ends) else codes.size
        start, end = line_start, line_end
        line_start = line_end + 1
        while start < end and _is_space(codes[start]):
            start += 1
        while end > start and _is_space(codes[end - 1]):
            end -= 1
        if start == end:
            border = pieces > 0
            continue
        tallies[0] += 1
        stops, is_boilerplate, has_lorem = _read_line(codes, start, end, letters, lengths, places, actions)
        tallies[3] += has_lorem
        is_sentence = not end_punctuation or _ends_sentence(codes, start, end)
        if is_boilerplate or not is_sentence or not _has_words(codes, start, end, least_words):
            continue
        tallies[1] += 1
        tallies[2] += stops
        gap = start - spans[pieces - 1, 1] if pieces else 0
        if gap == 1 or (gap == 2 and border):  # as in the page: one piece
            spans[pieces - 1, 1] = end
        else:
            spans[pieces, 0], spans[pieces, 1], spans[pieces, 2] = start, end, border
            pieces += 1
        border = False
    return pieces
