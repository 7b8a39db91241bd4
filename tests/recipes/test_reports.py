"""The two full recipes against the numbers that their reports print."""

import re
from pathlib import Path

import pytest
import yaml

from recipes.schema import Recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NUMBER = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
BILLION = 10**9

# Fox-1, table 2: chunk length in thousands and tokens in billions, as printed
TABLE_2 = {
    "common_crawl": (4, 1470.0), "the_stack": (4, 375.98), "c4": (4, 169.75), "papers": (4, 121.18), "dolma_reddit": (4, 79.32),
    "pubmed_central": (8, 45.35), "openwebtext2": (4, 28.12), "books": (8, 24.91), "stackexchange": (4, 20.15),
    "wikipedia": (4, 20.03), "freelaw": (8, 19.63), "open_web_math": (4, 13.22), "uspto_backgrounds": (4, 9.67),
    "philpapers": (8, 1.13), "nih_exporter": (4, 0.72067),
}  # fmt: skip

# Fox-1, table 3: tokens in billions and ratio in percent, as printed
TABLE_3 = {
    "instruction": (36.02, 34.07), "the_stack": (18.79, 17.78), "flan": (15.47, 14.63), "algebraic_stack": (12.51, 11.83),
    "papers": (6.06, 5.73), "books": (5.04, 4.77), "dolma_reddit": (3.96, 3.74), "pubmed_central": (2.26, 2.14),
    "openwebtext2": (1.40, 1.33), "stackexchange": (1.00, 0.95), "wikipedia": (0.99775, 0.94), "freelaw": (0.9779, 0.93),
    "open_web_math": (0.6577, 0.62), "uspto_backgrounds": (0.47997, 0.45), "philpapers": (0.05296, 0.05), "nih_exporter": (0.03265, 0.03),
}  # fmt: skip

# rows of both tables that are several sources of the recipe
ROWS = {
    "common_crawl": ("slimpajama_cc", "dolma_cc", "pile_cc", "falcon_cc"), "papers": ("redpajama_arxiv", "pes2o", "pile_arxiv"),
}  # fmt: skip
ROW_OF = {source: row for row, sources in ROWS.items() for source in sources}


def text_of(name: str) -> str:
    return (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")


def recipe_of(name: str) -> Recipe:
    return Recipe.model_validate(yaml.safe_load(text_of(name)))


@pytest.fixture(scope="module")
def fox1() -> Recipe:
    return recipe_of("fox1")


@pytest.fixture(scope="module")
def moxin7b() -> Recipe:
    return recipe_of("moxin7b")


def weights(stage) -> dict[str, float]:
    """The weights of a stage by row of its table: split rows joined again, and so the two halves of table 3's Books."""
    found: dict[str, float] = {}
    for entry in stage.mixture:
        row = "books" if entry.source == "rewrite_books" else ROW_OF.get(entry.source, entry.source)
        found[row] = round(found.get(row, 0.0) + entry.weight, 6)
    return found


def note_on(recipe: Recipe, what: str) -> str:
    """The ledger's note on one point; the test fails where the ledger has none or more than one."""
    (note,) = [entry.note for entry in recipe.fidelity if entry.what == what]
    return note


def in_bytes(size: str) -> float:
    number, unit = size.split()
    return float(number) * {"GB": 1e9, "TB": 1e12}[unit]


# --- the model -----------------------------------------------------------------------------------------------------------------


def test_fox1_has_the_parameters_of_the_released_model(fox1):
    # a layer: 2048*128*(16+16+4+4) + 3*2048*4096 + 2*2048 = 35,655,680; 32 layers + embedding + last norm
    assert 32 * 35_655_680 + 524_288_000 + 2048 == 1_665_271_808
    assert fox1.model.parameter_count() == 1_665_271_808


def test_moxin_has_the_parameters_of_the_released_model(moxin7b):
    # a layer: 4096*128*(32+32+8+8) + 3*4096*14336 + 2*4096 = 218,112,000; 36 layers + two embeddings + last norm
    assert 36 * 218_112_000 + 2 * 32_000 * 4096 + 4096 == 8_114_180_096
    assert moxin7b.model.parameter_count() == 8_114_180_096


def test_fox1_shares_an_embedding_that_is_31_not_30_percent_of_the_model(fox1):
    embedding = fox1.model.vocabulary_size * fox1.model.hidden_size
    assert fox1.model.tied_embeddings and embedding == 524_288_000
    assert round(100 * embedding / fox1.model.parameter_count(), 2) == 31.48
    assert "30.49" in note_on(fox1, "share of the embedding") and "31.48" in note_on(fox1, "share of the embedding")


def test_moxins_window_spans_147_thousand_positions_not_14_thousand(moxin7b):
    assert moxin7b.model.layers * moxin7b.model.sliding_window == 147_456
    assert "14K" in note_on(moxin7b, "attention span") and "147,456" in note_on(moxin7b, "attention span")


# --- Fox-1's data --------------------------------------------------------------------------------------------------------------


def test_stage_1_is_table_1(fox1):
    stage = fox1.pretraining.stages[0]
    assert weights(stage) == {"common_crawl": 1050.0} and {entry.chunk_tokens for entry in stage.mixture} == {2048}
    assert stage.tokens == 1050 * BILLION


def test_stage_2_has_the_tokens_and_chunk_lengths_of_table_2(fox1):
    stage = fox1.pretraining.stages[1]
    assert weights(stage) == {name: tokens for name, (_, tokens) in TABLE_2.items()}
    for entry in stage.mixture:
        assert entry.chunk_tokens == TABLE_2[ROW_OF.get(entry.source, entry.source)][0] * 1024, entry.source


def test_split_rows_are_shared_in_proportion_to_the_published_sizes(fox1):
    published = {
        "slimpajama_cc": 327,
        "dolma_cc": 2281,
        "pile_cc": 56,
        "falcon_cc": 600,
        "redpajama_arxiv": 28,
        "pes2o": 57,
        "pile_arxiv": 17,
    }
    for stage in fox1.pretraining.stages:
        row_weights = weights(stage)
        for entry in stage.mixture:
            if row := ROW_OF.get(entry.source):
                share = published[entry.source] / sum(published[source] for source in ROWS[row])
                assert entry.weight == pytest.approx(row_weights[row] * share, rel=0.006), (stage.name, entry.source)


def test_stage_3_has_the_tokens_of_table_3(fox1):
    assert weights(fox1.pretraining.stages[2]) == {name: tokens for name, (tokens, _) in TABLE_3.items()}


def test_stage_3_keeps_the_chunk_lengths_of_table_2(fox1):
    for entry in fox1.pretraining.stages[2].mixture:
        row = ROW_OF.get(entry.source, entry.source)
        if row in TABLE_2:
            assert entry.chunk_tokens == TABLE_2[row][0] * 1024, entry.source


def test_sources_report_the_tokens_that_their_first_table_prints(fox1):
    for source in fox1.curation.sources:
        if source.reported is not None:
            row = ROW_OF.get(source.name, source.name)
            printed = TABLE_2[row][1] if source.reported.where == "table 2" else TABLE_3[row][0]
            assert source.reported.tokens == round(printed * BILLION), source.name


def test_the_rows_of_table_2_do_not_sum_to_its_total_and_the_ledger_says_so(fox1):
    total = sum(source.reported.tokens for source in fox1.curation.sources if source.reported and source.reported.where == "table 2")
    assert total == 2_399_160_670_000  # printed: 2.30 T
    note = note_on(fox1, "table 2's token total")
    assert "2.40T" in note and "2.30 T" in note


def test_the_storage_of_table_2_does_not_sum_to_its_total_and_the_ledger_says_so(fox1):
    sizes = [in_bytes(source.reported.size) for source in fox1.curation.sources if source.reported and source.reported.where == "table 2"]
    assert round(sum(sizes) / 1e12, 2) == 14.81  # printed: 14.35 TB
    note = note_on(fox1, "table 2's storage total")
    assert "14.81" in note and "14.35" in note


def test_the_average_length_of_table_2_does_not_follow_from_its_rows_and_the_ledger_says_so(fox1):
    rows = [source.reported for source in fox1.curation.sources if source.reported and source.reported.average_tokens]
    average = sum(row.tokens for row in rows) / sum(row.tokens / row.average_tokens for row in rows)
    assert round(average, 2) == 1056.33  # printed: 1105.56
    note = note_on(fox1, "table 2's average sequence length")
    assert "1056.33" in note and "1105.56" in note


def test_the_rows_of_table_3_sum_to_its_total(fox1):
    assert round(sum(weights(fox1.pretraining.stages[2]).values()), 2) == 105.71


def test_the_ratios_of_table_3_follow_from_its_tokens_but_for_two_that_the_ledger_names(fox1):
    tokens = weights(fox1.pretraining.stages[2])
    ratios = {name: round(100 * count / sum(tokens.values()), 2) for name, count in tokens.items()}
    unequal = {name: ratio for name, ratio in ratios.items() if ratio != TABLE_3[name][1]}
    assert unequal == {"dolma_reddit": 3.75, "openwebtext2": 1.32}  # printed: 3.74 and 1.33
    note = note_on(fox1, "table 3's ratios")
    assert all(number in note for number in ("3.75", "3.74", "1.32", "1.33"))


def test_table_3_takes_a_twentieth_of_table_2_except_of_books(fox1):
    shares = {name: TABLE_3[name][0] / TABLE_2[name][1] for name in TABLE_2.keys() & TABLE_3.keys()}
    assert {name for name, share in shares.items() if share > 0.051} == {"books"}
    assert min(shares.values()) > 0.045 and round(shares["books"], 2) == 0.20
    stage = {entry.source: entry.weight for entry in fox1.pretraining.stages[2].mixture}
    assert stage["books"] == pytest.approx(0.05 * 24.91) and stage["rewrite_books"] == pytest.approx(5.04 - 0.05 * 24.91)
    assert "3.7945" in note_on(fox1, "RewriteBooks in stage 3")


def test_stages_1_and_2_of_fox1_read_disjoint_halves_of_common_crawl(fox1):
    for source in ROWS["common_crawl"]:
        portions = [entry.portion for stage in fox1.pretraining.stages for entry in stage.mixture if entry.source == source]
        assert portions == [[0.0, 0.5], [0.5, 1.0]], source


# --- curation ------------------------------------------------------------------------------------------------------------------


def test_fox1_deduplicates_across_common_crawl_and_across_papers_and_nothing_else(fox1):
    filtered = {source.kind for source in fox1.curation.sources if fox1.curation.rules_of(source).exact_duplicates}
    assert filtered == {"common_crawl", "papers"} and fox1.curation.exact_duplicates.scope == "within_kinds"
    assert not fox1.curation.near_duplicates
    kinds = [ROW_OF[source.name] for source in fox1.curation.sources if source.kind in filtered]
    assert kinds == ["common_crawl"] * 4 + ["papers"] * 3


def test_fox1_has_every_kind_of_data_of_section_2_1(fox1):
    assert {source.kind for source in fox1.curation.sources} == {
        "common_crawl", "c4", "books", "wikipedia", "papers", "code", "science", "web_qa", "math", "instruction", "rewritten_books", "flan",
    }  # fmt: skip


def test_parts_of_a_mixed_dataset_are_taken_once(fox1):
    parts = [
        (source.location, field, value)
        for source in fox1.curation.sources
        for field, values in (source.where or {}).items()
        for value in values
    ]
    assert len(parts) == len(set(parts)) == 13  # 2 of SlimPajama, 7 and 4 of the two copies of the Pile


def test_fox1_rewrites_as_many_books_as_table_3_lacks(fox1):
    (rewriting,) = [source.rewriting for source in fox1.curation.sources if source.rewriting]
    assert rewriting.of == ["books"] and rewriting.documents == 31_345
    assert round(3.7945 * BILLION / 121_057) == 31_345


def test_moxin_holds_text_and_code_to_their_own_near_duplicate_rules(moxin7b):
    by_rules = {source.name: moxin7b.curation.rules_of(source).near_duplicates for source in moxin7b.curation.sources}
    assert by_rules["slimpajama"] == by_rules["dclm_baseline"] == "text" and by_rules["the_stack"] == "code"
    text, code = moxin7b.curation.near_duplicates["text"], moxin7b.curation.near_duplicates["code"]
    assert (text.unit, text.shingle_length, text.jaccard_threshold) == ("character", 13, 0.8)
    assert (code.unit, code.permutations, code.jaccard_threshold) == ("code_token", 256, 0.85)


def test_the_bands_for_code_find_nearly_every_pair_above_its_threshold(moxin7b):
    rule = moxin7b.curation.near_duplicates["code"]
    assert (rule.bands, rule.rows) == (21, 12)
    assert [round(1 - (1 - s**12) ** 21, 3) for s in (0.85, 0.9)] == [0.96, 0.999]
    assert [round(1 - (1 - s**19) ** 13, 2) for s in (0.85, 0.9)] == [0.45, 0.85]  # datasketch's choice for 256 and 0.85
    note = note_on(moxin7b, "near-deduplication of code")
    assert "96 %" in note and "45 %" in note


def test_moxins_floor_of_200_characters_holds_for_text(moxin7b):
    assert {name: rules.min_characters for name, rules in moxin7b.curation.rules.items()} == {"text": 200, "code": 0, "items": 0}


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_every_dataset_of_the_hub_is_pinned_to_a_commit(name):
    for source in recipe_of(name).curation.sources:
        assert source.location.startswith("hf://") == (source.revision is not None), source.name
        assert source.revision is None or re.fullmatch(r"[0-9a-f]{7}|[0-9a-f]{40}", source.revision), source.name


# --- the curricula -------------------------------------------------------------------------------------------------------------


def test_the_stages_of_fox1_have_the_steps_that_their_tokens_fill(fox1):
    stages = fox1.pretraining.stages
    assert [stage.batch_tokens for stage in stages] == [1024 * 2048, 512 * 8192, 512 * 8192]
    assert [stage.steps for stage in stages] == [500_679, 376_701, 14_781]
    assert fox1.pretraining.steps == 892_161


def test_the_stages_of_fox1_are_39_59_and_2_percent_of_all_tokens(fox1):
    tokens = [stage.tokens for stage in fox1.pretraining.stages]
    assert tokens == [1050 * BILLION, 1580 * BILLION, 62 * BILLION] and sum(tokens) == 2692 * BILLION
    assert [round(100 * count / sum(tokens), 1) for count in tokens] == [39.0, 58.7, 2.3]
    note = note_on(fox1, "share of stage 3")
    assert "0.02 %" in note and "2.30 %" in note


def test_fox1_decays_by_half_in_16_000_steps_of_its_last_stage(fox1):
    schedule = fox1.pretraining.schedule
    assert (schedule.form, schedule.decay_form, schedule.decay_temperature_steps) == ("wsd", "half_life", 16_000)
    assert (schedule.warmup_steps, schedule.decay_from_stage) == (2000, fox1.pretraining.stages[2].name)
    assert round(0.5 ** (14_781 / 16_000), 2) == 0.53 and "53 %" in note_on(fox1, "form and start of the decay")


def test_moxin_trains_more_than_one_and_a_half_trillion_tokens_at_2k_and_then_4k(moxin7b):
    stages = moxin7b.pretraining.stages
    assert sum(stage.tokens for stage in stages) > 1500 * BILLION
    assert [stage.unit_tokens for stage in stages] == [2048, 4096, 4096]
    assert [stage.steps for stage in stages] == [238_418, 119_209, 10]


def test_moxin_declares_that_it_trains_on_the_benchmarks_it_reports(moxin7b):
    trained = {entry.source.removesuffix("_train") for entry in moxin7b.pretraining.stages[2].mixture}
    scored = {benchmark.task.split("_")[0] for suite in moxin7b.evaluation.suites for benchmark in suite.benchmarks}
    assert trained == scored == {"mmlu", "hellaswag", "winogrande", "piqa", "arc"}
    assert "training sets" in note_on(moxin7b, "contamination by design")


def test_moxin_never_repeats_training_text_between_its_first_two_phases(moxin7b):
    first, second, _ = ({entry.source: entry.portion for entry in stage.mixture} for stage in moxin7b.pretraining.stages)
    assert first.keys() == second.keys()
    assert all(first[name][1] <= second[name][0] for name in first)


def test_moxin_warns_that_its_learning_rate_is_too_small_for_a_random_start(moxin7b):
    assert moxin7b.model.initialization == "scratch" and moxin7b.pretraining.optimizer.peak_learning_rate == 2.0e-6
    assert "warm start" in note_on(moxin7b, "learning rate")


# --- scores --------------------------------------------------------------------------------------------------------------------


def test_the_averages_of_moxins_suites_are_those_of_tables_2_and_3(moxin7b):
    averages = {suite.name: sum(b.reported for b in suite.benchmarks) / len(suite.benchmarks) for suite in moxin7b.evaluation.suites}
    assert averages == pytest.approx({"zero_shot": 75.44, "few_shot": 70.5525})
    assert [suite.reported_average for suite in moxin7b.evaluation.suites] == [75.44, 70.55]


def test_the_scores_before_phase_3_are_in_moxins_ledger_and_average_as_printed(moxin7b):
    table_2, table_3 = note_on(moxin7b, "scores without contamination").split("Table 3:")
    for text, tasks in ((table_2.split("Table 2")[1], 5), (table_3, 4)):
        *scores, average = [float(number) for number in re.findall(r"\d+\.\d\d", text)]
        assert len(scores) == tasks and round(sum(scores) / tasks, 2) == average


def test_one_average_of_moxins_table_3_is_wrong_and_the_ledger_says_so(moxin7b):
    assert pytest.approx(71.4475) == (58.36 + 80.36 + 69.54 + 77.53) / 4  # Yi-1.5-9B, printed: 71.48
    assert "71.48" in note_on(moxin7b, "average of Yi-1.5-9B in table 3")


def test_fox1_reports_only_the_three_scores_that_are_printed(fox1):
    base, chat = fox1.evaluation.suites
    assert {b.task: b.reported for b in base.benchmarks if b.reported} == {"gsm8k": 36.39, "mmlu": 43.05}
    assert base.reported_average == 47.13 and not any(b.reported for b in chat.benchmarks)
    assert round(6 * 47.13 - 36.39 - 43.05, 2) == 203.34 and "203.34" in note_on(fox1, "average score")


def test_shots_are_those_of_the_reports(fox1, moxin7b):
    shots = {"arc_challenge": 25, "hellaswag": 10, "truthfulqa_mc2": 0, "mmlu": 5, "winogrande": 5, "gsm8k": 5}
    for suite in fox1.evaluation.suites:
        assert {b.task: b.shots for b in suite.benchmarks} == shots
    zero, few = ({b.task: b.shots for b in suite.benchmarks} for suite in moxin7b.evaluation.suites)
    assert set(zero.values()) == {0} and few == {task: shots[task] for task in few}


# --- the files -----------------------------------------------------------------------------------------------------------------


def scalars(node: yaml.Node):
    """Every scalar of a composed document, keys included."""
    if isinstance(node, yaml.ScalarNode):
        yield node
    for child in node.value if isinstance(node, yaml.CollectionNode) else []:
        for part in child if isinstance(child, tuple) else (child,):
            yield from scalars(part)


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_every_number_is_followed_by_its_source_on_the_same_line(name):
    text = text_of(name)
    comments = [line.partition("  # ")[2] for line in text.splitlines()]
    sources = re.compile(r"sections? \d|tables? \d|abstract|facts: \S|measured: \S|assumption: \S")
    numbers = [node for node in scalars(yaml.compose(text)) if node.tag in NUMBER]
    bare = [f"line {node.end_mark.line + 1}: {node.value}" for node in numbers if not sources.search(comments[node.end_mark.line])]
    assert len(numbers) > 100 and not bare


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_no_number_is_written_so_that_yaml_reads_a_string(name):
    assert yaml.safe_load("4e-4") == "4e-4" and yaml.safe_load("4.0e-4") == 0.0004
    like_a_number = re.compile(r"[-+]?[\d_.]+([eE][-+]?\d+)?")
    strings = [node for node in scalars(yaml.compose(text_of(name))) if node.tag == "tag:yaml.org,2002:str" and node.style is None]
    assert [node.value for node in strings if like_a_number.fullmatch(node.value)] == []


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_a_recipe_is_values_only_without_anchors_or_merges(name):
    tokens = list(yaml.scan(text_of(name)))
    assert not [token for token in tokens if isinstance(token, (yaml.AnchorToken, yaml.AliasToken))]
    assert "<<:" not in text_of(name) and "${" not in text_of(name)


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_a_source_of_unknown_licence_or_placeholder_location_stands_in_the_ledger(name):
    recipe = recipe_of(name)
    ledger = " ".join(f"{entry.what} {entry.note}" for entry in recipe.fidelity)
    unknown = [source.name for source in recipe.curation.sources if source.licence.startswith("unknown:")]
    assert [source for source in unknown if source not in ledger] == []
    assert "s3://your-bucket" in text_of(name) and "placeholder" in ledger


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_every_source_is_trained_on_in_some_stage(name):
    recipe = recipe_of(name)
    mixed = {entry.source for stage in recipe.pretraining.stages for entry in stage.mixture}
    assert mixed == {source.name for source in recipe.curation.sources}


@pytest.mark.parametrize("name", ["fox1", "moxin7b"])
def test_the_ledger_names_each_point_once_and_its_place_in_the_report(name):
    entries = recipe_of(name).fidelity
    assert len({entry.what for entry in entries}) == len(entries)
    assert all(re.search(r"section|table|abstract|published script", entry.source) for entry in entries)
