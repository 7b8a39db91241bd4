"""Charts: well-formed SVG that says the numbers it draws."""

import xml.etree.ElementTree as ET

import pytest

from tasks.panels.charts import Dot as Measured
from tasks.panels.charts import DotRow, bars, dot_plot, edge_texts, funnel, grouped_bars, grouped_parts, histogram, place, stacked_bars
from tasks.panels.curves import Series, buckets, line_chart
from tasks.panels.formats import compact, decimal, share, shortened, text_width, tick_texts, ticks

EVIL = '<script>&\x00"'


def texts(chart: str) -> list[str]:
    """Return what a chart writes, without tooltips."""
    return ["".join(element.itertext()) for element in ET.fromstring(chart).iter("text")]


def titles(chart: str) -> list[str]:
    """Return a chart's tooltips."""
    return ["".join(element.itertext()) for element in ET.fromstring(chart).iter("title")]


def widths(chart: str, classes: str) -> list[float]:
    """Return the widths of a chart's rectangles of a class."""
    return [float(element.get("width", "0")) for element in ET.fromstring(chart).iter("rect") if element.get("class") == classes]


def test_bars_are_as_long_as_their_values_and_written_with_separators():
    chart = bars([("a", 20_000), ("b", 10_000)], "two bars")
    assert {"20,000", "10,000"} <= set(texts(chart))
    long, short = widths(chart, "c0")
    assert long == pytest.approx(2 * short, abs=0.2)


def test_every_chart_scales_to_its_container():
    root = ET.fromstring(bars([("a", 1)], "one"))
    assert root.get("width") == "100%" and root.get("viewBox") == "0 0 760 29"


def test_stacked_shares_write_percentages_inside_their_parts():
    chart = stacked_bars([("stage1", {"x": 750, "y": 250})], ["x", "y"], "mixture", shares=True)
    assert {"75 %", "25 %", "1,000"} <= set(texts(chart))
    assert "stage1, y: 250 (25.0 %)" in titles(chart)


def test_the_funnel_shows_what_each_rule_removes_and_what_stays():
    written = texts(funnel([("in", 1000), ("too short", 100), ("near duplicate", 400)], "funnel", "documents in", "kept"))
    assert {"1,000", "100  (10.0 %)", "400  (40.0 %)", "500  (50.0 %)", "− too short"} <= set(written)


def test_a_histogram_stacks_its_series_over_each_bin():
    chart = histogram([0, 1, 2], {"kept": [10, 0], "removed": [5, 5]}, "quality", "score")
    assert titles(chart) == ["0 to 1: 10 documents kept", "0 to 1: 5 documents removed", "1 to 2: 5 documents removed"]


def test_a_mark_lies_at_its_value_between_the_borders_of_its_bin():
    assert [place([0, 1, 3], value) for value in (-1, 0, 0.5, 2, 3, 9)] == [0, 0, 0.5, 1.5, 2, 2]
    chart = histogram([0, 1, 2], {"": [10, 10]}, "quality", "score", marks=[(1.0, "threshold 1")])
    first, second = (float(element.get("x", "0")) for element in ET.fromstring(chart).iter("rect"))
    (line,) = [element for element in ET.fromstring(chart).iter("line") if element.get("class") == "boundary"]
    assert first < float(line.get("x1", "0")) == pytest.approx(second, abs=0.6)
    assert "threshold 1" in texts(chart)


def test_powers_of_two_are_written_as_chunk_lengths_are_spoken_of():
    assert edge_texts([0, 64, 1024, 65536]) == ["0", "64", "1K", "64K"]
    assert edge_texts([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]


def test_a_line_chart_names_its_stages_where_they_begin_and_its_last_value():
    points = [(step, 8.0 - step / 100) for step in range(1, 101)]
    chart = line_chart([Series("", points)], "Loss", "step", [(1, "stage1"), (51, "stage2")])
    written = texts(chart)
    assert {"stage1", "stage2", "7.000", "step"} <= set(written)
    assert sum(element.get("class") == "boundary" for element in ET.fromstring(chart).iter("line")) == 2


def test_many_points_are_thinned_to_means_with_their_range():
    thin = buckets([(x, x % 2) for x in range(100)], 50)
    assert len(thin) == 50
    assert (thin[0].mean, thin[0].low, thin[0].high) == (0.5, 0, 1)
    assert len(line_chart([Series("", [(x, x % 7) for x in range(100_000)])], "Loss", "step")) < 20_000


def test_labels_of_lines_that_end_together_do_not_cover_each_other():
    chart = line_chart([Series("a", [(0, 0.0), (1, 5.0)]), Series("b", [(0, 1.0), (1, 5.0)])], "two", "step")
    ends = [float(element.get("y", "0")) for element in ET.fromstring(chart).iter("text") if "end" in element.get("class", "").split()]
    assert len(ends) == 2 and abs(ends[0] - ends[1]) >= 13


def test_a_dot_plot_marks_chance_and_the_reported_value():
    row = DotRow("arc", [Measured(30.0, 4.5), Measured(35.0)], chance=25.0, reported=[None, 55.2])
    chart = dot_plot([row], ["base", "chat"], "scores", "score, %", 60)
    assert {"30.0 ± 4.5", "35.0", "base", "chat"} <= set(texts(chart))
    assert {"arc, chance: 25.0", "arc, reported: 55.2"} <= set(titles(chart))


@pytest.mark.parametrize(
    "chart",
    [
        bars([], "none"),
        bars([("zero", 0)], "zero"),
        stacked_bars([], [], "none"),
        stacked_bars([("zero", {})], ["x"], "zero", shares=True),
        grouped_bars([("gap", [None, 0.0])], ["a", "b"], "gap"),
        funnel([("in", 0)], "empty", "documents in", "kept"),
        funnel([("in", 5), ("all", 5)], "all dropped", "documents in", "kept"),
        histogram([], {}, "none", "x"),
        histogram([0, 1], {"": [0]}, "zero", "x"),
        line_chart([], "none", "step"),
        line_chart([Series("one", [(1, 2.0)])], "one point", "step", [(1, "stage1")]),
        line_chart([Series("flat", [(1, 0.0), (2, 0.0)])], "flat", "step", from_zero=True),
        line_chart([Series("broken", [(1, None), (2, float("nan")), (3, float("inf"))])], "nothing finite", "step"),
        dot_plot([], [], "none", "score", 0),
        dot_plot([DotRow("unmeasured", [None])], ["base"], "gap", "score", 0),
    ],
)
def test_degenerate_input_gives_a_chart_without_infinities(chart):
    ET.fromstring(chart)
    assert "nan" not in chart and "inf" not in chart.replace("finite", "")


@pytest.mark.parametrize(
    "chart",
    [
        bars([(EVIL, 1)], EVIL),
        stacked_bars([(EVIL, {EVIL: 1})], [EVIL], EVIL),
        funnel([(EVIL, 2), (EVIL, 1)], EVIL, EVIL, EVIL),
        line_chart([Series(EVIL, [(1, 1.0), (2, 2.0)])], EVIL, EVIL, [(1, EVIL)]),
        dot_plot([DotRow(EVIL, [Measured(1.0)])], [EVIL], EVIL, EVIL, 10),
    ],
)
def test_foreign_text_is_escaped(chart):
    ET.fromstring(chart)
    assert "<script" not in chart and "&lt;script&gt;" in chart


def test_parts_beyond_the_distinguishable_colours_are_folded_into_one():
    parts, rows = grouped_parts([("stage1", {f"s{index}": 100 - index for index in range(10)})])
    assert parts == ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "3 others"]
    assert rows[0][1]["3 others"] == 93 + 92 + 91


def test_numbers_are_written_as_a_reader_expects_them():
    assert [compact(value) for value in (999, 999_999, 1_234_567, 1.05e12)] == ["999", "1M", "1.23M", "1.05T"]
    assert [decimal(value) for value in (0, 3.14159, 0.00043, 12345.6)] == ["0.000", "3.142", "4.3e-4", "12,346"]
    assert [share(1, 3), share(1, 10_000), share(1, 0)] == ["33.3 %", "< 0.1 %", "–"]


def test_ticks_are_round_and_written_alike():
    assert ticks(0, 100, 5) == [0, 25, 50, 75, 100]
    assert tick_texts(ticks(0, 1, 6)) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert tick_texts([0, 0.002, 0.0005]) == ["0", "2e-3", "5e-4"]
    assert ticks(3, 3) == [3]


def test_long_labels_are_cut_to_the_width_they_have():
    cut = shortened("a_very_long_name_of_a_source", 80)
    assert cut.endswith("…") and text_width(cut) <= 80
