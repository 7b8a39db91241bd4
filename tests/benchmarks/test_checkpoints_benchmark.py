"""What the checkpoint benchmark makes of a journal and of sealed checkpoints."""

from pathlib import Path

import pytest

from benchmarks.checkpoints import checkpoints_of, slowdown
from benchmarks.engine_jobs import RandomTokens, decoder, engine_job
from tasks.artifacts.manifest import FileEntry
from tasks.artifacts.store import Store
from tasks.engine.checkpoint import seal, step_folder


def rows(seconds: list[float], stalls: dict[int, float]) -> list[dict]:
    ends = [sum(seconds[: number + 1]) for number in range(len(seconds))]
    return [
        {"step": number + 1, "time": end, "tokens_per_second": 100 / took, "checkpoint_stall_seconds": stalls.get(number + 1, 0.0)}
        for number, (took, end) in enumerate(zip(seconds, ends, strict=True))
    ]


def test_stall_size_and_time_to_the_seal_come_from_the_journal_and_the_manifest(tmp_path: Path):
    job = engine_job(decoder(64, 16, 1, 32, 10, 16), RandomTokens(6, 10, 10, 64), "float32", str(tmp_path), "run", 2)
    journal = rows([9.0, 4.0, 5.0, 4.0, 4.0, 4.0], {3: 0.1, 5: 0.2})
    files = [FileEntry(path="model-00001-of-00001.safetensors", bytes=70, sha256="0" * 64), FileEntry(path="x", bytes=30, sha256="0" * 64)]
    for step in (2, 4):
        seal(Store(str(tmp_path)), job.working_folder, step_folder(job.working_folder, step), step, files, 13.5)
    saved = checkpoints_of(job, journal)
    assert [(one["step"], one["bytes"], one["stall_seconds"], one["begun"]) for one in saved] == [(2, 100, 0.1, 13.5), (4, 100, 0.2, 13.5)]
    assert [one["stall_share"] for one in saved] == pytest.approx([0.1 / 4, 0.2 / 4]), "of the median step, without the first"
    assert all(one["sealed_seconds"] == one["sealed"] - 13.5 for one in saved)


def test_steps_beside_an_unsealed_checkpoint_are_held_against_the_others():
    job = engine_job(decoder(64, 16, 1, 32, 10, 16), RandomTokens(6, 10, 10, 64), "float32", "store", "run", 2)
    journal = rows([9.0, 4.0, 5.0, 4.0, 6.0, 4.0], {})
    assert slowdown(job, journal, [{"begun": 13.5, "sealed": 15.0}, {"begun": 22.5, "sealed": 23.0}]) == (5.5 / 4.0, 2)
