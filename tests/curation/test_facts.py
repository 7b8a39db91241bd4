"""The compiled facts against a plain Python reference of every one of them, and against counts by hand."""

import re
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.curation.facts import FACTS, measure

BULLETS = tuple("•‣▶◀◦■□▪▫–-*")
NASTY = [
    "", " ", "\n", " \u2003\n\u00a0", "a", "\x00", "\x00a a \x00a", "one\r\ntwo\r\n\r\nthree", "\x1cx\x1dy\x85z\u3000w", "....",
    "......", ".. .", "#.#..#...#…...",
    "a b a b a b a b a b a b a b", "x " * 50, "same\n same \nsame\n\nsame\n \nsame", "q\n\n\nq\n\n q\n", "He said 'stop.' \"Go!\"\nNo”\nYes?”\n.",
    "\u0660\u0661 ² ½ Ⅷ", "\ud800 lone", "中文。中文。\n中文。", "THE, 'be' (to) -of- and... that! have? WITH", "the\u2019 be. wiTh\u212a", "l" * 300,
    "…\n… \na…",
    "- a\n* b\n– c\n-", "a\vb\fc", "\u2028a\u2028\n\u2029b", "\ufeffthe the", "one two three four five one two three four five one two three four five",
    "a b c a b c a b c", "aa b aa b ccccc ddddd ccccc ddddd", "\U0001f600\U0001f600 \U0001f600",
]  # fmt: skip


def _ngram_facts(words: list[str]) -> dict[str, float]:
    facts = {}
    for n in range(2, 11):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        most = max(counts.values(), default=0)
        if n < 5:
            longest = max((len(" ".join(gram)) for gram, count in counts.items() if count == most), default=0)
            facts[f"top_{n}gram_characters"] = most * longest if most > 1 else 0
            continue
        seen: set[tuple[str, ...]] = set()
        covered: set[int] = set()
        for place, gram in enumerate(grams):
            if gram in seen:
                covered.update(range(place, place + n))
            seen.add(gram)
        facts[f"duplicate_{n}gram_characters"] = sum(len(words[place]) for place in covered)
    return facts


def _copies(parts: list[str]) -> list[str]:
    return [part for place, part in enumerate(parts) if part in parts[:place]]


def _reference(text: str, short: int = 30) -> dict[str, float]:
    words = text.split()
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    stops = {word.lower().strip(string.punctuation) for word in words} & set("the be to of and that have with".split())  # noqa: SIM905
    return {
        "bytes": len(text.encode("utf-8", "surrogatepass")),
        "characters": len(text),
        "stripped_characters": len(text.translate(str.maketrans("", "", string.punctuation + string.whitespace))),
        "words": len(words),
        "word_characters": sum(map(len, words)),
        "hash_symbols": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "lines": len(lines),
        "bullet_lines": sum(line.startswith(BULLETS) for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines),
        "alphabetic_words": sum(any(letter.isalpha() for letter in word) for word in words),
        "stop_words": len(stops),
        "duplicate_lines": len(_copies(lines)),
        "line_characters": sum(map(len, lines)),
        "duplicate_line_characters": sum(map(len, _copies(lines))),
        "paragraphs": len(paragraphs),
        "duplicate_paragraphs": len(_copies(paragraphs)),
        "duplicate_paragraph_characters": sum(map(len, _copies(paragraphs))),
        **_ngram_facts(words),
        "end_punctuation_lines": sum(re.search("[.!?][\"”’']?$", line) is not None for line in lines),
        "short_lines": sum(len(line) < short for line in lines),
        "newlines": text.count("\n"),
        "max_line_characters": max(map(len, lines), default=0),
        "alphanumeric_characters": sum(letter.isalnum() for letter in text),
    }


def _compare(texts: list[str], short: int = 30) -> None:
    measured = measure(texts, short)
    assert measured.shape == (len(texts), len(FACTS)) and measured.dtype == np.float64
    for text, row in zip(texts, measured.tolist(), strict=True):
        assert dict(zip(FACTS, row, strict=True)) == _reference(text, short), repr(text[:200])


def test_the_reference_knows_every_fact_in_order() -> None:
    assert tuple(_reference("a")) == FACTS


@pytest.mark.parametrize("short", [1, 5, 30])
def test_nasty_texts_measure_as_plain_python_counts_them(short: int) -> None:
    _compare(NASTY, short)


WORDS = st.sampled_from(["a", "bb", "the", "The", "with,", "...", "…", "#", "-", "*x", "end.", 'said."', "42", "é", "\x00", "中", "\ud800"])
GAPS = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\n \n", "\t", "\u2003", "\x1c", "\u2028"])


@given(parts=st.lists(st.tuples(WORDS, GAPS), max_size=120))
@settings(max_examples=200, deadline=None)
def test_repetitive_texts_measure_as_plain_python_counts_them(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in parts)
    _compare([text, text[1:], text.strip(), text * 2])


@given(texts=st.lists(st.text(alphabet=st.one_of(st.characters(), st.sampled_from(" \n.ab"))), max_size=4), short=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_any_texts_measure_as_plain_python_counts_them(texts: list[str], short: int) -> None:
    _compare(texts, short)


def test_every_code_point_is_white_space_letter_or_digit_as_in_python() -> None:
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    letters = [chr(point) for point in points]
    text = "".join(letters)
    row = dict(zip(FACTS, measure([text])[0].tolist(), strict=True))
    assert row["words"] == len(text.split()) and row["alphanumeric_characters"] == sum(map(str.isalnum, letters))
    alternating = " ".join(letters)  # every letter that is not white space is a word of its own
    assert dict(zip(FACTS, measure([alternating])[0].tolist(), strict=True))["alphabetic_words"] == sum(map(str.isalpha, letters))


def test_a_long_text_is_measured_across_the_borders_of_its_slices() -> None:
    generator = np.random.default_rng(5)
    words = [f"w{n}" if n % 9 else f"ü{n}.\n" for n in generator.integers(0, 400, 40_000)]
    text = " ".join(words)
    assert len(text) > 2 * 65_536
    row = dict(zip(FACTS, measure(["short", text, ""])[1].tolist(), strict=True))
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    expected = {"words": 40_000, "characters": len(text), "bytes": len(text.encode()), "lines": len(lines), **_ngram_facts(text.split())}
    assert {name: row[name] for name in expected} == expected


def test_facts_of_a_small_text_counted_by_hand() -> None:
    row = dict(zip(FACTS, measure(["- to be or not to be...\n\nto be or not to be...\n"])[0].tolist(), strict=True))
    assert (row["lines"], row["paragraphs"], row["bullet_lines"], row["ellipsis_lines"], row["ellipses"]) == (2, 2, 1, 2, 2)
    assert row["words"] == 13 and row["stop_words"] == 2 and row["alphabetic_words"] == 12
    assert row["top_2gram_characters"] == 2 * len("to be...")  # `to be` and `not to` occur twice too, and are shorter
    assert row["top_3gram_characters"] == 2 * len("not to be...")
    assert row["top_4gram_characters"] == 2 * len("or not to be...")
    assert row["duplicate_6gram_characters"] == len("tobeornottobe...") and row["duplicate_7gram_characters"] == 0
    assert row["duplicate_lines"] == 0 and row["newlines"] == 3 and row["max_line_characters"] == 23


def test_no_texts_have_no_rows() -> None:
    assert measure([]).shape == (0, len(FACTS))
