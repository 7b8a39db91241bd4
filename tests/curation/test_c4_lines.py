"""C4's lines: the compiled pass against the same rules written plainly."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recipes.curation import C4Lines
from tasks.curation.c4_lines import keep_lines

BOILERPLATE = ("javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def plainly(text: str, rule: C4Lines) -> tuple[str, int, int, int, bool]:
    """Do what `keep_lines` does, line by line."""
    text, citations = re.subn(r"\[[0-9]*\]|\[edit\]|\[citation needed\]", "", text)
    kept: list[str] = []
    removed = sentences = 0
    border = False
    for line in map(str.strip, text.split("\n")):
        lowered = "".join(letter.lower() if letter.isascii() else letter for letter in line)
        ends = re.search(r"[.!?][\"'”’]?\Z", line) and not line.endswith("...")
        if not line:
            border = bool(kept)
        elif (
            (ends or not rule.end_punctuation)
            and len(line.split()) >= rule.min_words_per_line
            and not any(p in lowered for p in BOILERPLATE)
        ):
            kept.append("\n" + line if border else line)
            sentences += 1 + len(re.findall(r"[.!?][\"”]?(?= )", line))
            border = False
        else:
            removed += 1
    fault = "{" in text or any("lorem ipsum" in "".join(c.lower() if c.isascii() else c for c in line) for line in text.split("\n"))
    return "\n".join(kept), citations, removed, sentences, fault


def compiled(text: str, rule: C4Lines) -> tuple[str, int, int, int, bool]:
    page = keep_lines(text, rule)
    return page.text, page.citations_removed, page.lines_removed, page.sentences, page.has_fault


PIECES = [
    "a", "b c", "d e f", ".", "!", "?", '"', "'", "”", "’", "...", " ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u2003", "\u3000", "é", "{", "[1]", "[edit]",
    "[x]",
    "JavaScript", "java", "we use Cookies", "use of cookies", "Terms of Use", "terms of us", "privacy policy", "Cookie policy", "cookie",
    "Lorem ipsum", "lorem\nipsum", "m", "k", "v", "j", "\U0001f600",
]  # fmt: skip


@settings(deadline=None)  # the first example compiles
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.booleans(), st.integers(0, 4))
@example("", True, 3)
@example("a\n\nb", False, 0)
@example("\n\na b c.\n \n\nd e f.\nx\ng h i.\n", True, 3)
@example("kkk", False, 0)
@example("vjmk", False, 0)
def test_the_compiled_pass_does_what_the_rules_say(text: str, end_punctuation: bool, least: int):
    rule = C4Lines(end_punctuation=end_punctuation, min_words_per_line=least, min_sentences=0)
    assert compiled(text, rule) == plainly(text, rule)


@settings(deadline=None)
@given(st.text(), st.booleans())
def test_it_does_so_for_any_text(text: str, end_punctuation: bool):
    rule = C4Lines(end_punctuation=end_punctuation, min_words_per_line=2, min_sentences=0)
    assert compiled(text, rule) == plainly(text, rule)


@pytest.mark.parametrize("piece", ["use cookie", "k", "jmvk", ". ", "\n", " ", "[", "lorem ipsu"])
def test_hostile_text_costs_linear_time(piece: str):
    begun = time.process_time()
    keep_lines(piece * (2_000_000 // len(piece)), C4Lines(end_punctuation=True, min_words_per_line=3, min_sentences=3))
    assert time.process_time() - begun < 5.0
