"""A text to a reason to drop it, or None: the rules that look at one document alone. Each is a pure function."""

import re
import string
import unicodedata
from collections import Counter

# everything that Moxin's section 3.2.1 strips before counting: punctuation, spaces, newlines, tabs
_STRIPPED = str.maketrans("", "", string.punctuation + string.whitespace)
_WORD = re.compile(r"\w+")
_SYMBOL = re.compile(r"[^\w\s]|\d")
_FREQUENT_ENGLISH = frozenset(
    "the be to of and that have with in is for it as was by on a he his they this but which or".split()  # noqa: SIM905  a list of words
)


def normalize(text: str) -> str:
    """Bring text to Unicode NFC and drop NULs, which no text needs and many tools trip over."""
    return unicodedata.normalize("NFC", text.replace("\x00", ""))


def is_too_short(text: str, min_characters: int) -> bool:
    """Tell whether fewer than `min_characters` remain after removing punctuation, spaces, newlines and tabs (Moxin 3.2.1).

    The longest prefix that could decide is looked at first: most documents are long, and passed at once.
    """
    head = text[: min_characters * 4]
    if len(head.translate(_STRIPPED)) >= min_characters:
        return False
    return len(text.translate(_STRIPPED)) < min_characters


def prose_quality(text: str) -> float:
    """Score how much a text looks like written prose, from 0 to 1: the worst of four shares, each cut at 1.

    Letters and spaces among characters (full at 0.8), distinct lines, frequent English words among words (full at 0.15), and
    words of 2 to 12 letters (full at 0.7). After Gopher's quality rules (arXiv 2112.11446, A.1.1), as one smooth score.
    """
    if not text.strip():
        return 0.0
    letters = 1.0 - len(_SYMBOL.findall(text)) / len(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = [word.lower() for word in _WORD.findall(text)]
    counts = Counter(words)
    total = max(len(words), 1)
    frequent = sum(counts[word] for word in _FREQUENT_ENGLISH) / total
    usual = sum(n for word, n in counts.items() if 2 <= len(word) <= 12) / total
    parts = (letters / 0.8, len(set(lines)) / max(len(lines), 1), frequent / 0.15, usual / 0.7)
    return round(min(1.0, *parts), 4)
