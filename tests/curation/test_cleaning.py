"""Cleaning and masking, with texts whose clean form is written out, and hostile texts that may cost no more than linear time."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.curation import Rules
from tasks.curation.cleaning import EDITS, clean
from tasks.curation.masking import PLACEHOLDERS, mask

PLAIN = Rules(min_characters=0, max_characters=10**9)
REPAIR = PLAIN.model_copy(update={"repair_encoding": True})
ALL_MASKS = list(PLACEHOLDERS)
C4 = Rules.model_validate(
    {"min_characters": 0, "max_characters": 10**9, "c4_lines": {"end_punctuation": True, "min_words_per_line": 3, "min_sentences": 3}}
)
EMAIL, ADDRESS, PHONE, KEY = (PLACEHOLDERS[kind] for kind in ("email", "ip", "phone", "key"))


def edits(counts: dict) -> dict:
    """Return what was counted, without the zeros."""
    return {name: number for name, number in counts.items() if number}


@pytest.mark.parametrize(
    ("raw", "expected", "counted"),
    [
        ("plain text\twith a tab\n", "plain text\twith a tab\n", {}),
        ("a\r\nb\rc\x0cd\x0be\x85f", "a\nb\nc\nd\ne\nf", {}),  # every end of a line
        ("a\x00b\x07c\x7fd\x9fe", "abcde", {"controls_removed": 4}),
        ("e\u0301", "\u00e9", {"normalized": 1}),
        ("\ufeffa\ufeff", "a\ufeff", {}),  # a byte order mark is one at the start only
        ("\ud83d\ude00 \ud800!", "\U0001f600 \ufffd!", {"surrogates_replaced": 1}),
        ("<s>[INST] <|endoftext|></s>", "<s>[INST] <|endoftext|></s>", {}),  # text that looks like control tokens is text
        ("", "", {}),
    ],
)
def test_unicode_is_brought_to_one_form_and_edits_are_counted(raw: str, expected: str, counted: dict):
    text, counts = clean(raw, PLAIN)
    assert (text, edits(counts)) == (expected, counted)
    assert set(EDITS) | {"c4_sentences", "c4_page"} == set(counts)


@given(st.text(st.characters(exclude_categories=())))
def test_a_clean_text_is_valid_without_controls_normal_and_stays_as_it_is(raw: str):
    text, _ = clean(raw, PLAIN)
    text.encode("utf-8")
    assert unicodedata.is_normalized("NFC", text)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text)
    again, counts = clean(text.removeprefix("\ufeff"), PLAIN)
    assert again == text.removeprefix("\ufeff") and not edits(counts)


def test_mojibake_is_repaired_only_where_a_set_of_rules_asks_for_it():
    broken = "It\u00e2\u20ac\u2122s sch\u00c3\u00b6n\nand caf\u00e9 is right"
    assert clean(broken, PLAIN)[0] == broken
    text, counts = clean(broken, REPAIR)
    assert text == "It\u2019s sch\u00f6n\nand caf\u00e9 is right"
    assert edits(counts) == {"lines_repaired": 1}


def test_c4_keeps_sentences_and_counts_what_it_removes():
    page = (
        "Home\n"  # no stop
        "\n\n"
        "This is a line. And two.\n"
        "Two words.\n"  # fewer than three
        "Please enable JavaScript now.\n"
        "We use cookies on this site.\n"
        "See our Privacy Policy for more.\n"
        "\n"
        "He said “go away.” Then he left[1][citation needed].\n"
        '  She asked: "why me?"  \n'
        "I am going on and on...\n"  # an ellipsis is no end
        "\n"
    )
    text, counts = clean(page, C4)
    assert text == 'This is a line. And two.\n\nHe said “go away.” Then he left.\nShe asked: "why me?"'
    assert edits(counts) == {"citations_removed": 2, "lines_removed": 6, "c4_sentences": 5}


@pytest.mark.parametrize(
    ("page", "fault"), [("A good page with words.", False), ("if (x) { y }", True), ("LOREM\nipsum", False), ("dolor Lorem Ipsum", True)]
)
def test_c4_finds_the_fault_of_a_page_even_on_a_line_that_is_removed(page: str, fault: bool):
    assert clean(page, C4)[1]["c4_page"] is fault
    assert clean(page, PLAIN)[1]["c4_page"] is False


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("email", "Write to jo.doe+list@mail.example.co.uk.", f"Write to {EMAIL}."),
        ("email", "user@localhost, a @ b.com, @handle", "user@localhost, a @ b.com, @handle"),
        ("email", "a@b.org;c@d.net", f"{EMAIL};{EMAIL}"),
        ("ip", "from 8.8.8.8:53 and 1.1.1.1.", f"from {ADDRESS}:53 and {ADDRESS}."),
        ("ip", "127.0.0.1, 10.1.2.3, 192.168.0.1, 300.1.1.1", "127.0.0.1, 10.1.2.3, 192.168.0.1, 300.1.1.1"),
        ("ip", "version 1.2.3.4, v1.2.3.4, Chrome/5.6.7.8, 1.2.3.4.5", "version 1.2.3.4, v1.2.3.4, Chrome/5.6.7.8, 1.2.3.4.5"),
        ("ip", "host 2001:4860:4860::8888!", f"host {ADDRESS}!"),
        ("ip", "at 12:30:45, std::vector, fe80::1, 2001:zz", "at 12:30:45, std::vector, fe80::1, 2001:zz"),
        ("phone", "(415) 555-2671 or 415-555-2671 or 1 415 555 2671", f"{PHONE} or {PHONE} or 1 415 555 2671"),
        ("phone", "+1 415 555 2671, +44 20 7946 0958, +49 (30) 901820", f"{PHONE}, {PHONE}, {PHONE}"),
        (
            "phone",
            "2020-01-01, 3.14159265, ISBN 978-3-16-148410-0, 1234567890",
            "2020-01-01, 3.14159265, ISBN 978-3-16-148410-0, 1234567890",
        ),
        ("key", "AKIAIOSFODNN7EXAMPLE", KEY),
        ("key", "sk-abcdefghijklmnopqrstuvwx and ghp_" + "a1" * 18, f"{KEY} and {KEY}"),
        ("key", "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nrest", f"{KEY}\nrest"),
        ("key", "API_KEY = 'f3Kd92Lm4ZpQ8xYt7WvB'", f"API_KEY = '{KEY}'"),
        (
            "key",
            "token: correcthorsebatterystaple, key=aaaaaaaaaaaaaaaaaaaaaaa1",
            "token: correcthorsebatterystaple, key=aaaaaaaaaaaaaaaaaaaaaaa1",
        ),
        ("key", "the risk-averse key to success: patience", "the risk-averse key to success: patience"),
        ("key", "\u0130\u0130 Secret=f3Kd92Lm4ZpQ8xYt7WvB", f"\u0130\u0130 Secret={KEY}"),  # a letter whose lower case is longer
    ],
)
def test_each_mask_takes_what_it_names_and_leaves_what_looks_alike(kind: str, raw: str, expected: str):
    text, counts = mask(raw, [kind])
    assert text == expected
    assert counts == ({kind: expected.count(PLACEHOLDERS[kind])} if text != raw else {})


def test_masks_are_off_unless_named_and_masking_again_changes_nothing():
    raw = "jo@example.org 8.8.8.8 +1 415 555 2671 AKIAIOSFODNN7EXAMPLE"
    assert clean(raw, PLAIN)[0] == raw
    text, counts = clean(raw, PLAIN.model_copy(update={"mask": ALL_MASKS}))
    assert text == f"{EMAIL} {ADDRESS} {PHONE} {KEY}"
    assert edits(counts) == {"masked_email": 1, "masked_ip": 1, "masked_phone": 1, "masked_key": 1}
    assert mask(text, ALL_MASKS) == (text, {})


@given(st.text(alphabet="a1.:@+-()=key \n"))
def test_masking_counts_what_it_replaces_and_is_done_after_one_pass(raw: str):
    text, counts = mask(raw, ALL_MASKS)
    assert (text != raw) == bool(counts) and all(text.count(PLACEHOLDERS[kind]) >= count for kind, count in counts.items())
    assert mask(text, ALL_MASKS) == (text, {})


@pytest.mark.parametrize(
    "piece",
    [
        "a", "a@", "a.", "x@a-", "1.", "1", ":", "2001:", "+1 ", "+", "111-", "+1 (1", "key=",
        "key    ", "key=a", "sk-", "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----", "[1", ". ", '."', "\n", "\r", "\x00", "{",
    ],
)  # fmt: skip
def test_a_megabyte_of_hostile_text_costs_linear_time(piece: str):
    text = piece * (1_000_000 // len(piece))
    rules = C4.model_copy(update={"mask": ALL_MASKS})
    begun = time.process_time()
    clean(text, rules)
    assert time.process_time() - begun < 10.0  # about one at worst; a quadratic pattern takes minutes
