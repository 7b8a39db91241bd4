"""A raw text to a clean one, with a count of every kind of edit: Unicode, encoding, C4's lines, masks.

Unicode first: lone surrogates become U+FFFD, a byte order mark at the start goes, line ends become `\\n`, other control
characters but tabs go, the rest is brought to NFC. What looks like markup of a tokenizer, such as `<s>`, is text and stays.
"""

import re
import unicodedata

from recipes.curation import C4Lines, Rules
from tasks.curation.masking import PLACEHOLDERS, mask

EDITS = (
    "surrogates_replaced", "controls_removed", "lines_repaired", "normalized", "citations_removed", "lines_removed",
    *(f"masked_{kind}" for kind in PLACEHOLDERS),
)  # fmt: skip

# what str.splitlines takes for the end of a line: dropped, it would join two words
_LINE_ENDS = "\r\v\f\x1c\x1d\x1e\x85"
_CONTROLS = {**dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)]), **dict.fromkeys(map(ord, _LINE_ENDS), "\n"), 0x09: "\t", 0x0A: "\n"}
_CONTROL_BYTES = bytes(code for code in _CONTROLS if code < 0x80 and code not in (0x09, 0x0A))
_C1_BYTES = re.compile(rb"\xc2[\x80-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

_CITATION = re.compile(r"\[[0-9]*\]|\[edit\]|\[citation needed\]")
_STOPS = (".", "!", "?")
_LINE_STOPS = (*_STOPS, *(stop + quote for stop in _STOPS for quote in "\"”’'"))
_MARKS = ("javascript", "cookie", "terms of use", "privacy policy")  # none of these in the page: no line has one of _BOILERPLATE
_BOILERPLATE = ("javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def clean(text: str, rules: Rules) -> tuple[str, dict[str, int | bool]]:
    """Clean a text by a set of rules; return it with the counts of EDITS, `c4_sentences` and `c4_page`.

    `c4_sentences` is the number of sentences left by C4's lines and `c4_page` whether the page has a fault that C4 drops it
    for; 0 and False where the rule is off.
    """
    counts: dict[str, int | bool] = dict.fromkeys(EDITS, 0)
    counts |= {"c4_sentences": 0, "c4_page": False}
    text = _without_surrogates(text, counts)
    if rules.repair_encoding and not text.isascii():
        text = _repaired(text, counts)
    text = _without_controls(text, counts)
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text, counts["normalized"] = unicodedata.normalize("NFC", text), 1
    if rules.c4_lines is not None:
        text = _c4_lines(text, rules.c4_lines, counts)
    if rules.mask:
        text, masked = mask(text, rules.mask)
        counts |= {f"masked_{kind}": number for kind, number in masked.items()}
    return text, counts


def _without_surrogates(text: str, counts: dict[str, int | bool]) -> str:
    """Join pairs of surrogates to the character they mean, and replace the others, which UTF-8 cannot hold."""
    if text.isascii():
        return text
    try:
        text.encode()  # far quicker than a search
    except UnicodeEncodeError:
        joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        text, counts["surrogates_replaced"] = _SURROGATE.subn("\ufffd", joined)
    return text.removeprefix("\ufeff")


def _repaired(text: str, counts: dict[str, int | bool]) -> str:
    """Undo mojibake line by line, so that one broken quotation does not decide over the whole text."""
    from ftfy import fix_encoding

    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.isascii() and (fixed := fix_encoding(line)) != line:
            lines[number] = fixed
            counts["lines_repaired"] += 1
    return "\n".join(lines)


def _without_controls(text: str, counts: dict[str, int | bool]) -> str:
    data = text.encode()
    if len(data.translate(None, _CONTROL_BYTES)) == len(data) and (text.isascii() or not _C1_BYTES.search(data)):
        return text
    text = text.replace("\r\n", "\n")
    plain = text.translate(_CONTROLS)
    counts["controls_removed"] = len(text) - len(plain)
    return plain


def _c4_lines(text: str, rule: C4Lines, counts: dict[str, int | bool]) -> str:
    """Remove the lines that do not count (Raffel et al. 2020, section 2.2, and its code).

    They are: lines that end in no . ! or ? (a closing quote may follow; an ellipsis is no end), of too few words, or with a
    word that marks boilerplate. Citation marks go first. One blank line between paragraphs stays. A page fault is looked for
    in the whole page.
    """
    lowered = text.encode().lower()  # of bytes: quick in every language, and the marks are ASCII
    counts["c4_page"] = "{" in text or b"lorem ipsum" in lowered
    marked = any(mark.encode() in lowered for mark in _MARKS)
    if "[" in text:
        text, counts["citations_removed"] = _CITATION.subn("", text)
    kept: list[str] = []
    lines, border = 0, ""
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            border = "\n" if kept else ""
            continue
        lines += 1
        if _is_sentence(line, rule) and not (marked and _is_boilerplate(line)):
            kept.append(border + line)
            border = ""
    text = "\n".join(kept)
    counts["lines_removed"] = lines - len(kept)
    counts["c4_sentences"] = len(kept) + _inner_stops(text)
    return text


def _is_sentence(line: str, rule: C4Lines) -> bool:
    if rule.end_punctuation and (not line.endswith(_LINE_STOPS) or line.endswith("...")):
        return False
    least = rule.min_words_per_line
    return least < 2 or len(line.split(None, least - 1)) >= least


def _is_boilerplate(line: str) -> bool:
    lowered = line.lower()
    return any(mark in lowered for mark in _BOILERPLATE)


def _inner_stops(text: str) -> int:
    """Count the places where a stop, or a closing double quote after one, meets a space: there a sentence ends within a line."""
    ends = ("", *(quote for quote in '"”' if quote in text))
    return sum(text.count(stop + quote + " ") for stop in _STOPS if stop in text for quote in ends)
