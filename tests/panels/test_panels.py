"""Panels: a manifest's numbers appear, foreign text is escaped, empty artifacts do not break the report."""

import xml.etree.ElementTree as ET

import pytest

from tasks.panels.curation import curation
from tasks.panels.release import release
from tasks.panels.scores import scores
from tasks.panels.tokens import tokens
from tasks.panels.training import training
from tests.panels import made_up

STAGES = [
    made_up.stage("stage1", 0, 100, 8.0, 5.0, {"speeches": 75_000, "plays": 25_000}),
    made_up.stage("stage2", 100, 50, 5.0, 4.0, {"speeches": 50_000}),
    made_up.stage("stage3", 150, 10, 4.0, 3.5, {"plays": 10_000}),
]


def table_rows(fragment: str) -> list[list[str]]:
    """Return the cells of all tables of a panel, row by row."""
    return [["".join(cell.itertext()) for cell in row] for row in ET.fromstring(fragment).iter("tr")]


def test_curation_shows_what_was_kept_and_what_each_rule_dropped():
    fragment = curation(made_up.documents())
    assert "Kept 1,200 of 1,500 documents (80.0 %) with 75.0 % of all characters." in fragment
    for written in ("100  (6.7 %)", "150  (10.0 %)", "50  (3.3 %)", "1,200  (80.0 %)"):
        assert written in fragment
    assert "unexplained" not in fragment


def test_curation_lists_each_source_with_its_drops():
    rows = table_rows(curation(made_up.documents()))
    assert rows[0] == ["source", "in", "kept", "of documents", "of characters", "too short", "near duplicate", "unreadable"]
    assert rows[1] == ["speechespublic domain", "1,000", "900", "90.0 %", "90.0 %", "50", "–", "50"]


def test_curation_shows_duplicates_within_and_across_sources():
    rows = table_rows(curation(made_up.documents()))
    assert ["dropped from ↓  kept in →", "speeches", "plays"] in rows
    assert ["plays", "140", "10"] in rows


def test_curation_quotes_what_was_dropped_and_what_it_copies():
    fragment = curation(made_up.documents())
    assert "plays · p1 · duplicate of s1 · similarity 0.91" in fragment
    assert "Dropped as near duplicate: 1 of 150" in fragment


def test_documents_that_no_reason_explains_are_called_so():
    made = made_up.documents()
    made.counts["documents_kept"] = 1190
    assert "− unexplained" in curation(made)


def test_tokens_shows_sources_density_and_tokenizer():
    fragment = tokens(made_up.tokens())
    assert "9,000 tokens to train on and 1,000 held out, from 90 documents; a vocabulary of 2,048 pieces." in fragment
    assert ["speeches", "90", "9,000", "100.0 %", "1,000", "40,000", "0.250", "100"] in table_rows(fragment)
    assert "trained bpe · 2,048 pieces · public domain · sha256 c0ffeec0ffeec0ff" in fragment


def test_length_histograms_leave_out_empty_sources_and_empty_ends():
    fragment = tokens(made_up.tokens())
    assert "Lengths of documents in speeches" in fragment and "Lengths of documents in nothing" not in fragment
    assert "64 to 128: 80 documents" in fragment and ">2K<" not in fragment


def test_training_counts_each_stage_once_although_checkpoints_add_up():
    fragment = training(STAGES)
    assert "saw 160,000 tokens in 160 steps" in fragment
    rows = table_rows(fragment)
    assert rows[1][:4] == ["stage1", "100", "100,000", "1,024"]
    assert rows[2][:3] == ["stage2", "50", "50,000"]


def test_training_takes_first_and_last_loss_as_means_over_a_tenth():
    rows = table_rows(training(STAGES))
    assert rows[1][4:7] == ["7.864", "5.136", "1m01s"]  # 8 minus the mean of 0..9 steps of 3/99, and 5 plus the same


def test_training_names_the_stages_in_the_loss_curve_and_draws_their_mixture():
    root = ET.fromstring(training(STAGES))
    charts = {chart.get("aria-label"): ["".join(text.itertext()) for text in chart.iter("text")] for chart in root.iter("svg")}
    assert set(charts) == {"Loss over steps", "Learning rate", "Gradient norm", "Tokens per second", "Mixture of each stage"}
    assert {"stage1", "stage2", "stage3"} <= set(charts["Loss over steps"])
    assert {"75 %", "25 %", "100 %", "100K"} <= set(charts["Mixture of each stage"])


def test_training_writes_chunk_lengths_with_the_sources_that_share_them():
    rows = table_rows(training(STAGES))
    assert rows[1][7] == "128: speeches256: plays" and rows[2][7] == "128"


def test_fine_tuning_alone_has_its_own_heading_and_no_mixture():
    fragment = training([made_up.stage("sft", 0, 20, 5.0, 3.0, {"conversations": 20_000})])
    assert "<h2>Fine-tuning</h2>" in fragment and "Mixture" not in fragment


def test_scores_sets_checkpoints_side_by_side_with_chance_and_reported_values():
    fragment = scores([made_up.scored("base", 27.3, None), made_up.scored("chat", 31.2, 55.25)])
    for written in ("27.3 ± 4.1", "31.2 ± 4.1", "arc_easy, 25-shot, chance: 25.0", "arc_easy, 25-shot, reported: 55.2", "A diamond"):
        assert written in fragment
    assert "lower is better: base 2.125, chat 2.125." in fragment


def test_scores_without_reported_values_do_not_speak_of_diamonds():
    assert "diamond" not in scores([made_up.scored("base", 27.3, None)])


def test_release_lists_checks_and_says_which_failed():
    fragment = release([made_up.released(("loads alone", True, "8 tokens"), ("evaluated", False, "no scores for these weights"))])
    assert "1 model, 2 checks, 1 failed." in fragment
    assert ["evaluated", "✗ failed", "no scores for these weights"] in table_rows(fragment)
    assert "8.6e-06" in fragment and "model.safetensors" in fragment


@pytest.mark.parametrize(
    "fragment",
    [
        curation(made_up.documents()),
        tokens(made_up.manifest({}, {"sources": {made_up.EVIL: {"tokens": 1, "bytes": 4}}, "tokenizer": {"licence": made_up.EVIL}})),
        training([made_up.stage(made_up.EVIL, 0, 3, 2.0, 1.0, {made_up.EVIL: 1, "plays": 1})]),
        scores([made_up.scored(made_up.EVIL, 1.0, None)]),
        release([made_up.released((made_up.EVIL, True, made_up.EVIL))]),
    ],
)
def test_foreign_text_in_a_manifest_is_escaped(fragment):
    ET.fromstring(fragment)
    assert "<script" not in fragment and "&lt;script&gt;" in fragment and "\x07" not in fragment


@pytest.mark.parametrize(
    "fragment",
    [
        curation(made_up.manifest({}, {})),
        curation(
            made_up.manifest({"documents_in": 0, "documents_kept": 0}, {"sources": {"none": {"documents_in": 0}}, "examples": {"x": []}})
        ),
        tokens(made_up.manifest({}, {})),
        tokens(made_up.manifest({"tokens": 0}, {"sources": {"none": {}}})),
        training([]),
        training([(made_up.manifest({}, {}), [])]),
        training([made_up.stage("stage1", 0, 1, 8.0, 8.0, {})]),
        training([(made_up.manifest({"stage": "s", "loss": None}, {}), [{"step": 1, "loss": None}, {"loss": 2.0}])]),
        scores([]),
        scores([made_up.manifest({}, {"benchmarks": [{"task": "x"}], "held_out": {"s": {}}})]),
        release([]),
        release([made_up.manifest({}, {})]),
    ],
)
def test_empty_artifacts_give_a_panel(fragment):
    assert ET.fromstring(fragment).get("class") == "panel"
    assert "nan" not in fragment
