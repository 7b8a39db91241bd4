"""The training benchmark: its float64 reference, and that its peers compute the same model."""

import json

import pytest
import torch

from benchmarks.ours.training import against_float64
from benchmarks.training import COMPILED, DECODERS, OURS, Case, Run, cases, compare, goals, measure_all
from benchmarks.training_steps import batch


@pytest.mark.parametrize(("precision", "loss", "gradient"), [("float32", 1e-6, 1e-5), ("bfloat16", 1e-3, 5e-2)])
@pytest.mark.parametrize("number", [1, 3], ids=["Fox-1", "Moxin with its window"])
def test_loss_and_gradients_are_those_of_float64(number, precision, loss, gradient):
    model = cases("cpu", 0, False)[number].model
    small = model.model_copy(update={"vocabulary_size": 100, "layers": 2, "sliding_window": model.sliding_window and 16})
    errors = against_float64(small, 40, "cpu", precision)
    assert errors["loss"] < loss and errors["gradient"] < gradient


def test_a_batch_is_the_same_for_all_and_half_of_it_can_be_learned():
    spec = {"model": {"vocabulary_size": 100}, "sequences": 2, "tokens": 10, "device": "cpu"}
    ids, labels = batch(spec, 3)
    assert torch.equal(ids, batch(spec, 3)[0]) and not torch.equal(ids, batch(spec, 4)[0])
    assert torch.equal(ids[:, 1:], labels[:, :-1]) and torch.equal(labels[:, ::2], (ids[:, ::2] * 31 + 7) % 100)


def test_on_a_gpu_the_shapes_are_the_recipes():
    chosen = cases("cuda", 8, True)
    assert [case.model.parameter_count() for case in chosen[:3]] == [1_665_271_808] * 3
    assert {case.sequences * case.tokens for case in chosen[:3]} == {16_384} and [case.tokens for case in chosen[:3]] == [2048, 4096, 8192]
    assert chosen[3].model.layers == 8 and chosen[3].model.hidden_size == 4096 and chosen[3].model.sliding_window == 4096


def test_a_peers_row_says_how_many_times_as_fast_ours_is_and_whether_it_computes_the_same():
    ours = {
        "case": "c",
        "name": COMPILED,
        "peer_of": "",
        "device": "cpu",
        "tokens_per_second": 30.0,
        "peak_megabytes": 5.0,
        "losses": [7.0],
        "precision": "float32",
    }
    peer = ours | {"name": "p", "peer_of": COMPILED, "tokens_per_second": 20.0, "peak_megabytes": 50.0}
    row = compare(peer, [ours])
    assert (row["ratio"], row["memory_ratio"], row["same_loss"]) == (1.5, 0.1, True)
    assert not compare(peer | {"losses": [7.01]}, [ours])["same_loss"]
    assert goals([ours, row]) == [("c: times p", 1.5, True)]
    slower = compare(peer | {"tokens_per_second": 28.0, "device": "cuda"}, [ours])  # 30 / 28 = 1.07 is enough on a CPU, not on a GPU
    assert goals([slower]) == [("c: times p", 1.07, False)] and goals([slower | {"device": "cpu"}]) == [("c: times p", 1.07, True)]


@pytest.mark.slow
def test_transformers_and_ours_have_one_loss_in_processes_of_their_own():
    shape = cases("cpu", 0, False)[3]
    model = shape.model.model_copy(update={"vocabulary_size": 300, "intermediate_size": 64})
    case = Case("small", model, 2, 32, tuple(one for one in DECODERS if one.name in (OURS, "transformers")))
    rows = measure_all([case], Run("cpu", "float32", 2, 1, [], 300.0, 1.0))
    assert [row["name"] for row in rows] == [OURS, "transformers"] and rows[1]["same_loss"], json.dumps(rows)
    assert all("mfu" not in row and row["tokens_per_second"] > 0 for row in rows)
