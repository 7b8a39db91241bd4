"""The table of planted cases: for every rule and each of its parts, a document on either side of the limit, known by hand."""

import math

import numpy as np
import pytest

from recipes.curation import Curation, Source
from recipes.errors import BadInput
from tasks.curation.cleaning import clean
from tasks.curation.code_files import is_generated, programming_language
from tasks.curation.facts import FACTS, measure
from tasks.curation.rules import COLUMNS, REASONS, decide, explain_row

NEUTRAL = {
    "fault": "", "hash_place": 0.25, "blocked_url": False, "language": "en", "language_score": 0.9, "quality": math.nan, "c4_page": False,
    "c4_sentences": 0, "benchmark_matches": 0, "licences": "", "programming_language": "", "generated": False,
}  # fmt: skip
FIELDS = {"url": "url", "path": "path"}
WIDE = {  # every rule on, and so wide that nothing fails: each case narrows one limit
    "min_characters": 0, "max_characters": 10**6, "html": None, "blocked_urls": True,
    "language": {"keep": ["en", "de"], "min_score": 0.0},
    "c4_lines": {"end_punctuation": False, "min_words_per_line": 0, "min_sentences": 0},
    "gopher_quality": {
        "words": [0, 10**6], "mean_word_length": [0.001, 1000], "max_symbols_per_word": 1.0, "max_bullet_lines": 1.0,
        "max_ellipsis_lines": 1.0, "min_alphabetic_words": 0.0, "min_stop_words": 0,
    },
    "gopher_repetition": {
        "duplicate_lines": 1.0, "duplicate_paragraphs": 1.0, "duplicate_line_characters": 1.0, "duplicate_paragraph_characters": 1.0,
        "top_ngram_characters": [1.0, 1.0, 1.0], "duplicate_ngram_characters": [1.0] * 6,
    },
    "fineweb_quality": {
        "min_lines_with_end_punctuation": 0.0, "max_duplicate_line_characters": 1.0, "max_short_lines": 1.0, "short_line_characters": 10,
        "max_lines_per_word": 100,
    },
    "code": {
        "licences": None, "languages": None, "max_line_characters": 10**6, "max_mean_line_characters": 1e6, "min_alphanumeric": 0.0,
        "drop_generated": False,
    },
    "quality": True, "decontaminate": True,
}  # fmt: skip


def curation(rule: str = "", limits: object = None, **source) -> tuple[Curation, Source]:
    """Make a section whose one source has WIDE rules, with `limits` narrowing one of them."""
    rules = WIDE | ({rule: WIDE[rule] | limits if isinstance(limits, dict) else limits} if rule else {})
    values = {
        "sources": [{"name": "a", "kind": "c4", "format": "jsonl", "location": "a.jsonl", "licence": "MIT", "rules": "wide", "fields": FIELDS} | source],
        "rules": {"wide": rules}, "max_unreadable_fraction": 0.1, "blocked_urls": "list.txt",
        "language_model": {"location": "m", "licence": "x", "sha256": None},
        "quality": {"load": {"location": "m", "licence": "x", "sha256": None}, "label": "hq", "keep_fraction": 0.1},
        "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9}, "near_duplicates": {},
        "decontamination": {"location": "b.jsonl", "ngram_words": 13, "max_matches": 1},
    }  # fmt: skip
    section = Curation.model_validate(values)
    return section, section.sources[0]


def columns_of(text: str, section: Curation, **changes) -> dict[str, np.ndarray]:
    """Clean and measure a text as the pipeline does; `changes` plant what other modules measure."""
    rules = section.rules["wide"]
    text, counts = clean(text, rules)
    row = NEUTRAL | {name: counts[name] for name in ("c4_sentences", "c4_page")} | {"generated": is_generated(text)} | changes
    row |= dict(zip(FACTS, measure([text], rules.fineweb_quality.short_line_characters)[0], strict=True))
    return {name: np.array([row[name]]) for name in COLUMNS}


def reason(text: str, rule: str = "", limits: object = None, threshold: float | None = None, source: dict | None = None, **changes) -> str:
    section, origin = curation(rule, limits, **(source or {}))
    return REASONS[decide(columns_of(text, section, **changes), origin, section, threshold)[0]]


TEN = "one two three four five six seven eight nine ten"  # 10 words of 39 characters, 48 with spaces
ABC = "a b c d e f g h i j k l m n o p q r s t"  # 20 words of one character, 39 with spaces

# name: text, rule, a limit that it meets, the next one that it does not, reason
CASES = {
    "characters without punctuation and white space": ("a, b!\tc", "min_characters", 3, 4, "too_short"),
    "characters of the longest document": ("abcdef", "max_characters", 6, 5, "too_long"),
    "C4 sentences": ("One is here. Two is. Three!", "c4_lines", {"min_sentences": 3}, {"min_sentences": 4}, "c4_lines"),
    "C4 lines without a stop are not counted": (
        "Home\nOne is here.\nMenu", "c4_lines", {"end_punctuation": True, "min_sentences": 1}, {"end_punctuation": True, "min_sentences": 2}, "c4_lines",
    ),
    "C4 lines of few words are not counted": (
        "One two.\nOne two three.", "c4_lines", {"min_words_per_line": 3, "min_sentences": 1}, {"min_words_per_line": 3, "min_sentences": 2}, "c4_lines",
    ),
    "Gopher, too few words": (TEN, "gopher_quality", {"words": [10, 99]}, {"words": [11, 99]}, "gopher_quality"),
    "Gopher, too many words": (TEN, "gopher_quality", {"words": [1, 10]}, {"words": [1, 9]}, "gopher_quality"),
    "Gopher, words too short (3.9)": (TEN, "gopher_quality", {"mean_word_length": [3.9, 9]}, {"mean_word_length": [4, 9]}, "gopher_quality"),
    "Gopher, words too long (3.9)": (TEN, "gopher_quality", {"mean_word_length": [1, 3.9]}, {"mean_word_length": [1, 3.8]}, "gopher_quality"),
    "Gopher, hashes (2 of 10 words)": (
        "#a #b c d e f g h i j", "gopher_quality", {"max_symbols_per_word": 0.2}, {"max_symbols_per_word": 0.19}, "gopher_quality",
    ),
    "Gopher, ellipses (2 of 10 words)": (
        "a... b… c d e f g h i j", "gopher_quality", {"max_symbols_per_word": 0.2}, {"max_symbols_per_word": 0.19}, "gopher_quality",
    ),
    "Gopher, bullet lines (2 of 4)": (
        "- a\n• b\nc\nd", "gopher_quality", {"max_bullet_lines": 0.5}, {"max_bullet_lines": 0.49}, "gopher_quality",
    ),
    "Gopher, ellipsis lines (1 of 4)": (
        "a...\nb\nc\nd", "gopher_quality", {"max_ellipsis_lines": 0.25}, {"max_ellipsis_lines": 0.24}, "gopher_quality",
    ),
    "Gopher, alphabetic words (3 of 4)": (
        "a b c 17", "gopher_quality", {"min_alphabetic_words": 0.75}, {"min_alphabetic_words": 0.76}, "gopher_quality",
    ),
    "Gopher, different stop words (the, of)": (
        "the the The, of", "gopher_quality", {"min_stop_words": 2}, {"min_stop_words": 3}, "gopher_quality",
    ),
    "Gopher, repeated lines (1 of 4)": (
        "aa\nbb\naa\ncc", "gopher_repetition", {"duplicate_lines": 0.25}, {"duplicate_lines": 0.24}, "gopher_repetition",
    ),
    "Gopher, repeated paragraphs (1 of 3)": (
        "aa\n\nbb\n\naa", "gopher_repetition", {"duplicate_paragraphs": 0.34}, {"duplicate_paragraphs": 0.33}, "gopher_repetition",
    ),
    "Gopher, characters of repeated lines (2 of 8)": (
        "aa\nbb\naa", "gopher_repetition", {"duplicate_line_characters": 0.25}, {"duplicate_line_characters": 0.24}, "gopher_repetition",
    ),
    "Gopher, characters of repeated paragraphs (2 of 10)": (
        "aa\n\nbb\n\naa", "gopher_repetition", {"duplicate_paragraph_characters": 0.2}, {"duplicate_paragraph_characters": 0.19}, "gopher_repetition",
    ),
    "Gopher, the 2-gram `x y` twice: 6 of 9 characters": (
        "x y q x y", "gopher_repetition", {"top_ngram_characters": [0.67, 1, 1]}, {"top_ngram_characters": [0.66, 1, 1]}, "gopher_repetition",
    ),
    "Gopher, the 3-gram `x y z` twice: 10 of 13 characters": (
        "x y z q x y z", "gopher_repetition", {"top_ngram_characters": [1, 0.77, 1]}, {"top_ngram_characters": [1, 0.76, 1]}, "gopher_repetition",
    ),
    "Gopher, the 4-gram `w x y z` twice: 14 of 17 characters": (
        "w x y z q w x y z", "gopher_repetition", {"top_ngram_characters": [1, 1, 0.83]}, {"top_ngram_characters": [1, 1, 0.82]}, "gopher_repetition",
    ),
    "FineWeb, lines with end punctuation (2 of 4)": (
        "a.\nb?”\nc\nd", "fineweb_quality", {"min_lines_with_end_punctuation": 0.5}, {"min_lines_with_end_punctuation": 0.51}, "fineweb_quality",
    ),
    "FineWeb, characters of repeated lines (2 of 6)": (
        "aa\nbb\naa", "fineweb_quality", {"max_duplicate_line_characters": 0.34}, {"max_duplicate_line_characters": 0.33}, "fineweb_quality",
    ),
    "FineWeb, short lines (1 of 2)": (
        "short\nlonger than ten", "fineweb_quality", {"max_short_lines": 0.5}, {"max_short_lines": 0.49}, "fineweb_quality",
    ),
    "FineWeb, newlines per word (3 of 4)": (
        "a\nb\nc\nd", "fineweb_quality", {"max_lines_per_word": 0.75}, {"max_lines_per_word": 0.74}, "fineweb_quality",
    ),
    "code, the longest line (5)": ("ab\nabcde\n", "code", {"max_line_characters": 5}, {"max_line_characters": 4}, "code"),
    "code, the mean line ((2 + 0 + 4) / 3)": ("ab\n\nabcd", "code", {"max_mean_line_characters": 2}, {"max_mean_line_characters": 1.9}, "code"),
    "code, letters and digits (2 of 8)": ("a = ((1)", "code", {"min_alphanumeric": 0.25}, {"min_alphanumeric": 0.26}, "code"),
    "code, a program wrote it": ("# Auto-Generated by x\na = 1", "code", {"drop_generated": False}, {"drop_generated": True}, "code"),
}  # fmt: skip
for n, place in zip(range(5, 11), range(6), strict=True):  # n letters, a word, the same n letters: n of 4n + 1 characters occurred before
    words = ABC.split()[:n]
    passing, failing = [1.0] * 6, [1.0] * 6
    passing[place], failing[place] = math.ceil(100 * n / (4 * n + 1)) / 100, math.ceil(100 * n / (4 * n + 1)) / 100 - 0.01
    CASES[f"Gopher, a repeated {n}-gram: {n} of {4 * n + 1} characters"] = (
        " ".join([*words, "z", *words]), "gopher_repetition", {"duplicate_ngram_characters": passing}, {"duplicate_ngram_characters": failing},
        "gopher_repetition",
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_document_at_the_limit_is_kept_and_one_past_it_is_dropped_for_the_rules_reason(case: str):
    text, rule, passing, failing, expected = CASES[case]
    assert reason(text, rule, passing) == ""
    assert reason(text, rule, failing) == expected


PLANTED = {  # name: what other modules measured, rule, limits, reason
    "a record that could not be read": ({"fault": "unreadable"}, "", None, "unreadable"),
    "a record cut off by its length": ({"fault": "too_long"}, "", None, "too_long"),
    "a record that ended its process": ({"fault": "crashed"}, "", None, "crashed"),
    "an address on the block list": ({"blocked_url": True}, "", None, "blocked_url"),
    "another language": ({"language": "fr"}, "", None, "language"),
    "a language in capitals is the same": ({"language": "DE"}, "", None, ""),
    "an uncertain language": ({"language_score": 0.49}, "language", {"min_score": 0.5}, "language"),
    "a certain one": ({"language_score": 0.5}, "language", {"min_score": 0.5}, ""),
    "no language at all": ({"language": "", "language_score": 0.0}, "", None, "language"),
    "as many shared n-grams as allowed": ({"benchmark_matches": 1}, "", None, ""),
    "one more": ({"benchmark_matches": 2}, "", None, "contaminated"),
    "an allowed programming language": ({"programming_language": "Python"}, "code", {"languages": ["python"]}, ""),
    "another programming language": ({"programming_language": "Go"}, "code", {"languages": ["Python"]}, "code"),
    "an unknown extension": ({"programming_language": ""}, "code", {"languages": ["Python"]}, "code"),
    "an allowed licence": ({"licences": "apache-2.0"}, "code", {"licences": ["Apache-2.0"]}, ""),
    "two licences, both allowed": ({"licences": "MIT, Apache-2.0"}, "code", {"licences": ["Apache-2.0", "MIT"]}, ""),
    "two licences, one not": ({"licences": "MIT,GPL-3.0"}, "code", {"licences": ["Apache-2.0", "MIT"]}, "code"),
    "no licence: the source's, which is MIT": ({"licences": ""}, "code", {"licences": ["MIT"]}, ""),
    "no licence, and the source's is not allowed": ({"licences": ""}, "code", {"licences": ["BSD"]}, "code"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_other_modules_measure_decides_as_the_table_says(case: str):
    changes, rule, limits, expected = PLANTED[case]
    assert reason(TEN, rule, limits, **changes) == expected


@pytest.mark.parametrize(("place", "expected"), [(0.0, ""), (0.4999, ""), (0.5, "not_sampled"), (0.9, "not_sampled")])
def test_a_sample_takes_its_start_and_leaves_its_end_to_the_next(place: float, expected: str):
    assert reason(TEN, hash_place=place, source={"sample": [0.0, 0.5]}) == expected
    assert reason(TEN, hash_place=place, source={"sample": [0.5, 1.0]}) == ("not_sampled" if expected == "" else "")


@pytest.mark.parametrize(("score", "expected"), [(0.5, ""), (0.49, "low_quality")])
def test_a_score_at_the_threshold_is_kept(score: float, expected: str):
    assert reason(TEN, threshold=0.5, quality=score) == expected
    assert reason(TEN, threshold=None, quality=score) == ""


def test_a_document_that_would_be_kept_unscored_stops_the_decision():
    with pytest.raises(ValueError, match="source 'a': 1 documents pass every other rule and have no quality score"):
        reason(TEN, threshold=0.5)
    assert reason(TEN, threshold=0.5, blocked_url=True) == "blocked_url"


def test_a_programming_language_that_no_extension_has_is_bad_input():
    with pytest.raises(BadInput, match=r"code.languages Phyton: no file extension has this name: use one of Ada, .*Python"):
        reason(TEN, "code", {"languages": ["Go", "Phyton"]})


@pytest.mark.parametrize("page", ["Lorem IPSUM dolor.", "function() { return 1; }."])
def test_a_page_with_lorem_ipsum_or_a_brace_is_dropped(page: str):
    assert reason(page) == "c4_lines"
    assert reason(page, "c4_lines", None) == ""


def test_an_empty_document_has_shares_of_0_and_fails_lower_limits_only():
    assert reason("") == "gopher_quality"  # mean word length 0 is below 0.001
    assert reason("", "gopher_quality", None) == ""


def test_rules_that_are_off_drop_nothing():
    section, source = curation()
    off = section.model_copy(update={"rules": {"wide": section.rules["wide"].model_validate({"min_characters": 0, "max_characters": 9})}})
    everything = NEUTRAL | {
        "blocked_url": True,
        "language": "xx",
        "c4_page": True,
        "benchmark_matches": 99,
        "quality": 0.0,
        "generated": True,
    }
    columns = {name: np.array([everything.get(name, 0)]) for name in COLUMNS}
    assert decide(columns, source, off, 0.5).tolist() == [0]


def test_the_first_reason_in_order_wins():
    section, source = curation("min_characters", 100)
    columns = columns_of(TEN, section, blocked_url=True, language="fr", benchmark_matches=9, quality=0.0)
    order = []
    while (number := decide(columns, source, section, 0.5)[0]) != 0:
        order.append(REASONS[number])
        columns |= {
            "blocked_url": {"blocked_url": np.array([False])}, "too_short": {"stripped_characters": np.array([200])},
            "language": {"language": np.array(["en"])}, "contaminated": {"benchmark_matches": np.array([0])}, "low_quality": {"quality": np.array([1.0])},
        }[REASONS[number]]  # fmt: skip
    assert order == ["blocked_url", "too_short", "language", "contaminated", "low_quality"]
    assert REASONS.index("blocked_url") < REASONS.index("near_duplicate") < len(REASONS) < 256


def test_documents_are_decided_each_for_itself():
    section, source = curation()
    both = [columns_of(TEN, section, language=language) for language in ("en", "fr", "de")]
    columns = {name: np.concatenate([one[name] for one in both]) for name in COLUMNS}
    assert [REASONS[number] for number in decide(columns, source, section, None)] == ["", "language", ""]


@pytest.mark.parametrize("case", CASES)
def test_an_explanation_names_exactly_the_checks_that_a_decision_failed(case: str):
    text, rule, _, failing, expected = CASES[case]
    section, source = curation(rule, failing)
    columns = columns_of(text, section)
    failed = [row for row in explain_row({name: values[0] for name, values in columns.items()}, source, section, None) if not row[3]]
    name = {"too_short": "min_characters", "too_long": "max_characters"}.get(expected, expected)
    assert [row[0].partition(".")[0] for row in failed] == [name]


def test_an_explanation_lists_value_and_limit_of_every_rule_that_is_on():
    section, source = curation("gopher_quality", {"min_stop_words": 3})
    row = {name: values[0] for name, values in columns_of("the cat of that", section, quality=0.25).items()}
    told = {rule: (value, limit, passed) for rule, value, limit, passed in explain_row(row, source, section, 0.5)}
    assert told["gopher_quality.min_stop_words"] == (3.0, ">= 3", True)
    assert told["gopher_quality.words"] == (4.0, "0 to 1e+06", True)
    assert told["quality"] == (0.25, ">= 0.5", False)
    assert told["language.keep"] == ("en", "one of en, de", True)
    assert len([rule for rule in told if rule.startswith("gopher_repetition.")]) == 13
    assert len([rule for rule in told if rule.startswith("gopher_quality.")]) == 8
    assert len([rule for rule in told if rule.startswith("fineweb_quality.")]) == 4


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/a.py", "Python"), (".rs", "Rust"), ("cpp", "C++"), ("C:\\x\\Makefile", "Makefile"), ("A.JSX", "JavaScript"), ("a.unknown", ""),
        ("", ""), (None, ""),
    ],
)  # fmt: skip
def test_a_files_name_says_its_programming_language(path, expected):
    assert programming_language(path) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("// Code generated by protoc. DO NOT EDIT.\n", True), ("/* @generated */", True), ("\n\n\n\n# automatically generated\n", True),
        ("\n\n\n\n\n# automatically generated\n", False), ("# edit me\nx = 1\n", False), ("x" * 5000 + "do not edit", False),
    ],
)  # fmt: skip
def test_a_generated_file_says_so_in_its_first_five_lines(text: str, expected: bool):
    assert is_generated(text) is expected
