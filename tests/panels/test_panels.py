"""Panels: a manifest's numbers appear, foreign text is escaped, empty artifacts do not break the report."""

import xml.etree.ElementTree as ET

import pytest

from tasks.panels.curation import curation
from tasks.panels.release import release
from tasks.panels.scores import checkpoints, scores
from tasks.panels.tokens import tokens
from tasks.panels.training import training
from tests.panels import made_up

STAGES = [
    made_up.stage("stage1", 0, 100, 8.0, 5.0, {"speeches": 75_000, "plays": 25_000}),
    made_up.stage("stage2", 100, 50, 5.0, 4.0, {"speeches": 50_000}),
    made_up.stage("stage3", 150, 10, 4.0, 3.5, {"plays": 10_000}),
]
PARTS_WITHOUT_NUMBERS = {
    "sources": {"none": {}, "reference": {"role": "reference"}},
    "across_sources": [],
    "examples": {"code": [{}]},
    "clusters": {"edges": [2, 3], "counts": [0]},
    "similarity": {"edges": [0.0, 0.5, 1.0], "removed": [], "rejected": [0, 0], "thresholds": {}},
    "quality": {"edges": [0.0, 1.0], "kept": [0], "removed": [], "threshold": None},
    "languages": [{}],
    "bloom": {"documents": {}, "paragraphs": None},
    "work": {"quarantined": [{}]},
}


def table_rows(fragment: str) -> list[list[str]]:
    """Return the cells of all tables of a panel, row by row."""
    return [["".join(cell.itertext()) for cell in row] for row in ET.fromstring(fragment).iter("tr")]


def chart_texts(fragment: str) -> dict[str | None, list[str]]:
    """Return what each chart of a panel writes, by its label."""
    charts = ET.fromstring(fragment).iter("svg")
    return {chart.get("aria-label"): ["".join(text.itertext()) for text in chart.iter("text")] for chart in charts}


def test_curation_shows_what_was_kept_and_what_each_rule_dropped():
    fragment = curation(made_up.documents())
    assert "Kept 1,200 of 1,500 documents (80.0 %) with 75.0 % of all characters." in fragment
    for written in ("100  (6.7 %)", "150  (10.0 %)", "50  (3.3 %)", "1,200  (80.0 %)"):
        assert written in fragment
    assert "unexplained" not in fragment


def test_curation_lists_what_each_source_gives_and_adds_it_up():
    rows = table_rows(curation(made_up.documents()))
    assert rows[0] == [
        "source", "documents in", "kept", "of documents", "characters kept", "of characters", "bytes kept", "tokens, about", "rows skipped"
    ]  # fmt: skip
    assert rows[1] == ["speechesspeeches · rules prosepublic domain", "1,000", "900", "90.0 %", "45,000", "90.0 %", "46KB", "11.5K", "25"]
    assert rows[3] == ["all sources", "1,500", "1,200", "80.0 %", "60,000", "75.0 %", "61KB", "15K", "25"]


def test_curation_shows_references_apart_and_leaves_them_out_of_the_totals():
    fragment = curation(made_up.documents())
    assert ["earlier_corpusbooks · rules proseCC0", "reference", "what duplicates it is dropped", "700", "70,000"] in table_rows(fragment)
    assert "Kept 1,200 of 1,500 documents" in fragment and "2,200" not in fragment


def test_curation_counts_drops_by_rule_and_source():
    rows = table_rows(curation(made_up.documents()))
    start = rows.index(["rule ↓  source →", "speeches", "plays"])
    assert rows[start + 1 : start + 4] == [["unreadable", "50", ""], ["too short", "50", "50"], ["near duplicate", "", "150"]]


def test_many_sources_go_down_the_page_and_rules_across():
    made = made_up.documents()
    made.details["sources"] |= {f"more_{index}": made.details["sources"]["plays"] for index in range(3)}
    rows = table_rows(curation(made))
    assert ["source ↓  rule →", "unreadable", "too short", "near duplicate"] in rows
    assert ["more_2", "", "50", "150"] in rows


def test_curation_tells_characters_dropped_from_characters_edited_out():
    fragment = curation(made_up.documents())
    for written in ("5,000  (6.2 %)", "14,000  (17.5 %)", "− edited out of kept documents", "1,000  (1.2 %)", "60,000  (75.0 %)"):
        assert written in fragment


def test_curation_adds_up_what_was_changed_inside_documents():
    rows = table_rows(curation(made_up.documents()))
    start = rows.index(["source", "masked email", "lines removed"])
    assert rows[start + 1 : start + 4] == [["speeches", "7", "40"], ["plays", "–", "2"], ["all sources", "7", "42"]]


def test_curation_shows_duplicates_within_and_across_sources():
    rows = table_rows(curation(made_up.documents()))
    assert ["dropped from ↓  kept in →", "speeches", "plays"] in rows
    assert ["plays", "140", "10"] in rows


def test_curation_names_cluster_sizes_as_ranges_and_leaves_out_the_empty_end():
    charts = chart_texts(curation(made_up.documents()))
    assert charts["Clusters by their number of documents"] == ["2 documents", "60", "3 to 4", "20", "5 to 8", "5"]
    made = made_up.documents()
    made.details["clusters"]["counts"] = [0, 0, 0, 0, 3]
    assert "17 or more" in chart_texts(curation(made))["Clusters by their number of documents"]
    assert "85 clusters of 235 documents together; the largest has 8." in curation(made_up.documents())


def test_curation_marks_the_threshold_between_dropped_and_refused_pairs():
    fragment = curation(made_up.documents())
    assert "0.8 to 1: 150 pairs dropped" in fragment and "0.6 to 0.8: 40 pairs refused" in fragment and "0.2 to 0.4" not in fragment
    assert "threshold 0.8" in chart_texts(fragment)["Histogram of similarity"]
    assert "(200), by the Jaccard" in fragment and "50 of them (25.0 %)" in fragment


def test_curation_marks_the_threshold_of_quality_and_says_what_share_it_keeps():
    fragment = curation(made_up.documents())
    assert "threshold 0.430" in chart_texts(fragment)["Histogram of quality scores"]
    assert (
        "Scores by oh_eli5. Trained on 1,000 positive and 900 negative documents. The best 10 % are kept, by one threshold for the whole corpus: 0.4300."
        in fragment
    )


def test_curation_lists_languages_with_most_documents_first():
    rows = table_rows(curation(made_up.documents()))
    start = rows.index(["language", "documents", "of all", "kept", "of its documents", "characters"])
    assert rows[start + 1 : start + 3] == [
        ["en", "1,200", "80.0 %", "1,200", "100.0 %", "60,000"],
        ["de", "300", "20.0 %", "0", "0.0 %", "20,000"],
    ]


def test_languages_beyond_a_dozen_are_added_up():
    made = made_up.documents()
    made.details["languages"] = [{"language": f"l{n:02}", "documents": 100 - n, "kept": 1, "characters": 10} for n in range(14)]
    assert ["2 others", "175", "13.4 %", "2", "1.1 %", "20"] in table_rows(curation(made))  # 88 + 87 of 1,309


def test_curation_states_what_error_the_bloom_filter_lets_expect():
    made = made_up.documents()
    made.details["bloom"]["paragraphs"] = {"capacity": 10**9, "added": 10**9, "false_positive_rate": 1e-9, "bytes": 5_375_000_000}
    rows = table_rows(curation(made))
    assert ["documents", "10,000", "2,000", "20.0 %", "1e-3", "below 2.000", "1", "18KB"] in rows  # 2,000 times 1 in 1,000
    assert ["paragraphs", "1,000,000,000", "1,000,000,000", "100.0 %", "1e-9", "below 1.000", "–", "5.38GB"] in rows


def test_curation_names_quarantined_records_or_says_that_there_are_none():
    made = made_up.documents()
    assert any(row[0] == "plays.txt#13" and row[1].startswith("segmentation fault") for row in table_rows(curation(made)))
    made.details["work"] = {"units": 1, "quarantined": []}
    assert "The work was done in 1 unit. No record was quarantined." in curation(made)


def test_curation_quotes_what_was_dropped_and_what_it_copies():
    fragment = curation(made_up.documents())
    assert "plays · plays.txt#9 · p1 · duplicate of s1 · similarity 0.91" in fragment
    assert "Dropped as near duplicate: 1 of 150" in fragment
    assert "plays · p2<" in fragment


def test_ten_examples_of_a_reason_are_shown():
    made = made_up.documents()
    made.details["examples"]["too_short"] = [{"id": f"id{n}", "source": "plays", "text": "Exit."} for n in range(12)]
    fragment = curation(made)
    assert fragment.count("plays · id") == 10 and "Dropped as too short: 10 of 100" in fragment


def test_documents_that_no_reason_explains_are_called_so():
    made = made_up.documents()
    made.counts["documents_kept"] = 1190
    assert "− unexplained" in curation(made)


def test_tokens_shows_sources_density_and_tokenizer():
    fragment = tokens(made_up.tokens())
    assert "9,000 tokens to train on and 1,000 held out, from 90 documents; a vocabulary of 2,048 pieces." in fragment
    assert ["speeches", "90", "9,000", "100.0 %", "1,000", "40,000", "0.250", "100", "20.0 %", "5.0 %", "0.0 %"] in table_rows(fragment)
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
    charts = chart_texts(training(STAGES))
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


def test_checkpoints_are_drawn_over_their_tokens_in_order_a_line_for_each_source_and_benchmark():
    fragment = checkpoints([(2000, "stage2", made_up.scored("base", 31.2, None)), (1000, "stage1", made_up.scored("base", 27.3, None))])
    assert fragment.count("<svg") == 2 and "speeches 2.125" in fragment and "zero_shot/arc_easy 31.2" in fragment
    rows = [row for row in table_rows(fragment) if row[0].startswith("stage")]
    assert [row[:3] for row in rows] == [["stage1", "1,000", "2.125"], ["stage2", "2,000", "2.125"]]


def test_scores_without_reported_values_do_not_speak_of_diamonds():
    assert "diamond" not in scores([made_up.scored("base", 27.3, None)])


def test_release_lists_checks_and_says_which_failed():
    fragment = release([made_up.released(("loads alone", True, "8 tokens"), ("evaluated", False, "no scores for these weights"))])
    assert "1 model, 2 checks, 1 failed." in fragment
    assert ["evaluated", "✗ failed", "no scores for these weights"] in table_rows(fragment)
    assert "8.6e-06" in fragment and "model.safetensors" in fragment


def test_release_says_the_computed_class_and_why_a_component_does_not_count():
    part = {
        "name": "Datasets",
        "class": "I",
        "required": True,
        "standing": "missing",
        "artifact": "",
        "licence": "",
        "missing": "no data <published>",
    }
    counted = part | {
        "name": "Model card",
        "class": "III",
        "standing": "conditional",
        "artifact": "README.md",
        "licence": "MIT",
        "missing": "",
    }
    openness = {"class": "II", "claimed": "none", "progress": {"III": 100.0, "II": 100.0, "I": 92.86}, "parts": [part, counted]}
    released = made_up.released()
    fragment = release([released.model_copy(update={"details": released.details | {"openness": openness}})])
    assert ["Datasets", "I", "✗ does not count", "no data <published>", ""] in table_rows(fragment)
    assert ["Model card", "III", "✓ counts", "README.md", "MIT"] in table_rows(fragment)
    assert "class II (class III 100 %, class II 100 %, class I 93 %); claimed: none" in fragment


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
        curation(made_up.manifest({"documents_in": 1}, PARTS_WITHOUT_NUMBERS)),
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
