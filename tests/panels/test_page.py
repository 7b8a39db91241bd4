"""The page: self-contained, bounded in size, with contents that lead to every panel."""

import re

import pytest

from tasks.panels.curation import curation
from tasks.panels.page import below, deck, page
from tasks.panels.scores import scores
from tasks.panels.style import DARK, LIGHT, colour_rules
from tasks.panels.tokens import tokens
from tasks.panels.training import training
from tests.panels import made_up

LONG = "all work and no play " * 2000


def large_panels() -> list[str]:
    """Make the panels of a run with twenty sources, many examples and long journals."""
    documents, tokenized = made_up.documents(), made_up.tokens()
    names = [f"source_with_a_long_name_{index:02}" for index in range(20)]
    documents.details["sources"] = {name: documents.details["sources"]["plays"] for name in names}
    documents.details["across_sources"] = [[a, b, 1] for a in names for b in names]
    examples = [{"id": "d", "source": "s", "text": LONG}] * 200
    documents.details["examples"] = dict.fromkeys(("unreadable", "too_short", "low_quality", "exact_duplicate", "near_duplicate"), examples)
    tokenized.details["sources"] = {name: tokenized.details["sources"]["speeches"] for name in names}
    mixture = {name: 1000 for name in names}
    stages = [made_up.stage(f"stage{index}", index * 20_000, 20_000, 8.0, 3.0, mixture) for index in range(3)]
    scored = []
    for name in ("base", "chat"):
        one = made_up.scored(name, 30.0, 50.0)
        one.details["benchmarks"] = [one.details["benchmarks"][0] | {"task": f"task_{index}"} for index in range(60)]
        one.details["held_out"] = {source: one.details["held_out"]["speeches"] for source in names}
        scored.append(one)
    return [curation(documents), tokens(tokenized), training(stages), training(stages[:1]), scores(scored)]


def test_a_large_run_stays_below_300_kilobytes():
    assert len(page("Run", "", [], large_panels()).encode()) < 300_000


def test_the_page_fetches_nothing_and_runs_no_script():
    written = page("Run", "", [("recipe", "tiny")], large_panels())
    assert not re.search(r"https?:|//[a-z]|<script|<link rel=\"stylesheet|@import|url\(", written)


def test_contents_lead_to_every_panel_even_if_two_have_the_same_heading():
    written = page("Run", "", [], ['<section class="panel">\n<h2>Scores</h2></section>'] * 2)
    assert re.findall(r'<a href="#(part-\d)">Scores</a>', written) == ["part-1", "part-2"]
    assert re.findall(r'<section class="panel" id="(part-\d)">', written) == ["part-1", "part-2"]


def test_title_subtitle_and_facts_are_shown_and_escaped():
    written = page("<script>run", "a & b", [("recipe", "tiny"), ("chat", "reynard chat runs/a-rather-long-name/release/chat")], [])
    assert "<h1>&lt;script&gt;run</h1>" in written and "a &amp; b" in written
    assert "<dt>recipe</dt><dd>tiny</dd>" in written
    assert "<code>reynard chat runs/a-rather-long-name/release/chat</code>" in written


def test_the_page_knows_light_dark_and_paper():
    written = page("Run", "", [], [])
    assert "prefers-color-scheme:dark" in written and "@media print" in written and 'name="viewport"' in written


def test_a_deck_carries_its_style_and_touches_nothing_around_it_but_flytes_frame():
    written = deck([tokens(made_up.tokens())])
    style = written.split("<style>")[1].split("</style>")[0]
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{[^{}]*\}", style) for part in rule.split(",")]
    framed = ("#flyte-frame-", "body:has(#flyte-frame-container)", ":root:has(#flyte-frame-container)")
    assert selectors and all(selector.startswith((".reynard", "@media", *framed)) for selector in selectors), selectors
    assert below("<p>more</p>").count("<style>") == 0 and "<p>more</p>" in below("<p>more</p>")


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_and_words_stand_out_from_the_paper(theme):
    """WCAG 2.2: 3 to 1 for what a chart is read by (1.4.11), 4.5 to 1 for text (1.4.3)."""
    paper = luminance(theme["paper"])

    def contrast(name: str) -> float:
        return (max(paper, luminance(theme[name])) + 0.05) / (min(paper, luminance(theme[name])) + 0.05)

    rules = colour_rules()
    drawn = set(re.findall(r"\.s\d\{stroke:var\(--(\w+)\)", rules))
    written = set(re.findall(r"\.t\d\{fill:var\(--(\w+)\)", rules))
    assert len(drawn) == len(written) == 7
    assert {name: round(contrast(name), 1) for name in drawn if contrast(name) < 3} == {}
    assert {name: round(contrast(name), 1) for name in {*written, "ink", "soft", "link", "good", "bad"} if contrast(name) < 4.5} == {}


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as #1f5fae."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
