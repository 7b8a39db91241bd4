"""Bad recipes stop before anything runs, each with one sentence: the value, the rule, the way out."""

import copy
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from recipes.errors import BadInput
from recipes.schema import MixtureEntry, Recipe

FOX1 = yaml.safe_load((Path(__file__).resolve().parents[2] / "recipes" / "fox1.yaml").read_text(encoding="utf-8"))
NINE_BY_FIFTEEN = {
    "unit": "character", "shingle_length": 13, "permutations": 128, "bands": 9, "rows": 15, "jaccard_threshold": 0.8, "scope": "across_sources",
}  # fmt: skip
DELETE = object()


def refusal(path: str, value: object) -> str:
    """Fox-1's recipe with the one field at `path` replaced or deleted, and what the schema says to that."""
    recipe = copy.deepcopy(FOX1)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    section = recipe
    for key in parents:
        section = section[key]
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    with pytest.raises(BadInput) as error:
        Recipe.model_validate(recipe)
    return str(error.value).removeprefix("recipe: ")


def test_the_recipe_that_these_tests_break_is_valid():
    assert Recipe.model_validate(FOX1).name == "fox1"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        # a batch of whole chunks: 4,000,000 / 8192 is 488.28, and 488 * 8192 = 3,997,696
        ("pretraining.stages.1.batch_tokens", 4_000_000, ["'stage2'", "4000000", "not a multiple", "8192", "use 3997696"]),
        ("pretraining.stages.2.mixture.0.chunk_tokens", 3000, ["3000", "'instruction'", "does not divide", "8192", "choose"]),
        ("pretraining.stages.2.tokens", 1000, ["'stage3'", "1000", "less than one batch", "4194304"]),
        ("pretraining.stages.0.mixture", [], ["'stage1'", "mixture is empty", "list at least one source"]),
        ("pretraining.stages.0.mixture.0.source", "comon_crawl", ["'stage1'", "'comon_crawl'", "curation.sources: algebraic_stack"]),
        ("pretraining.stages.1.mixture.1.source", "slimpajama_cc", ["'stage2'", "appears twice", "merge its entries"]),
        ("pretraining.stages.0.mixture.0.portion", [0.5, 0.5], ["[0.5, 0.5]", "'slimpajama_cc'", "is empty", "from below to"]),
        ("pretraining.stages.1.name", "stage1", ["stage names must be unique", "stage1"]),
        ("pretraining.schedule.decay_from_stage", "stage4", ["'stage4'", "not a stage", "choose one of stage1, stage2, stage3"]),
        ("pretraining.schedule.warmup_fraction", 0.1, ["exactly one", "warmup_steps", "warmup_fraction"]),
        ("pretraining.schedule.decay_temperature_steps", DELETE, ["decay_temperature_steps", "half_life", "which need it"]),
        ("pretraining.schedule.form", "cosine", ["decay_form", "wsd"]),
        ("tokenization.vocabulary_size", 32_000, ["32000", "256000", "one row for each token", "make them equal"]),
        ("tokenization.load", None, ["exactly one of `train`", "`load`"]),
        ("curation.sources", [], ["no source of role `corpus`", "list at least one"]),
        ("curation.sources.1.name", "slimpajama_cc", ["unique", "slimpajama_cc"]),
        ("curation.sources.1.format", "planted", ["'dolma_cc'", "plants", "planted"]),
        # 9 bands * 15 rows = 135 > 128
        ("curation.near_duplicates", {"text": NINE_BY_FIFTEEN}, ["9 x rows 15 = 135", "permutations 128", "lower bands or rows"]),
        ("model.kv_heads", 3, ["heads 16", "kv_heads 3", "equal groups"]),
        ("model.head_size", 127, ["127", "odd", "rotate pairs"]),
        ("model.sliding_window", 4096, ["llama", "sliding_window", "set it to null or use family `mistral`"]),
        ("model.context_tokens", 4096, ["'stage2'", "8192", "exceeds model.context_tokens 4096"]),
        ("sft.max_tokens", 16_384, ["16384", "exceeds model.context_tokens 8192"]),
        ("sft.sources", [], ["sft.sources is empty", "list at least one"]),
        ("sft.epochs", 2.0, ["exactly one of `epochs` and `tokens`"]),
        ("release.chat_name", "fox1-1.6b", ["fox1-1.6b, fox1-1.6b, fox1-1.6b-data", "three names"]),
        ("release.thresholds", {"open_llm/mmlu": 10.0}, ["'open_llm/mmlu'", "no suite scores", "name one of open_llm_leaderboard/"]),
        ("release.thresholds", {"open_llm_leaderboard/mmlu": 143.0}, ["143.0", "less than or equal to 100"]),
        ("release.version", "v1", ["'v1'"]),
        ("release.licence", "public domain", ["'public domain'"]),
        ("release.openness_class", "IV", ["'IV'", "'I', 'II', 'III' or 'none'"]),
    ],
)
def test_a_value_against_the_rules_is_refused_in_words(path, value, words):
    message = refusal(path, value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("path", ["peak_learning_rat", "model.hiden_size", "pretraining.stages.0.batch", "curation.sources.0.license"])
def test_a_misspelt_key_is_refused_where_it_stands(path):
    assert refusal(path, 1).startswith(f"{path} is not a field of the recipe: ")


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant():
    assert refusal("model.hiden_size", 2048) == "model.hiden_size is not a field of the recipe: did you mean 'hidden_size'?"


@pytest.mark.parametrize(
    "path",
    ["seed", "model.rope_theta", "pretraining.optimizer.eps", "pretraining.stages.1.optimizer_state", "curation.rules.web.min_characters",
     "sft.template", "pretraining.stages.0.mixture.0.max_epochs", "tokenization.bos_per_document", "curation.near_duplicates", "fidelity"],
)  # fmt: skip
def test_a_field_that_decides_the_weights_has_no_default(path):
    assert refusal(path, DELETE).startswith(f"{path} is missing: the recipe must state it")


@pytest.mark.parametrize("portion", [[0.6, 0.4], [0.0], [0.0, 0.5, 1.0], [0.0, 1.5], [-0.1, 0.5]])
def test_a_portion_is_a_range_within_the_source(portion):
    with pytest.raises(ValidationError):
        MixtureEntry(source="web", weight=1.0, chunk_tokens=128, max_epochs=1.0, portion=portion)


def test_a_mixture_entry_without_a_portion_draws_from_all_of_its_source():
    assert MixtureEntry(source="web", weight=1.0, chunk_tokens=128, max_epochs=1.0).portion is None


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe.model_validate(FOX1).model.layers = 1


def test_there_are_three_stages_neither_more_nor_fewer():
    two = refusal("pretraining.stages", FOX1["pretraining"]["stages"][:2])
    assert two.startswith("pretraining.stages is [") and "list should have at least 3 items" in two


def with_mixture(*entries: dict, tokens: int = 62_000_000_000) -> Recipe:
    """Fox-1's recipe with another mixture in its third stage."""
    recipe = copy.deepcopy(FOX1)
    recipe["pretraining"]["stages"][2] |= {"mixture": list(entries), "tokens": tokens}
    return Recipe.model_validate(recipe)


def test_an_entry_for_an_earlier_stage_stands_for_its_mixture_scaled():
    """Fox-1 section 2.1: stage 3 takes a subset with 100B tokens of stage 2, beside instruction data."""
    own = {"source": "instruction", "tokens": 36_020_000_000, "chunk_tokens": 4096, "max_epochs": 1.0}
    stages = with_mixture({"stage": "stage2", "tokens": 100_000_000_000, "max_epochs": 1.0}, own, tokens=136_020_000_000).pretraining.stages
    *taken, last = stages[2].mixture
    assert [(e.source, e.chunk_tokens, e.portion) for e in taken] == [(e.source, e.chunk_tokens, e.portion) for e in stages[1].mixture]
    assert abs(sum(entry.tokens for entry in taken) - 100_000_000_000) < 100
    whole = sum(entry.weight for entry in stages[1].mixture)
    assert all(abs(e.tokens - o.weight / whole * 1e11) < 1 for e, o in zip(taken, stages[1].mixture, strict=True))
    assert (last.source, last.share) == ("instruction", 36_020_000_000.0)


def test_a_recipe_whose_stages_were_expanded_is_the_same_when_it_is_read_again():
    recipe = with_mixture({"stage": "stage2", "weight": 1.0, "max_epochs": 1.0})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([{"stage": "stage3", "weight": 1.0, "max_epochs": 1.0}], "takes from stage 'stage3', which is no earlier stage: choose one of stage1, stage2"),
        ([{"stage": "stage1", "weight": 1.0, "max_epochs": 1.0, "chunk_tokens": 8}], "an entry for stage 'stage1' has chunk_tokens"),
        ([{"source": "c4", "chunk_tokens": 4096, "max_epochs": 1.0}], "'c4' needs exactly one of `weight` (relative to the others) and `tokens`"),
        ([{"source": "c4", "weight": 1.0, "tokens": 5, "chunk_tokens": 4096, "max_epochs": 1.0}], "'c4' needs exactly one of `weight`"),
        ([{"source": "c4", "tokens": 10**9, "chunk_tokens": 4096, "max_epochs": 1.0}], "add up to 1,000,000,000, its own are 62,000,000,000"),
        (
            [{"stage": "stage2", "weight": 1.0, "max_epochs": 1.0}, {"source": "c4", "weight": 1.0, "chunk_tokens": 4096, "max_epochs": 1.0}],
            "source 'c4' appears twice in the mixture",
        ),
        (
            [{"source": source, unit: 5, "chunk_tokens": 4096, "max_epochs": 1.0} for source, unit in (("c4", "weight"), ("books", "tokens"))],
            "some sources have `weight` and some `tokens`",
        ),
    ],
)  # fmt: skip
def test_a_mixture_that_means_nothing_is_refused_in_words(entries, words):
    with pytest.raises(BadInput) as refused:
        with_mixture(*entries)
    assert words in str(refused.value)
