"""The page: self-contained, bounded in size, with contents that lead to every panel."""

import re

from tasks.panels.curation import curation
from tasks.panels.page import below, deck, page
from tasks.panels.scores import scores
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
