"""Series of points to line charts: inline SVG with stage boundaries, thinned to what a page can show."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.panels.drawing import WIDTH, area, colour, polyline, rect, rule, svg, text
from tasks.panels.formats import compact, count, decimal, is_number, shortened, text_width, tick_texts, ticks

Point = tuple[float, float]
TIPS, END_SIZE = 60, 13.5


@dataclass(frozen=True)
class Series:
    """A named line; points that are not finite numbers are left out."""

    name: str
    points: Sequence[tuple[object, object]]

    def drawable(self) -> list[Point]:
        """Return the finite points."""
        return [(float(x), float(y)) for x, y in self.points if is_number(x) and is_number(y)]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Bucket:
    """Neighbouring points as one: their mean, and their range."""

    x: float
    mean: float
    low: float
    high: float


def buckets(points: Sequence[Point], most: int) -> list[Bucket]:
    """Thin points to at most `most` buckets of equal size, in order."""
    size = max(1, -(-len(points) // max(most, 1)))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        Bucket(
            sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group), min(y for _, y in group), max(y for _, y in group)
        )
        for group in groups
    ]


class Frame:
    """The plotting area: data to positions."""

    def __init__(self, points: Sequence[Point], size: tuple[float, float], from_zero: bool, top: float, reserved: float) -> None:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        self.x_low, self.x_high = min(xs), max(xs)
        low, high = min(ys), max(ys)
        pad = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
        self.y_low, self.y_high = (0.0 if from_zero and low >= 0 else low - pad), high + pad
        self.width, self.height, self.top = size[0], size[1], top
        self.levels = ticks(self.y_low, self.y_high, 4)
        self.left = max((text_width(written, 11) for written in tick_texts(self.levels)), default=0) + 8
        self.right, self.bottom = size[0] - reserved, size[1] - 36

    def x(self, value: float) -> float:
        """Place a value on the horizontal axis."""
        span = self.x_high - self.x_low
        return self.left + ((value - self.x_low) / span if span else 0.5) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Place a value on the vertical axis."""
        return self.bottom - (value - self.y_low) / (self.y_high - self.y_low) * (self.bottom - self.top)

    def axes(self, x_label: str) -> list[str]:
        """Draw grid lines, tick labels and the horizontal axis' name."""
        body = []
        for value, written in zip(self.levels, tick_texts(self.levels), strict=True):
            body += [
                rule(self.left, self.y(value), self.right, self.y(value), "grid"),
                text(self.left - 6, self.y(value) + 4, written, "tick", "end"),
            ]
        body.append(rule(self.left, self.bottom, self.right, self.bottom, "axis"))
        marks = ticks(self.x_low, self.x_high, max(3, int((self.right - self.left) // 90)))
        if self.x_high - self.x_low > 3:
            marks = [mark for mark in marks if mark == int(mark)]  # of steps there are no halves
        for value, written in zip(marks, tick_texts(marks), strict=True):
            half = text_width(written, 11) / 2
            x = self.x(value)
            body += [
                rule(x, self.bottom, x, self.bottom + 4, "axis"),
                text(min(max(x, half), self.width - half), self.bottom + 16, written, "tick", "middle"),
            ]
        body.append(text((self.left + self.right) / 2, self.height - 4, x_label, "tick", "middle"))
        return body


def line_chart(
    series: Sequence[Series], label: str, x_label: str, boundaries: Sequence[tuple[float, str]] = (),
    size: tuple[float, float] = (WIDTH, 280), from_zero: bool = False,
) -> str:  # fmt: skip
    """Draw lines over one axis; `boundaries` are (x, name) of stages, each drawn where it begins.

    More points than a third of the width are thinned to their mean, with the range of each bucket as a tint behind the line.
    """
    lines = [(number, one.name, one.drawable()) for number, one in enumerate(series)]
    lines = [line for line in lines if line[2]]
    points = [point for _, _, drawable in lines for point in drawable]
    if not points:
        return svg(size[0], 30, [text(0, 20, "nothing to show: no finite values were recorded", "muted")], label)
    most = int(size[0] / 3)
    thinned = [(number, name, buckets(drawable, most)) for number, name, drawable in lines]
    ends = [(thin[-1].mean, f"{name} {end_text(thin[-1].mean)}".strip(), colour(number)) for number, name, thin in thinned]
    reserved = max(text_width(written, END_SIZE) for _, written, _ in ends) + 8
    frame = Frame(points, size, from_zero, top=24 if any(name for _, name in boundaries) else 8, reserved=reserved)
    body = [*frame.axes(x_label), *boundary_lines(frame, boundaries)]
    for number, _, thin in thinned:
        if len(points) > most:
            upper, lower = [(frame.x(b.x), frame.y(b.high)) for b in thin], [(frame.x(b.x), frame.y(b.low)) for b in thin]
            body.append(area(upper, lower, f"band c{colour(number)}"))
        body.append(polyline([(frame.x(b.x), frame.y(b.mean)) for b in thin], f"curve s{colour(number)}"))
    body += end_labels(ends, frame)
    return svg(size[0], size[1], [*body, *tips(frame, [(name or label, thin) for _, name, thin in thinned], x_label)], label)


def boundary_lines(frame: Frame, boundaries: Sequence[tuple[float, str]]) -> list[str]:
    """Draw where each stage begins, its name above the lines and cut to the room it has."""
    inside = [(x, name) for x, name in boundaries if frame.x_low <= x <= frame.x_high]
    body = []
    for index, (value, name) in enumerate(inside):
        x = frame.x(value)
        until = frame.x(inside[index + 1][0]) if index + 1 < len(inside) else frame.width
        body.append(rule(x, frame.top - (14 if name else 0), x, frame.bottom, "boundary"))
        if name and until - x > 22:
            body.append(text(x + 4, frame.top - 5, shortened(name, until - x - 8), "label small"))
    return body


def end_text(value: float) -> str:
    """Write a line's last value, short enough for a margin."""
    return compact(value) if abs(value) >= 10_000 else decimal(value)


def end_labels(ends: Sequence[tuple[float, str, str]], frame: Frame) -> list[str]:
    """Write each line's name and last value beside its end, pushed apart so that none covers another."""
    body, taken = [], frame.top - 20
    for value, written, shade in sorted(ends, key=lambda end: -end[0]):
        taken = max(frame.y(value) + 4, taken + 14)
        body.append(text(frame.right + 6, taken, written, f"end t{shade}"))
    return body


def tips(frame: Frame, lines: Sequence[tuple[str, list[Bucket]]], x_label: str) -> list[str]:
    """Lay invisible strips over the chart, whose tooltips say the values below."""
    longest = max((thin for _, thin in lines), key=len)
    strips = longest[:: max(1, -(-len(longest) // (TIPS if frame.width > 400 else TIPS // 3)))]
    step = (frame.right - frame.left) / len(strips)
    body = []
    for strip in strips:
        said = [f"{x_label} {count(strip.x)}"]
        for name, thin in lines:
            said.append(f"{name} {decimal(min(thin, key=lambda bucket: abs(bucket.x - strip.x)).mean)}")
        left, right = max(frame.x(strip.x) - step / 2, frame.left), min(frame.x(strip.x) + step / 2, frame.right)
        body.append(rect(left, frame.top, right - left, frame.bottom - frame.top, "strip", " · ".join(said)))
    return body
