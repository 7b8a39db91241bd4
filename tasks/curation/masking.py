"""A text to the same text with e-mail addresses, IP addresses, phone numbers and keys replaced by fixed placeholders.

What each pattern takes is decided for precision: a version number must not become an address. Patterns are tried only at the
places where a cheap scan finds a start (an `@`, a run of digits), and each is bounded, so that any text costs linear time.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

PLACEHOLDERS = {"email": "email@example.com", "ip": "<IP_ADDRESS>", "phone": "<PHONE_NUMBER>", "key": "<KEY>"}

_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_LOCAL = re.compile(r"[A-Za-z0-9_.+%-]{1,64}\Z")  # RFC 5321: 64 characters before the `@`
_IPV4 = re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?!\w|\.\w)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{1,40}(?<!:)(?!\w|:\w)|(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{0,40}::")
_VERSION = re.compile(r"(?:(?:version|release|build|firmware|driver|update|\bver|\brev|\bv)\.?[ :=]{0,3}|[A-Za-z][-/])\Z", re.IGNORECASE)
# with its country: + and digits in groups; without: North American three-three-four
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+[0-9]{1,3}(?:[ .-]?\([0-9]{1,5}\))?(?:[ .-]?[0-9]{2,5}){2,5}"
    r"|(?:1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[.-])[0-9]{3}[ .-][0-9]{4})(?![\w-]|\.[0-9])"
)
_PHONE_DIGITS = (8, 15)  # E.164 allows 15; fewer than 8 is no number with its country
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|sk-[A-Za-z0-9_-]{20,200}+|gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_[A-Za-z0-9_]{22,255}+"
    r"|xox[abprs]-[A-Za-z0-9-]{10,200}+|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{30,60}+)(?![A-Za-z0-9])"
)
# a cheap condition, and what then has to occur: two dozen searches of every text would be dear
_KEY_STARTS = (
    ("A", ("AKIA", "ASIA", "AIza")),
    ("-", ("sk-", "xox")),
    ("_", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_")),
)
_PRIVATE_BEGIN, _PRIVATE_END = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"), re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY-----")
_PRIVATE_LONGEST = 20_000  # characters; a key without its end is masked up to its next blank line, or so far
_SECRET_WORDS = ("key", "token", "secret", "password", "passwd")
_ASSIGNED = re.compile(r"[\"']?[ \t]{0,4}[:=][ \t]{0,4}[\"']?([A-Za-z0-9+/_.-]{16,200}+={0,2})(?![A-Za-z0-9+/_.-])")
_MIN_ENTROPY = 3.5  # bits a character: detect-secrets' limits are 3 for hexadecimal and 4.5 for base64


def mask(text: str, kinds: Iterable[str]) -> tuple[str, dict[str, int]]:
    """Replace what the kinds name (`email`, `ip`, `phone`, `key`); return the text and how many of each were replaced, if any."""
    wanted, counts = set(kinds), {}
    for kind, find in _FINDERS.items():  # in this order whatever the recipe's: keys may hold what looks like the others
        if kind in wanted and (spans := find(text)):
            text, counts[kind] = _replaced(text, spans, PLACEHOLDERS[kind])
    return text, counts


def _replaced(text: str, spans: list[tuple[int, int]], placeholder: str) -> tuple[str, int]:
    """Replace the spans; of overlapping ones the earlier wins."""
    parts: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if start >= position:
            parts += [text[position:start], placeholder]
            position = end
    return "".join([*parts, text[position:]]), len(parts) // 2


def _emails(text: str) -> list[tuple[int, int]]:
    spans = []
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        local = _LOCAL.search(text, max(0, at - 64), at) if domain else None
        if domain and local and text[local.start() : domain.end()] != PLACEHOLDERS["email"]:
            spans.append((local.start(), domain.end()))
        at = text.find("@", at + 1)
    return spans


def _addresses(text: str) -> list[tuple[int, int]]:
    """Find public addresses; 127.0.0.1, 10.0.0.0/8 and other reserved ranges name nobody, and `version 1.2.3.4` is a version."""
    spans = []
    codes, starts, ends = _digit_runs(text)
    joined = (starts[1:] - ends[:-1] == 1) & (codes[ends[:-1]] == ord(".")) if len(starts) > 3 else np.zeros(0, dtype=bool)
    four = np.flatnonzero(joined[:-2] & joined[1:-1] & joined[2:]) if len(joined) > 2 else joined
    for pattern, places in ((_IPV4, starts[four]), (_IPV6, starts[codes[np.minimum(starts + 4, len(codes) - 1)] == ord(":")])):
        for place in places.tolist():
            match = pattern.match(text, place)
            if match and _is_public(match.group(0)) and not _VERSION.search(text, max(0, place - 12), place):
                spans.append(match.span())
    return spans


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:  # 300.1.1.1 is no address
        return False


def _phones(text: str) -> list[tuple[int, int]]:
    spans = []
    codes, starts, ends = _digit_runs(text)
    if not len(starts):
        return spans
    before = np.where(starts > 0, codes[starts - 1], 0)
    after = np.where(ends < len(codes), codes[np.minimum(ends, len(codes) - 1)], 0)
    lengths = ends - starts
    opened = (before == ord("+")) | (before == ord("("))
    plain = ((lengths == 3) & ((after == ord(".")) | (after == ord("-")))) | ((lengths == 1) & (after != 0) & (codes[starts] == ord("1")))
    for place in sorted([*(starts[opened] - 1).tolist(), *starts[plain].tolist()]):
        match = _PHONE.match(text, place)
        if match and _PHONE_DIGITS[0] <= sum(c.isdigit() for c in match.group(0)) <= _PHONE_DIGITS[1]:
            spans.append(match.span())
    return spans


def _digit_runs(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the text's characters as bytes (`?` beyond Latin-1), and the start and end of every run of the digits 0 to 9."""
    codes = np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)
    digit = np.zeros(len(codes) + 2, dtype=np.int8)
    digit[1:-1] = (codes - np.uint8(48)) < 10
    change = np.diff(digit)
    return codes, np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _keys(text: str) -> list[tuple[int, int]]:
    spans = _private_keys(text) if "PRIVATE KEY-----" in text else []
    if any(start in text for sign, starts in _KEY_STARTS if sign in text for start in starts):
        spans += [match.span() for match in _KEY.finditer(text)]
    lowered = text.replace("\u0130", "i").lower()  # the one letter whose lower case is longer: places stay the same
    for word in _SECRET_WORDS:
        place = lowered.find(word)
        while place >= 0:
            match = _ASSIGNED.match(text, place + len(word))
            if match and _is_random(match.group(1)):
                spans.append(match.span(1))
            place = lowered.find(word, place + len(word))
    return spans


def _private_keys(text: str) -> list[tuple[int, int]]:
    spans = []
    position = 0
    while begin := _PRIVATE_BEGIN.search(text, position):
        limit = begin.end() + _PRIVATE_LONGEST
        end = _PRIVATE_END.search(text, begin.end(), limit)
        blank = text.find("\n\n", begin.end(), limit)
        position = end.end() if end else blank if blank >= 0 else min(limit, len(text))
        spans.append((begin.start(), position))
    return spans


def _is_random(value: str) -> bool:
    """Tell whether a value looks drawn at random: letters and digits mixed, and many different ones."""
    if not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= _MIN_ENTROPY


_FINDERS: dict[str, Callable[[str], list[tuple[int, int]]]] = {"key": _keys, "email": _emails, "ip": _addresses, "phone": _phones}
