"""Numbers and foreign text to what a reader sees: thousands separators, percentages, axis ticks, escaped and shortened text."""

import html
import math
import re
from collections.abc import Iterable

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")
NARROW, WIDE = set("iljtfrI.,:;!'|()[]/ ·"), set("mwMW@%")


def escaped(text: object) -> str:
    """Escape text for HTML and for attributes; characters that XML forbids become U+FFFD."""
    return html.escape(UNPRINTABLE.sub("\ufffd", str(text)))


def count(value: float) -> str:
    """Write a whole number with thousands separators."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Write a number with three significant digits and a suffix: 1234567 becomes 1.23M, 999999 becomes 1M."""
    value = float(f"{value:.3g}")
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit:
            return f"{float(f'{value / limit:.3g}'):g}{suffix}"
    return f"{value:g}"


def decimal(value: float) -> str:
    """Write a measurement with about four significant digits."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.{3 if abs(value) < 10 else 2 if abs(value) < 100 else 1}f}"
    return count(value) if abs(value) >= 1000 else scientific(value)


def scientific(value: float) -> str:
    """Write a very small number: 0.00043 becomes 4.3e-4."""
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def share(part: float, whole: float) -> str:
    """Write a part of a whole as a percentage; a dash when there is no whole."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %"


def words(identifier: str) -> str:
    """Write an identifier as words: near_duplicate becomes near duplicate."""
    return identifier.replace("_", " ")


def amount(number: int, noun: str) -> str:
    """Write a number with its noun in the right form: 1 document, 2 documents."""
    return f"{count(number)} {noun if number == 1 else noun + 's'}"


def text_width(text: str, size: float = 12) -> float:
    """Estimate how wide a sans-serif text is drawn, a little on the safe side."""
    units = 0.0
    for letter in text:
        if letter in NARROW:
            units += 0.36
        elif letter in WIDE:
            units += 0.9
        else:
            units += 1.0 if ord(letter) > 0x2E80 else 0.72 if letter.isupper() else 0.62
    return units * size


def shortened(text: str, width: float, size: float = 12) -> str:
    """Cut text with an ellipsis so that it is drawn within a width."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about as many round numbers within a range as asked for: steps of 1, 2, 2.5 or 5 times a power of ten."""
    if not high > low:
        return [low]
    power = math.floor(math.log10((high - low) / max(about, 1)))
    steps = [factor * 10.0 ** (power + more) for more in (0, 1) for factor in (1, 2, 2.5, 5)]
    step = min(steps, key=lambda step: abs(math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1 - about))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12 - power) for index in range(first, last + 1)]


def tick_texts(values: list[float]) -> list[str]:
    """Write the ticks of one axis in the same form: as few decimals as tell them apart."""
    largest = max((abs(value) for value in values), default=0)
    if 0 < largest < 0.01:
        return ["0" if value == 0 else scientific(value).replace(".0e", "e") for value in values]
    if largest >= 10_000:
        return [compact(value) for value in values]
    digits = next((n for n in range(5) if all(abs(value - round(value, n)) < 1e-9 for value in values)), 5)
    return [f"{value:,.{digits}f}" for value in values]


def finite(values: Iterable[object]) -> list[float]:
    """Keep the values that are numbers: no None, NaN or infinity."""
    return [float(value) for value in values if is_number(value)]


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def clock(seconds: float) -> str:
    """Write a duration as 7s, 3m07s or 2h05m."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
