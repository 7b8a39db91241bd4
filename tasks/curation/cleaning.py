"""A raw text to a clean one, with a count of every kind of edit: Unicode, encoding, C4's lines, masks.

Unicode first: lone surrogates become U+FFFD, a byte order mark at the start goes, line ends become `\\n`, other control
characters but tabs go, the rest is brought to NFC. What looks like markup of a tokenizer, such as `<s>`, is text and stays.
"""

import re
import unicodedata

from recipes.curation import Rules
from tasks.curation.c4_lines import keep_lines
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
        page = keep_lines(text, rules.c4_lines)
        text, counts["citations_removed"], counts["lines_removed"] = page.text, page.citations_removed, page.lines_removed
        counts |= {"c4_sentences": page.sentences, "c4_page": page.has_fault}
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
