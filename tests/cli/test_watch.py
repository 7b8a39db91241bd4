"""`reynard watch`: how a job stands, told from journals that were written by hand into a store."""

import math
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from reynard import watch as watching
from reynard.main import app
from tasks.artifacts.manifest import Manifest, write_manifest
from tasks.artifacts.store import Store
from tasks.engine.journal import JournalWriter, merged_rows


def begin(store: Store, stage: str, started: float, first_step: int = 0, steps: int = 10) -> JournalWriter:
    """Write what a job says of itself as it begins, and open its journal."""
    told = {
        "stage": stage, "first_step": first_step, "steps": steps, "tokens_per_step": 64, "checkpoint_every_steps": 3, "world_size": 2,
        "started": started, "final_folder": f"checkpoint/{stage}",
    }  # fmt: skip
    store.write(f"working/{stage}/job.json", orjson.dumps(told))
    return JournalWriter(store, f"working/{stage}")


def write(journal: JournalWriter, steps: range, begun: float, **more: Any) -> None:
    """Write rows, two seconds apart; the loss is ten divided by the step."""
    for step in steps:
        journal.append({
            "step": step, "time": begun + 2.0 * step, "loss": 10 / step, "learning_rate": 3e-4, "gradient_norm": 0.52,
            "tokens_per_second": 12_300.0} | more)  # fmt: skip
    journal.flush()


def seal(store: Store, stage: str, first_step: int = 0, finished: str = "2020-01-01T00:00:00Z", run: str = "r") -> None:
    """Turn a job's working folder into a sealed checkpoint, as the task does."""
    rows = merged_rows(store, f"working/{stage}")
    store.write(f"checkpoint/{stage}/journal.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
    details = {"first_step": first_step, "stage_steps": len(rows), "world_size": 2}
    write_manifest(store, f"checkpoint/{stage}", Manifest(
        kind="checkpoint", name=stage, version=stage, digest="", identity={}, files=[], counts={"stage": stage, "loss": rows[-1]["loss"]},
        details=details, recorded={"finished": finished, "run": run}, records=[]))  # fmt: skip
    store.delete(f"working/{stage}")


def said(root: Path, *more: str, code: int = 0) -> str:
    """Run the command once on a store and return what it printed."""
    ran = CliRunner().invoke(app, ["watch", "--store", str(root), "--once", *more])
    assert ran.exit_code == code, ran.output
    return ran.output


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def test_a_running_job_is_told_by_its_step_loss_speed_and_time_left(store: Store, tmp_path: Path):
    now = time.time()
    write(begin(store, "stage2", now - 20, first_step=100), range(101, 105), now - 208)
    told = said(tmp_path)
    assert "▸ stage2  running on 2 workers" in told
    assert "40 %  step 4 of 10 (104 with earlier stages)" in told
    assert f"loss {10 / 104:.3f}" in told and "lr 3.00e-04" in told and "gradient norm 0.520" in told
    assert "12.3K tokens/s  12s left" in told  # six steps of two seconds
    assert "█" * 12 + "░" * 18 in told and "no checkpoint inside the stage yet" in told and "nothing was written" not in told


def test_the_newest_sealed_checkpoint_counts_and_one_that_is_being_written_does_not(store: Store, tmp_path: Path):
    now = time.time()
    write(begin(store, "stage1", now - 20), range(1, 9), now - 16)
    for step in (3, 6):
        store.write(f"working/stage1/step-{step:010d}/_SUCCESS", b"")
    store.write("working/stage1/step-0000000008/model.safetensors", b"half")
    assert "newest checkpoint: step 6 (4s ago)" in said(tmp_path)


def test_a_job_that_has_been_silent_for_five_times_its_pace_is_warned_of_and_one_for_four_times_is_not(store: Store, tmp_path: Path):
    now = time.time()
    journal = begin(store, "stage1", now - 100)
    write(journal, range(1, 6), now - 18.5)
    assert "nothing was written" not in said(tmp_path)  # 8.5 seconds after the last
    store.delete("working/stage1")
    write(begin(store, "stage1", now - 100), range(1, 6), now - 22.0)
    assert "! nothing was written for 12s, usually a row comes every 2.0s" in said(tmp_path)


def test_steps_that_are_taken_again_after_a_restart_count_once(store: Store, tmp_path: Path):
    now = time.time()
    write(begin(store, "stage1", now - 50), range(1, 9), now - 50)
    write(JournalWriter(store, "working/stage1"), range(4, 6), now - 10)
    assert "50 %  step 5 of 10" in said(tmp_path)


def test_skipped_steps_and_losses_that_are_no_number_are_said(store: Store, tmp_path: Path):
    now = time.time()
    journal = begin(store, "stage1", now - 10)
    write(journal, range(1, 3), now - 6)
    write(journal, range(3, 4), now - 6, skipped=True, loss=math.nan, gradient_norm=math.nan)
    told = said(tmp_path)
    assert "loss not a number" in told and "gradient norm not a number" in told and "steps skipped: 1" in told


def test_a_job_before_its_first_step_says_for_how_long_it_has_been_starting(store: Store, tmp_path: Path):
    begin(store, "stage1", time.time() - 42)
    assert "0 %  step 0 of 10" in said(tmp_path) and "no step yet, started 42s ago" in said(tmp_path)


def test_of_a_finished_job_and_a_running_one_the_running_is_shown_and_the_finished_is_a_line(store: Store, tmp_path: Path):
    now = time.time()
    write(begin(store, "stage1", now - 60), range(1, 11), now - 60)
    seal(store, "stage1")
    write(begin(store, "stage2", now - 30, first_step=10), range(11, 13), now - 26)
    told = said(tmp_path)
    assert "✓ stage1  10 steps  loss 1.000" in told and "▸ stage2  running" in told


def test_a_job_that_somebody_gave_up_does_not_hide_the_stage_that_was_finished_later(store: Store, tmp_path: Path):
    now = time.time()
    write(begin(store, "given-up", now - 5000), range(1, 3), now - 5000)
    write(begin(store, "stage1", now - 60), range(1, 11), now - 60)
    seal(store, "stage1")
    told = said(tmp_path)
    assert "✓ stage1  finished on 2 workers" in told and "100 %  step 10 of 10" in told and "loss 1.000" in told and "given-up" not in told


def test_it_follows_a_job_until_its_checkpoint_is_sealed(store: Store, tmp_path: Path, monkeypatch):
    now = time.time()
    journal = begin(store, "stage1", now - 25)
    acts = [
        lambda: write(journal, range(1, 5), now - 25), lambda: write(journal, range(5, 11), now - 25), lambda: seal(store, "stage1"),
    ]  # fmt: skip
    monkeypatch.setattr(watching.time, "sleep", lambda _: acts.pop(0)())
    ran = CliRunner().invoke(app, ["watch", "--store", str(tmp_path)])
    assert ran.exit_code == 0 and not acts
    lines = ran.output.splitlines()
    assert [line.split("  ")[1] for line in lines[:3]] == ["0 %", "40 %", "100 %"]  # no terminal: a line a look
    assert "✓ stage1  finished on 2 workers" in lines[3:] and "\x1b" not in ran.output


def test_it_waits_for_a_job_that_has_not_begun(store: Store, tmp_path: Path, monkeypatch):
    def act() -> None:
        write(begin(store, "stage1", time.time() - 25), range(1, 11), time.time() - 25)
        seal(store, "stage1")

    monkeypatch.setattr(watching.time, "sleep", lambda _: act())
    ran = CliRunner().invoke(app, ["watch", "--store", str(tmp_path)])
    assert ran.exit_code == 0 and ran.output.startswith("no stage of training has begun: waiting\n") and "✓ stage1  finished" in ran.output


def test_once_on_a_store_without_jobs_is_an_error(tmp_path: Path):
    assert "no stage of training has begun" in said(tmp_path, code=2)


def test_a_terminal_is_redrawn_in_place_and_no_line_is_wider_than_it(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    drawn = watching.draw(["a" * 50, "evil \x1b[31m"], watching.draw(["one", "two", "three"], 0, True), True)
    out = capsys.readouterr().out
    assert drawn == 2 and out == "one\ntwo\nthree\n\x1b[3F\x1b[J" + "a" * 19 + "\nevil \ufffd[31m\n"


def test_the_curve_goes_from_high_to_low_and_leaves_gaps_where_nothing_is_known():
    assert watching.sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == "█▇▆▅▄▃▂▁"
    assert watching.sparkline([1, 1, None, 8, 8, 8], 3) == "▁██" and watching.sparkline([None, 2.0], 5) == " ▁"
    assert watching.sparkline([], 5) == ""
