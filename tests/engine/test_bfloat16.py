"""The engine's workers in bfloat16, where DeepSpeed takes another optimizer at ZeRO 1 than at ZeRO 2 or in float32."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engine_jobs import RandomTokens, decoder, engine_job, profile_of, run_workers
from recipes.schema import Anomalies
from tasks.artifacts.tensors import read_tensors

STEPS, WINDOW = 16, 8
EVERY_LEAP = Anomalies(policy="skip", window_steps=WINDOW, threshold=1e-6, most_skipped_steps=STEPS)  # any loss above the median


def train(root: Path, precision: str, zero_stage: int, workers: int) -> tuple[list[dict], dict]:
    name = f"{precision}-{zero_stage}-{workers}"
    job = engine_job(decoder(64, 16, 1, 32, 32, 16), RandomTokens(STEPS, 4, 32, 64), precision, str(root), name, 20)
    rows = run_workers(replace(job, anomalies=EVERY_LEAP), profile_of(workers, zero_stage, 32, "cpu"), "forkserver")
    return rows, read_tensors(sorted((root / job.final_folder).glob("model-*.safetensors")))


@pytest.mark.slow
def test_losses_norms_and_skipped_updates_are_those_of_float32_at_both_zero_stages(tmp_path: Path):
    exact, weights = train(tmp_path, "float32", 1, 1)
    assert 1 <= sum("skipped" in row for row in exact) <= STEPS - WINDOW
    for zero_stage, workers in ((1, 1), (2, 1), (1, 2)):
        rows, rounded = train(tmp_path, "bfloat16", zero_stage, workers)
        assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in exact], rel=1e-2)
        assert [row["gradient_norm"] for row in rows] == pytest.approx([row["gradient_norm"] for row in exact], rel=5e-2)
        assert [row["step"] for row in rows if "skipped" in row] == [row["step"] for row in exact if "skipped" in row]
        assert max((rounded[name] - weights[name]).abs().max().item() for name in weights) < 1e-2
