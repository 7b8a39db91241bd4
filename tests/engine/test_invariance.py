"""The same global batch, dealt to workers and micro-batches in every way: the engine's loss, gradients and weights are the same."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.engine_jobs import RandomTokens, decoder, engine_job, profile_of, run_workers
from tasks.artifacts.tensors import read_tensors

STEPS, UNITS, TOKENS = 3, 8, 16
WAYS = {
    "1 x 8": (1, TOKENS),
    "2 x 4": (2, TOKENS),
    "8 x 1": (8, TOKENS),
    "1 x 1 of 8 at once": (1, 8 * TOKENS),
    "2 x 2 of 2 at once": (2, 2 * TOKENS),
}


@dataclass(frozen=True)
class UnequalTargets(RandomTokens):
    """Unit n of a batch has 2 (n + 1) targets, the last ones of its 16 tokens."""

    def targets(self, step: int) -> int:
        return sum(2 * (unit + 1) for unit in range(UNITS))

    def load(self, step: int, units: list[int]):
        (group,) = super().load(step, units)
        labels = group.labels.clone()
        for row, unit in enumerate(units):
            labels[row, : TOKENS - 2 * (unit + 1)] = -100
        return [type(group)(group.ids, labels)]


@pytest.mark.slow
def test_loss_gradients_and_weights_are_the_same_for_any_ranks_accumulation_and_micro_batch(tmp_path: Path):
    found = {}
    for name, (workers, micro_batch_tokens) in WAYS.items():
        batches = UnequalTargets(STEPS, UNITS, TOKENS, 64)
        job = engine_job(decoder(64, 16, 1, 32, TOKENS, 16), batches, "float32", str(tmp_path), name.replace(" ", "-"), 10)
        rows = run_workers(job, profile_of(workers, 1, micro_batch_tokens, "cpu"), "forkserver")
        found[name] = rows, read_tensors(sorted((tmp_path / job.final_folder).glob("model-*.safetensors")))
    rows, weights = found["1 x 8"]
    assert len({round(row["loss"], 3) for row in rows}) == STEPS, "the steps differ from each other"
    for others, other_weights in found.values():
        for name in ("loss", "gradient_norm"):
            assert [row[name] for row in others] == pytest.approx([row[name] for row in rows], rel=1e-6)
        assert [row["targets"] for row in others] == [row["targets"] for row in rows], "the hash of the tokens that counted"
        assert all(torch.allclose(other_weights[key], weights[key], atol=1e-6) for key in weights)
