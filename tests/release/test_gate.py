"""The release gate: of good facts with one thing wrong exactly that one reason refuses, and every reason has such a case."""

from dataclasses import replace

import pytest

from recipes.errors import BadInput
from tasks.release.gate import RULES, judge, refuse_failed
from tasks.release.verdict import verdict_text
from tests.release.facts import GOOD, LOADED, changed

PROMPT = LOADED.prompts[0]
CASES = {
    "loads with transformers alone": [{"load_error": "OSError: no config.json", "loaded": None}],
    "safetensors only": [{"files": ["model.safetensors", "old/pytorch_model.bin"]}, {"files": ["config.json"]}, {"files": ["a.safetensors", "modeling.py"]}],
    "logits equal the trainer's": [
        {"trainer_difference": 2e-4}, {"decoder_difference": 2e-4}, {"precision": "bfloat16", "trainer_difference": 1.1},  # 0.05 x 20 = 1
        {"precision": "bfloat16", "decoder_difference": 2e-4},
    ],
    "text gives the trainer's tokens": [{"prompts": [PROMPT | {"ids": [5]}]}, {"prompts": []}],
    "greedy generations are equal": [
        {"prompts": [PROMPT | {"expected_output_ids": []}]},  # nothing was compared
       {"prompts": [PROMPT | {"output_ids": [7, 9, 2]}]}, {"prompts": [PROMPT | {"output_ids": [7]}]}],
    "all weights are used": [{"missing_weights": ["model.norm.weight"]}, {"unexpected_weights": ["x"]}],
    "parameter count as declared": [{"parameters": 999}],
    "one embedding row a token": [{"embedding_rows": 65}, {"tokenizer_size": 63}, {"config_vocabulary": 128}],
    "special tokens agree": [
        {"ids": LOADED.ids | {"eos": [2, 1, 2]}}, {"ids": LOADED.ids | {"bos": [None, 1, 1]}}, {"ids": LOADED.ids | {"pad": [3, 3, None]}},
        {"ids": LOADED.ids | {"eos": [None, None, None]}},
    ],
    "generation stops at the end": [{"stops": {"2": True, "107": False}}, {"stops": {}}],
    "chat template where it belongs": [{"has_chat_template": False}, {"is_chat": False}],
    "chat template gives the training tokens": [{"different_conversations": [3]}, {"conversations": 0}],
    "dtype as declared": [{"dtypes": ["BF16"]}, {"dtypes": ["BF16", "F32"]}, {"declared_dtype": "None"}],
    "tied embeddings as declared": [{"config_tied": False}, {"loaded_tied": False}, {"files_have_head": True}, {"tied": False}],
    "evaluated": [{"scored_checkpoint": "d" * 64}, {"unscored": ["zero_shot/winogrande"]}],
    "scores reach their thresholds": [{"thresholds": {"zero_shot/piqa": 51.1}}],
    "licences are known": [{"unknown_licences": ["source 'books': unknown"]}],
    "openness as claimed": [{"claimed_class": "I", "lacking": ["Datasets: the folder has none"]}, {"computed_class": "none"}],
}  # fmt: skip


def failed(facts) -> list[str]:
    return [check.name for check in judge(facts) if not check.passed]


def test_a_good_release_passes_every_check():
    assert failed(GOOD) == [] and len(judge(GOOD)) == len(RULES) == 18
    refuse_failed("release", judge(GOOD))


def test_every_reason_has_a_case_and_every_case_a_reason():
    assert [rule.name for rule in RULES] == list(CASES)


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, changes in CASES.items() for change in changes], ids=str)
def test_each_fault_fails_its_own_check_alone(name, change):
    assert failed(changed(**change)) == [name]


@pytest.mark.parametrize(
    "change",
    [
        {"trainer_difference": 1e-4},  # the tolerance itself
        {"precision": "bfloat16", "trainer_difference": 0.9},  # the trainer's own logits had 8 bits
        {"ids": LOADED.ids | {"pad": [None, None, None]}},  # a tokenizer that has no padding
        {"prompts": [PROMPT | {"output_ids": [7, 8, 9, 9]}]},  # behind a tie both may go on as they like
        {"claimed_class": "II"},  # as the evidence gives
        {"thresholds": {}},
        {"scores": {"zero_shot/piqa": 50.0}},  # the threshold itself
    ],
    ids=str,
)
def test_what_is_still_in_order_passes(change):
    assert failed(changed(**change)) == []


def test_a_checkpoint_that_is_only_exported_is_not_asked_for_scores():
    names = [check.name for check in judge(replace(GOOD, evidence=None))]
    assert len(names) == 14 and "evaluated" not in names


def test_a_refusal_names_all_reasons_and_the_verdict_says_what_to_do():
    checks = judge(changed(trainer_difference=0.5, scored_checkpoint="d" * 64))
    with pytest.raises(BadInput) as refused:
        refuse_failed("release of chat", checks)
    said = str(refused.value)
    assert said.startswith("release of chat refused: logits equal the trainer's (largest difference 5.00e-01, tolerance 1e-04;")
    assert "evaluated (scored was dddddddddddd, to be released is cccccccccccc)" in said
    verdict = verdict_text("Release of chat", checks)
    assert (
        "2 of 18 checks failed" in verdict
        and verdict.count("- what to do: ") == 2
        and verdict.index("## ✗ evaluated") < verdict.index("## In order")
    )
