"""Trees of prefixes, and log-likelihoods through them beside the harness's own model."""

import random
from types import SimpleNamespace

import pytest

from tasks.evaluation.prefixes import Family, Planner, Row, batches, shared, tree


def test_a_tree_holds_each_distinct_prefix_once_and_a_path_for_each_sequence():
    found = tree([(1, 2, 3), (1, 2, 4, 5), (1, 6)], 0)
    assert found.tokens == [1, 2, 3, 4, 5, 6]
    assert found.positions == [0, 1, 2, 2, 3, 1]
    assert found.paths == [[0, 1, 2], [0, 1, 3, 4], [0, 5]]
    assert found.ends == [6, 5, 3, 5, 5, 6]  # node 1 is the ancestor of nodes 2 to 4


def test_a_tree_after_a_prefix_begins_where_the_prefix_ends():
    found = tree([(1, 2, 3), (1, 2, 4, 5)], 2)
    assert (found.tokens, found.positions, found.paths) == ([3, 4, 5], [2, 2, 3], [[0], [1, 2]])


def test_choices_of_one_item_become_one_row():
    prompt = tuple(range(100, 140))
    sequences = [(*prompt, choice, choice) for choice in (1, 2, 3, 4)]
    assert Planner(sequences, [2] * 4, 1e9, 512).plan() == [Family(0, [Row(0, 4, 48)])]


def test_items_with_the_same_long_prefix_get_it_computed_once_for_all_of_them():
    shots = tuple(range(1000, 1500))
    sequences = [(*shots, item, *range(item, item + 60)) for item in range(10)]
    loose, family = Planner(sequences, [1] * 10, 1000, 300).plan()
    assert loose == Family(0) and family.prefix == 500
    assert sum(row.nodes for row in family.rows) == 610 and all(row.nodes <= 300 for row in family.rows)


def test_items_with_nothing_in_common_are_kept_apart_and_a_prefix_never_takes_a_scored_place():
    sequences = [(item, *range(100, 400)) for item in range(5)]
    assert [len(one.rows) for one in Planner(sequences, [3] * 5, 1000, 2048).plan()] == [5]
    alike = [(*range(60), item) for item in range(40)]
    (loose, family) = Planner(alike, [11] * 40, 1e9, 90).plan()
    assert (loose.rows, family.prefix) == ([], 50)  # of 61 tokens the last 11 are scored


def test_every_sequence_is_in_exactly_one_row_whatever_the_sequences_are():
    dice = random.Random(0)
    for _ in range(50):
        sequences = sorted({tuple(dice.randrange(3) for _ in range(dice.randrange(1, 90))) for _ in range(dice.randrange(1, 60))})
        families = Planner(sequences, [1] * len(sequences), dice.choice([10, 1000]), dice.choice([64, 500])).plan()
        rows = [row for family in families for row in family.rows]
        assert sorted(number for row in rows for number in range(row.start, row.stop)) == list(range(len(sequences)))
        for family in families:
            for row in family.rows:
                part = sequences[row.start : row.stop]
                assert len(tree(part, family.prefix).tokens) == row.nodes
                assert all(shared(part[0], other) >= family.prefix for other in part)


def test_batches_hold_rows_of_neighbouring_sizes_within_both_bounds():
    rows = [Row(number, number + 1, size) for number, size in enumerate((10, 50, 40, 9))]
    assert [[row.nodes for row in batch] for batch in batches(rows, 0, 100, 10**9)] == [[50, 40], [10, 9]]
    assert [[row.nodes for row in batch] for batch in batches(rows, 0, 1000, 5000)] == [[50, 40], [10, 9]]


def test_batches_hold_a_row_that_is_larger_than_any_batch():
    assert [[row.nodes for row in batch] for batch in batches([Row(0, 1, 500)], 100, 64, 64)] == [[500]]


def models(folder, family: str, **settings):
    """Save a random model with a tokenizer of bytes; return ours and the harness's own, both loaded from it."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from tasks.evaluation.adapter import PrefixLM

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(kinds.BPE(vocab={character: number for number, character in enumerate([*characters, "<s>"])}, merges=[]))
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="<s>").save_pretrained(folder)
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        family, vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=256, initializer_range=0.3, bos_token_id=256, eos_token_id=256, **settings,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    options = {"pretrained": str(folder), "device": "cpu", "dtype": "float32", "batch_size": 4}
    return PrefixLM(**options), HFLM(**options)


@pytest.fixture
def one_thread():
    """Compute with one thread: so small a model only waits for others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("family", "settings"), [("llama", {}), ("mistral", {"sliding_window": 24}), ("llama", {"tie_word_embeddings": True})]
)
def test_log_likelihoods_are_those_of_the_harness(tmp_path, monkeypatch, one_thread, family, settings):
    from tasks.evaluation import adapter

    monkeypatch.setitem(adapter.BATCH_TOKENS, "cpu", 200)
    monkeypatch.setitem(adapter.ROW_TOKENS, "cpu", 150)
    ours, stock = models(tmp_path, family, **settings)
    shots = "Question: How many legs has a spider?\nAnswer: eight\n\nQuestion: How many has a dog?\nAnswer: four\n\n"
    items = [f"Question: {word}?\nAnswer:" for word in ("Who", "Where from", "When was that", "Why", "With whom", "Whose")]
    choices = [" one", " one more", " two", " x", " y"]
    pairs = [(before + item, choice) for before in (shots, "", "Z" * 400) for item in items for choice in choices]  # the last are cut
    pairs += [("", " out of nothing"), ("trailing space ", "word"), (shots + items[0], " one"), ("Which", " of them" * 3)]
    requests = [SimpleNamespace(args=pair) for pair in pairs]
    cached = []
    monkeypatch.setattr(ours, "_keys_and_values", lambda *a, of=ours._keys_and_values: cached.append(a[0].prefix) or of(*a))
    mine, theirs = ours.loglikelihood(requests, disable_tqdm=True), stock.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in mine] == pytest.approx([value for value, _ in theirs], abs=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]
    assert max(cached) > len(shots)  # the examples were computed once
