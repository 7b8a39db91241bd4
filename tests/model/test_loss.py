"""The loss that never holds all logits, against PyTorch's own on all of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tasks.model.loss import CHUNK_BYTES, chunk_rows, fused_surprise, summed_loss, surprise
from tests.model.memory import plain, tensor_peak

ROOT = Path(__file__).resolve().parents[2]


def inputs(tokens: int = 300, vocabulary: int = 1003, hidden: int = 32, dtype=torch.float32) -> list[torch.Tensor]:
    """States, output matrix and targets, of which every seventh does not count."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(tokens, hidden, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(vocabulary, hidden, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(0, vocabulary, (tokens,), generator=generator)
    targets[::7] = -100
    return [states, weight, targets]


def results(loss, given, scale: float = 1.0) -> list[torch.Tensor]:
    value = loss(*given)
    return [value.detach(), *torch.autograd.grad(value * scale, given[:2])]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.mark.parametrize("chunk_bytes", [1, CHUNK_BYTES], ids=["three chunks", "one chunk"])
def test_in_float32_value_and_gradients_are_the_plain_losss(chunk_bytes):
    given = inputs()
    assert -(-300 // chunk_rows(1003, chunk_bytes)) == (3 if chunk_bytes == 1 else 1)
    ours = results(lambda *x: summed_loss(*x, chunk_bytes), given, scale=0.37)
    theirs = results(plain, given, scale=0.37)
    assert distance(ours[0], theirs[0]) < 1e-6
    assert distance(ours[1], theirs[1]) < 1e-5 and distance(ours[2], theirs[2]) < 1e-5


def test_in_bfloat16_it_is_as_close_to_float64_as_the_plain_loss():
    given = inputs(dtype=torch.bfloat16)
    exact = results(plain_in_float64, [given[0].detach().double().requires_grad_(), given[1].detach().double().requires_grad_(), given[2]])
    ours, theirs = results(lambda *x: summed_loss(*x, 1), given), results(plain, given)
    assert ours[1].dtype == ours[2].dtype == torch.bfloat16 and ours[0].dtype == torch.float32
    for one, other, true in zip(ours, theirs, exact, strict=True):
        assert distance(one, true) < 1e-2 and distance(one, true) < 1.2 * distance(other, true) + 1e-6


def plain_in_float64(hidden, weight, targets):
    return torch.nn.functional.cross_entropy(hidden @ weight.T, targets, ignore_index=-100, reduction="sum")


def test_in_float64_it_stays_in_float64():
    given = inputs(dtype=torch.float64)
    for one, other in zip(results(lambda *x: summed_loss(*x, 1), given), results(plain_in_float64, given), strict=True):
        assert one.dtype == torch.float64 and distance(one, other) < 1e-13


def test_tokens_that_do_not_count_give_no_loss_and_no_gradient_even_all_of_them():
    states, weight, _ = inputs(tokens=4)
    value = summed_loss(states, weight, torch.full((4,), -100))
    value.backward()
    assert value == 0 and not states.grad.any() and not weight.grad.any()


def test_without_gradients_none_are_computed_and_a_second_backward_pass_is_refused():
    given = inputs()
    with torch.no_grad():
        alone = summed_loss(*given)
    value = summed_loss(*given)
    assert not alone.requires_grad and torch.equal(alone, value)
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated twice"):
        value.backward()


def test_a_chunk_is_a_gibibyte_of_logits_in_whole_tiles():
    assert chunk_rows(256_000) == 1024 and chunk_rows(32_000) == 8320 and chunk_rows(10**9) == 128


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_at_fox1s_shape_its_tensors_take_less_than_a_tenth_of_the_plain_losss(dtype):
    shape = (16_384, 256_000, 2048, dtype)  # counted, not computed
    ours, theirs = tensor_peak(summed_loss, *shape), tensor_peak(plain, *shape)
    assert theirs > 3 * 16_384 * 256_000 * 4 * 0.99  # logits in float32, log-probabilities and a gradient: the count sees them
    assert ours < theirs / 10


@pytest.mark.slow
def test_a_process_grows_by_less_than_a_tenth():
    sizes = ["4096", "64000", "512", str(CHUNK_BYTES // 16)]  # a quarter of the tokens, hidden and vocabulary, and chunks to match
    grown = {}
    for name in ("plain", "chunked"):
        line = [sys.executable, "-m", "tests.model.memory", name, *sizes]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        grown[name] = float(done.stdout.split()[0])
    assert grown["plain"] > 2000  # MB; 1,049 for each copy of the logits
    assert grown["chunked"] < grown["plain"] / 10


@pytest.mark.slow
def test_the_compiled_chunk_is_the_chunk():
    logits, targets = torch.randn(40, 500, generator=torch.Generator().manual_seed(1)) * 5, torch.arange(40) - 1
    targets[0] = -100
    loss, gradient = surprise(logits.clone(), targets)
    fused_loss, fused_gradient = fused_surprise()(logits.clone(), targets)
    assert torch.isclose(loss, fused_loss, rtol=1e-6) and torch.allclose(gradient, fused_gradient, atol=1e-6)
