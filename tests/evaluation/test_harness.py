"""Scores of a small random model by the real harness, checked against plain computations with transformers."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from recipes.errors import BadInput
from recipes.schema import Evaluation
from tasks.artifacts.handles import Run
from tasks.artifacts.store import open_store
from tasks.evaluation.cards import find_cards, read_model
from tasks.evaluation.evaluate import HeldOut, evaluate_checkpoint
from tasks.evaluation.rescore import recompute, rescore
from tasks.evaluation.sample import ITEMS
from tasks.evaluation.samples import read_rows

pytestmark = pytest.mark.slow
BOS, EOS, CONTEXT, LIMIT = 256, 257, 1024, 24
TEXTS = ["The quality of mercy is not strained. " * 40, "It droppeth as the gentle rain from heaven.", "Grüße, 世界!"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make a random Llama whose tokens are bytes, as a Hugging Face folder."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(models.BPE(vocab={character: number for number, character in enumerate(characters)}, merges=[]))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    fast.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BOS)])
    made = tmp_path_factory.mktemp("model")
    PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>").save_pretrained(made)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=CONTEXT, bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=False, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def plain(folder):
    """Load the folder with transformers alone: (encode without special tokens, log-probabilities of each next token)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def log_probabilities(ids: list[int]) -> list[float]:
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        return [table[position, token].item() for position, token in enumerate(ids[1:])]

    return lambda text: tokenizer.encode(text, add_special_tokens=False), log_probabilities


def section(*benchmarks: tuple[str, str, int, str]) -> Evaluation:
    suites = [
        {"name": suite, "checkpoint": "base", "benchmarks": [{"task": task, "shots": shots, "metric": metric}]}
        for suite, task, shots, metric in benchmarks
    ]
    return Evaluation.model_validate({"items": "sample", "limit": LIMIT, "suites": suites, "batch_size": 8, "held_out_tokens": 10_000})


@pytest.fixture(scope="module")
def documents(plain, tmp_path_factory) -> list[list[int]]:
    return [[BOS, *plain[0](text), EOS] for text in TEXTS]


def run_in(folder: Path) -> Run:
    return Run(name="r", folder=str(folder), store=str(folder / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0)


@pytest.fixture(scope="module")
def result(scored):
    return scored[0]


@pytest.fixture(scope="module")
def scored(folder, documents, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    np.array(documents[0] + documents[1], dtype=np.uint16).tofile(scratch / "english.bin")
    np.array(documents[2], dtype=np.uint32).tofile(scratch / "mixed.bin")
    sizes = [len(text.encode()) for text in TEXTS]
    first, second, third = map(len, documents)
    held_out = [
        HeldOut("english", str(scratch / "english.bin"), "uint16", [(0, first, sizes[0]), (first, second, sizes[1])]),
        HeldOut("mixed", str(scratch / "mixed.bin"), "uint32", [(0, third, sizes[2])]),
        HeldOut("empty", str(scratch / "none.bin"), "uint16", []),
    ]
    asked = section(
        ("plain", "arc_easy", 0, "acc"), ("normalized", "arc_easy", 0, "acc_norm"), ("plain", "winogrande", 0, "acc"),
        ("plain", "hellaswag", 0, "acc_norm"), ("plain", "piqa", 0, "acc_norm"), ("plain", "arc_challenge", 0, "acc_norm"),
        ("few", "mmlu_world_religions", 5, "acc"),
    )  # fmt: skip
    run = run_in(scratch)
    return evaluate_checkpoint(run, asked, "base", read_model(folder), held_out, "tokens", scratch), asked, held_out, run


def test_every_benchmark_has_a_score_with_its_error_items_and_chance(result):
    rows = {(row["suite"], row["task"]): row for row in result["details"]["benchmarks"]}
    assert result["counts"]["scores"] == {f"{suite}/{task}": row["score"] for (suite, task), row in rows.items()}
    assert {task: row["items"] for (_, task), row in rows.items()} == {
        "arc_easy": LIMIT, "arc_challenge": LIMIT, "hellaswag": LIMIT, "piqa": LIMIT, "winogrande": LIMIT, "mmlu_world_religions": 20,
    }  # fmt: skip
    for row in rows.values():
        assert 0 <= row["score"] <= 90 and 0 <= row["stderr"] < 15 and row["version"] is not None
    assert rows["plain", "winogrande"]["chance"] == rows["plain", "piqa"]["chance"] == 50
    assert rows["plain", "hellaswag"]["chance"] == rows["few", "mmlu_world_religions"]["chance"] == 25
    assert rows["few", "mmlu_world_religions"]["shots"] == 5
    assert result["details"]["harness"]["lm_eval"] and result["details"]["items"].startswith("committed sample")


def test_arc_easy_equals_a_plain_computation_by_log_likelihoods(result, plain):
    encode, log_probabilities = plain
    right = {"plain": 0, "normalized": 0}
    for line in (ITEMS / "allenai/ai2_arc/ARC-Easy/test.jsonl").read_text().splitlines()[:LIMIT]:
        item = json.loads(line)
        prompt = encode(f"Question: {item['question']}\nAnswer:")
        sums = []
        for answer in item["choices"]["text"]:
            ids = [BOS, *prompt, *encode(" " + answer)]
            sums.append(sum(log_probabilities(ids)[len(prompt) :]))
        by_length = [total / len(answer) for total, answer in zip(sums, item["choices"]["text"], strict=True)]
        gold = item["choices"]["label"].index(item["answerKey"])
        right["plain"] += sums.index(max(sums)) == gold
        right["normalized"] += by_length.index(max(by_length)) == gold
    scores = result["counts"]["scores"]
    assert scores["plain/arc_easy"] == pytest.approx(100 * right["plain"] / LIMIT, abs=1e-3)
    assert scores["normalized/arc_easy"] == pytest.approx(100 * right["normalized"] / LIMIT, abs=1e-3)


def test_bits_per_byte_equal_a_plain_computation_document_by_document(result, plain, documents):
    bits = []
    for ids in documents:
        parts = [ids[start : start + CONTEXT + 1] for start in range(0, len(ids) - 1, CONTEXT)]
        bits.append(-sum(sum(plain[1](part)) for part in parts) / math.log(2))
    assert len(documents[0]) > CONTEXT > len(documents[1])  # one document needs two windows
    sizes = [len(text.encode()) for text in TEXTS]
    held_out = result["details"]["held_out"]
    assert set(held_out) == {"english", "mixed"}
    assert held_out["english"]["bits_per_byte"] == pytest.approx(sum(bits[:2]) / sum(sizes[:2]), abs=1e-4)
    assert held_out["mixed"]["bits_per_byte"] == pytest.approx(bits[2] / sizes[2], abs=1e-4)
    assert result["counts"]["bits_per_byte"] == pytest.approx(sum(bits) / sum(sizes), abs=1e-4)
    assert held_out["english"]["predicted_tokens"] == len(documents[0]) + len(documents[1]) - 2


def score(scratch: Path, folder: Path, task: str, metric: str):
    np.array([BOS, 1, EOS], dtype=np.uint16).tofile(scratch / "one.bin")
    held_out = [HeldOut("one", str(scratch / "one.bin"), "uint16", [(0, 3, 1)])]
    return evaluate_checkpoint(run_in(scratch), section(("s", task, 0, metric)), "base", read_model(folder), held_out, "tokens", scratch)


def test_a_metric_that_a_task_does_not_have_is_told_to_the_user(folder, tmp_path):
    with pytest.raises(BadInput, match="benchmark winogrande has no metric 'acc_norm': choose one of acc"):
        score(tmp_path, folder, "winogrande", "acc_norm")


def test_a_scoring_process_that_fails_shows_the_end_of_its_errors(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)scoring piqa failed with exit status 1.*tokenizer_config.json"):
        (tmp_path / "missing").mkdir()
        score(tmp_path, tmp_path / "missing", "piqa", "acc")


def test_rescoring_finds_every_card_equal_without_a_model_and_a_changed_answer_prompt_or_document_unequal(scored):
    store = open_store(scored[3].store)
    cards = find_cards(store, "")
    assert sorted(card.counts["task"] for card in cards) == sorted({row["task"] for row in scored[0]["details"]["benchmarks"]})
    for card in cards:
        again = rescore(store, card)
        assert again["differences"] == [] and again["results"][card.counts["task"]] == card.counts["results"][card.counts["task"]]
    card = next(card for card in cards if card.counts["task"] == "arc_easy")
    rows = list(read_rows(Path(store.uri(f"card/{card.version}/samples.jsonl.zst"))))
    row = rows[3]
    gold, right = row["target"], row["metrics"]["none"]["acc"]
    row["responses"][gold][0] = -1000.0 if right else 1000.0
    said = recompute(card.counts, card.details, rows)["differences"]
    assert f"item 3 of arc_easy: acc is {1 - right}, not {right}" in said
    assert any(one.startswith("arc_easy: acc,none is") for one in said)
    row["arguments"][0][0] += "?"
    rows[5]["doc"]["question"] += "?"
    said = recompute(card.counts, card.details, rows)["differences"]
    assert {"item 3 of arc_easy has another prompt hash", "item 5 of arc_easy has another doc hash"} <= set(said)
    assert recompute(card.counts, card.details, rows[:-1])["differences"][-1] == f"{LIMIT - 1} items, the card says {LIMIT}"
