"""A page's bytes to its text, by resiliparse, and a guard against pages that are nested to stop it.

resiliparse 2.0.1 was tried on such pages: nothing crashes it, but its time grows with the square of the number of elements that
are open at once (100,000 nested `<div>` take minutes), and of the attributes of one tag (50,000 take 5 seconds). The first is
recognised here; a caller that must never wait sets an alarm for the second.
"""

import re
from typing import Literal

import numpy as np

MAX_PAGE_BYTES = 32_000_000
MAX_OPEN_ELEMENTS = 2_000  # browsers stop at 512
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# elements that never hold others, and those that browsers close by themselves: real pages have thousands that stay `open`
_NEVER_OPEN = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"),
    *("p", "li", "td", "th", "tr", "dt", "dd", "option", "thead", "tbody", "tfoot", "colgroup", "optgroup"),
}
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9:-]{0,40})")


def extract_text(html: bytes, mode: Literal["main_content", "all_text"]) -> str:
    """Return a page's text: without navigation and footers (`main_content`), or all of it. The encoding is detected."""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(decode_page(html), main_content=mode == "main_content")


def decode_page(page: bytes) -> str:
    """Decode a page's bytes by their detected encoding, as the HTML5 standard names encodings; a byte order mark decides it."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    if page.startswith(BYTE_ORDER_MARK):
        return page[len(BYTE_ORDER_MARK) :].decode("utf-8", errors="replace")
    return bytes_to_str(page, detect_encoding(page))


def is_nested_too_deeply(html: bytes) -> bool:
    """Tell whether more than MAX_OPEN_ELEMENTS elements are open at once, void and self-closing ones not counted."""
    if html.count(b"<") <= MAX_OPEN_ELEMENTS:
        return False
    data = np.frombuffer(html, dtype=np.uint8)
    after = data[1:][data[:-1] == ord("<")]
    letters = (after | 32) - ord("a") < 26  # wraps below `a`
    steps = letters.view(np.int8) - (after == ord("/")).view(np.int8)
    if int(steps.cumsum(dtype=np.int32).max(initial=0)) <= MAX_OPEN_ELEMENTS:
        return False
    depth = 0
    for tag in _TAG.finditer(html):
        slash, name = tag.groups()
        if name.lower().decode() not in _NEVER_OPEN:
            depth = max(0, depth - 1) if slash else depth + 1
            if depth > MAX_OPEN_ELEMENTS:
                return True
    return False
