"""The release gate: each check fails alone for its own reason, and the card prints the run's numbers."""

import pytest

from tasks.release.card import model_card
from tasks.release.gate import judge

GOOD = {
    "parameters": 1000, "missing_weights": [], "unexpected_weights": [], "logit_difference": 3e-6, "generated_tokens": 8,
    "ids": {"bos": [1, 1, 1], "eos": [2, 2, 2], "pad": [3, 3, 3]}, "tokenizer_size": 64, "embedding_rows": 64, "has_chat_template": True,
}  # fmt: skip
FILES = ["model.safetensors", "config.json"]


def failed(facts: dict, parameters: int = 1000, is_chat: bool = True, files: list[str] = FILES, scored: bool = True) -> list[str]:
    return [row["name"] for row in judge(facts, parameters, is_chat, files, scored) if not row["passed"]]


def test_a_good_release_passes_every_check():
    assert failed(GOOD) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"logit_difference": 2e-4}, "logits equal the trainer's"),
        ({"missing_weights": ["model.norm.weight"]}, "all weights are used"),
        ({"unexpected_weights": ["x"]}, "all weights are used"),
        ({"parameters": 999}, "parameter count as declared"),
        ({"embedding_rows": 65}, "one embedding row a token"),
        ({"ids": GOOD["ids"] | {"eos": [2, 1, 2]}}, "special tokens agree"),
        ({"ids": GOOD["ids"] | {"bos": [None, 1, 1]}}, "special tokens agree"),
        ({"has_chat_template": False}, "chat template where it belongs"),
        ({"generated_tokens": 0}, "generates"),
    ],
)
def test_each_fault_fails_its_own_check_alone(change, name):
    assert failed(GOOD | change) == [name]


def test_pickled_weights_and_missing_scores_are_refused():
    assert failed(GOOD, files=[*FILES, "pytorch_model.bin"]) == ["safetensors only"]
    assert failed(GOOD, scored=False) == ["evaluated"]
    assert "evaluated" not in [row["name"] for row in judge(GOOD, 1000, True, FILES, None)]


def test_the_card_prints_numbers_and_nothing_that_differs_between_equal_runs():
    row = {"task": "arc_easy", "shots": 0, "items": 99, "metric": "acc_norm", "score": 28.283, "stderr": 4.5, "chance": 25.0}
    card = model_card({
        "name": "M", "summary": "S", "licence": "apache-2.0", "languages": ["en"], "recipe": "r", "is_chat": True, "parameters": 1000,
        "tokens": 5000, "context": 64, "benchmarks": [row], "held_out": {"a": {"bits_per_byte": 2.5}}, "bits_per_byte": 2.5,
        "sources": [{"name": "a", "kind": "books", "licence": "CC0", "documents_in": 5, "documents_kept": 4}],
        "lineage": [["sft@1", "abc"]], "checks": [{"name": "generates", "detail": "8 tokens"}],
    })  # fmt: skip
    assert "arc_easy (0-shot, 99 items)" in card and "| arc_easy | 0 | acc_norm | 28.3 | 4.5 | 99 | 25 |" in card
    assert "2.500 bits per byte" in card and "| sft@1 | `abc` |" in card and " at 0x" not in card
