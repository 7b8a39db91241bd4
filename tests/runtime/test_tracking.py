"""Journals to MLflow: against a SQLite store, a real server that is down or killed, and a tracker that was never there."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from infra.local.services import free_port, start_mlflow, stop
from tasks.artifacts.store import Store
from tasks.engine.journal import JournalReader, JournalWriter, merged_rows
from tasks.runtime import feeder, tracker
from tasks.runtime.outbox import Outbox
from tasks.runtime.tracking import Tracking, end_parent, send_owed, start_parent

Row = dict[str, Any]


def row(step: int, at: float | None = None) -> Row:
    """A journal row; its loss tells its step."""
    return {"step": step, "time": at or 1_700_000_000.0 + step, "loss": 10.0 / step, "gradient_norm": 0.5, "skipped": step == 3}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Short pauses, and no memory of trackers that were down."""
    monkeypatch.setattr(feeder, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(feeder, "LONGEST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(tracker, "_down_until", {})
    monkeypatch.setattr(tracker, "_said_down", set())


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory) -> str:
    """The address of an empty SQLite store."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    tracker.client(uri).search_experiments()
    return uri


def begin(uri: str, store: Store, name: str = "run") -> str:
    """Start a workflow's run in a store."""
    return start_parent(uri, name, None, {"store": store.root, "run": name})


def begin_task(uri: str, parent: str, store: Store, name: str = "stage1") -> Tracking:
    """Start a task's run."""
    task = Tracking(uri, parent, store)
    task.start_child(name, {"artifact": f"{name}@1"})
    return task


def wait_for(what: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline, "it did not come to be within a minute"
        time.sleep(0.02)


def history(uri: str, run_id: str, key: str = "loss") -> list[tuple[int, int, float]]:
    """What MLflow holds of a metric: step, time in milliseconds, value."""
    return sorted((m.step, m.timestamp, m.value) for m in MlflowClient(uri).get_metric_history(run_id, key))


def expected(rows: list[Row], key: str = "loss") -> list[tuple[int, int, float]]:
    """What MLflow has to hold of a journal."""
    return sorted((row["step"], round(row["time"] * 1000), float(row[key])) for row in rows)


def children(uri: str, parent: str) -> dict[str, Any]:
    """The live runs below a workflow's run by name; a name that comes twice is an error."""
    client = MlflowClient(uri)
    found = client.search_runs(
        [client.get_experiment_by_name("reynard").experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=100
    )
    names = [run.info.run_name for run in found]
    assert len(names) == len(set(names)), names
    return {run.info.run_name: run for run in found}


# --- the rows of a journal, once each ----------------------------------------------------------------------------------------


def test_rows_reach_mlflow_while_the_task_goes_on_and_with_the_time_at_which_they_were_written(sqlite, tmp_path: Path):
    store = Store(str(tmp_path))
    task = begin_task(sqlite, begin(sqlite, store), store)
    feed = task.follow(list)
    rows = [row(step) for step in range(1, 6)]
    feed.add(rows)
    wait_for(lambda: len(history(sqlite, task.child)) == 5)  # nothing was ended yet
    assert history(sqlite, task.child) == expected(rows)
    assert history(sqlite, task.child, "skipped") == expected(rows, "skipped")
    task.finish("", failed=False)
    assert MlflowClient(sqlite).get_run(task.child).info.status == "FINISHED"


def test_rows_that_are_added_again_are_logged_once(sqlite, tmp_path: Path):
    store, rows = Store(str(tmp_path)), [row(step) for step in range(1, 8)]
    task = begin_task(sqlite, begin(sqlite, store), store)
    feed = task.follow(lambda: rows)
    feed.add(rows[:4])
    wait_for(lambda: len(history(sqlite, task.child)) == 4)
    feed.add(rows)
    task.finish("", failed=False)
    assert history(sqlite, task.child) == expected(rows)


def test_more_rows_than_one_call_takes_all_arrive(sqlite, tmp_path: Path):
    store, rows = Store(str(tmp_path)), [row(step) for step in range(1, 2 * feeder.ROWS_PER_CALL + 30)]
    task = begin_task(sqlite, begin(sqlite, store), store)
    task.follow(lambda: rows).add(rows)
    task.finish("", failed=False)
    assert history(sqlite, task.child) == expected(rows)


def test_steps_that_are_taken_again_after_a_restart_are_in_mlflow_once_as_the_journal_has_them(sqlite, tmp_path: Path):
    store = Store(str(tmp_path))
    parent = begin(sqlite, store)
    task = begin_task(sqlite, parent, store)
    feed = task.follow(lambda: merged_rows(store, "working/x"))
    reader = JournalReader(store, "working/x")
    for attempt, steps in enumerate([range(1, 7), range(4, 10)]):  # the second attempt began from a checkpoint at step 3
        journal = JournalWriter(store, "working/x")
        for step in steps:
            journal.append(row(step, at=1_700_000_000.0 + 100 * attempt + step))
        journal.flush()
        feed.add(reader.new_rows())
        wait_for(lambda: not feed.waiting and not feed.anew)
    task.finish("", failed=False)
    rows = merged_rows(store, "working/x")
    assert [row["time"] for row in rows] == [
        1_700_000_001.0,
        1_700_000_002.0,
        1_700_000_003.0,
        *(1_700_000_100.0 + s for s in range(4, 10)),
    ]
    only = children(sqlite, parent)["stage1"]  # the run that held steps 4 to 6 of the first attempt is in the trash
    assert history(sqlite, only.info.run_id) == expected(rows)


def test_a_journal_that_is_finished_may_be_deleted_while_its_rows_are_sent_anew(sqlite, tmp_path: Path):
    store, first, again = Store(str(tmp_path)), [row(step) for step in range(1, 7)], [row(step, 99.0 + step) for step in range(4, 10)]
    task = begin_task(sqlite, begin(sqlite, store), store)
    reading, left = threading.Event(), [*first[:3], *again]

    def all_rows() -> list[Row]:
        """Read as slowly as a store far away; what is deleted meanwhile is not found."""
        reading.set()
        found = left[:1]
        time.sleep(0.3)
        return found + left[1:]

    feed = task.follow(all_rows)
    feed.add(first)
    wait_for(lambda: len(history(sqlite, task.child)) == 6)
    feed.add(again)
    assert reading.wait(60)
    feed.complete([*first[:3], *again])
    left.clear()  # the task deletes its working folder
    task.finish("", failed=False)
    assert history(sqlite, task.child) == expected([*first[:3], *again])


def test_a_call_that_mlflow_carried_out_without_answering_is_not_carried_out_twice(tmp_path: Path, monkeypatch):
    """On MLflow's file store, which keeps every copy that it is sent."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri, store = (tmp_path / "mlruns").as_uri(), Store(str(tmp_path / "store"))
    task = begin_task(uri, begin(uri, store), store)
    real, calls = MlflowClient.log_batch, []

    def lost(self, *args, **named):
        real(self, *args, **named)
        calls.append(1)
        if len(calls) == 1:
            raise TimeoutError("no answer")

    monkeypatch.setattr(MlflowClient, "log_batch", lost)
    rows = [row(step) for step in range(1, 6)]
    task.follow(lambda: rows).add(rows)
    wait_for(lambda: not task.feeder.waiting)
    task.finish("", failed=False)
    assert calls and history(uri, task.child) == expected(rows)


def test_mlflows_sql_store_keeps_one_of_two_equal_metrics_and_both_if_only_the_time_differs(sqlite, tmp_path: Path):
    """What the rest relies on."""
    store = Store(str(tmp_path))
    task = begin_task(sqlite, begin(sqlite, store), store)
    client = MlflowClient(sqlite)
    for at in (1000, 1000, 2000):
        client.log_batch(task.child, metrics=[Metric("loss", 1.5, at, 1), Metric("other", 1.0, at, 1)])
    assert history(sqlite, task.child) == [(1, 1000, 1.5), (1, 2000, 1.5)]


# --- runs and their ends -----------------------------------------------------------------------------------------------------


def status(uri: str, run_id: str) -> str:
    """Whether a run is said to be running."""
    return MlflowClient(uri).get_run(run_id).info.status


def test_a_workflows_run_is_running_while_a_task_is_and_finished_when_none_is(sqlite, tmp_path: Path):
    store = Store(str(tmp_path))
    parent = begin(sqlite, store)
    one, two = begin_task(sqlite, parent, store, "one"), begin_task(sqlite, parent, store, "two")
    one.finish("", failed=False)
    assert status(sqlite, parent) == "RUNNING"
    two.finish("", failed=False)
    assert status(sqlite, parent) == "FINISHED"
    three = begin_task(sqlite, parent, store, "three")
    assert status(sqlite, parent) == "RUNNING"
    three.finish("", failed=False)
    assert status(sqlite, parent) == "FINISHED"


def test_a_failed_task_fails_the_workflows_run_until_that_task_is_tried_again(sqlite, tmp_path: Path):
    store = Store(str(tmp_path))
    parent = begin(sqlite, store)
    beside, failing = begin_task(sqlite, parent, store, "beside"), begin_task(sqlite, parent, store, "failing")
    failing.finish("", failed=True)
    end_parent(sqlite, parent, {}, {"failed": "failing"}, failed=True, store=store.root)
    beside.finish("", failed=False)
    assert status(sqlite, parent) == "FAILED"
    begin_task(sqlite, parent, store, "failing").finish("", failed=False)
    assert status(sqlite, parent) == "FINISHED"


def test_the_run_of_a_task_that_was_killed_ends_when_the_task_is_tried_again(sqlite, tmp_path: Path):
    store = Store(str(tmp_path))
    parent = begin(sqlite, store)
    killed, again = begin_task(sqlite, parent, store), begin_task(sqlite, parent, store)
    again.finish("", failed=False)
    assert (status(sqlite, killed.child), status(sqlite, parent)) == ("KILLED", "FINISHED")


# --- outages -----------------------------------------------------------------------------------------------------------------


def test_with_no_mlflow_at_all_the_task_ends_at_once_says_so_once_and_the_store_keeps_what_is_to_be_sent(tmp_path: Path, capsys):
    uri, store = f"http://127.0.0.1:{free_port()}", Store(str(tmp_path))
    parent = begin(uri, store)
    task, rows = begin_task(uri, parent, store), [row(step) for step in range(1, 4)]
    task.follow(lambda: rows).add(rows)
    task.finish("", failed=False)
    end_parent(uri, parent, {"wall_seconds": 3.0}, {}, failed=False, store=store.root)
    said = capsys.readouterr().err
    assert said.count("going on without it") == 1 and "its end and 3 steps did not reach MLflow" in said
    assert {"parent", "end", task.note.key} == {folder.split("/")[2] for folder in Outbox(store).owed()}


@pytest.mark.slow
def test_a_server_that_is_down_at_the_start_and_killed_in_the_middle_holds_the_journal_once_in_the_end(tmp_path: Path, capsys):
    folder, store = tmp_path / "mlflow", Store(str(tmp_path / "store"))
    server, variables = start_mlflow(folder)  # makes the database, and takes a port
    uri = variables["MLFLOW_TRACKING_URI"]
    port = int(uri.rpartition(":")[2])
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()

    parent = begin(uri, store)
    assert parent.startswith("pending-")
    task = begin_task(uri, parent, store)
    feed = task.follow(lambda: merged_rows(store, "working/x"))
    journal, reader = JournalWriter(store, "working/x"), JournalReader(store, "working/x")

    def train(steps: range) -> None:
        for step in steps:
            journal.append(row(step))
        journal.flush()
        feed.add(reader.new_rows())

    train(range(1, 301))  # all are written and handed over, though nobody answers
    assert len(merged_rows(store, "working/x")) == 300 and not task.child
    wait_for(lambda: feed.failures > 1)
    server = start_mlflow(folder, port=port)[0]
    try:
        wait_for(lambda: not feed.waiting)
        assert task.child and len(history(uri, task.child)) == 300
        assert "answers again: 300 steps caught up" in capsys.readouterr().out

        train(range(301, 1301))
        wait_for(lambda: len(feed.waiting) < 1000)  # some of the thousand were sent
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        train(range(1301, 1601))
        assert len(merged_rows(store, "working/x")) == 1600
        wait_for(lambda: feed.failures > 1)
        server = start_mlflow(folder, port=port)[0]
        train(range(1601, 1651))
        task.finish("", failed=False)
        rows = merged_rows(store, "working/x")
        assert len(rows) == 1650 and history(uri, task.child) == expected(rows)
        assert history(uri, task.child, "gradient_norm") == expected(rows, "gradient_norm")
        workflow = Outbox(store).parent_run(MlflowClient(uri), parent)
        assert set(children(uri, workflow)) == {"stage1"} and status(uri, workflow) == "FINISHED"
        assert not Outbox(store).owed()
    finally:
        stop(server)


@pytest.mark.slow
def test_what_a_server_missed_until_the_end_is_sent_by_the_next_task_or_by_command(tmp_path: Path, monkeypatch):
    from typer.testing import CliRunner

    from reynard.main import app

    folder, store = tmp_path / "mlflow", Store(str(tmp_path / "store"))
    server, variables = start_mlflow(folder)
    uri = variables["MLFLOW_TRACKING_URI"]
    port = int(uri.rpartition(":")[2])
    parent = begin(uri, store)
    rows = [row(step) for step in range(1, 51)]
    one = begin_task(uri, parent, store, "one")
    one.follow(lambda: rows).add(rows[:20])
    wait_for(lambda: not one.feeder.waiting)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    one.feeder.add(rows)
    one.finish("", failed=False)
    server = start_mlflow(folder, port=port)[0]
    try:
        assert history(uri, one.child) == expected(rows[:20]) and status(uri, one.child) == "RUNNING"
        two = begin_task(uri, parent, store, "two")
        two.finish("", failed=False)  # sends what the first task could not
        assert history(uri, one.child) == expected(rows) and status(uri, one.child) == status(uri, parent) == "FINISHED"
        assert not Outbox(store).owed()
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        three = begin_task(uri, parent, store, "three")
        three.follow(lambda: rows).add(rows)
        three.finish("", failed=False)
        end_parent(uri, parent, {"wall_seconds": 7.0}, {"report": "here"}, failed=False, store=store.root)
        ran = CliRunner().invoke(app, ["track", "--store", store.root])
        assert ran.exit_code == 1 and "still" in ran.output
        server = start_mlflow(folder, port=port)[0]
        ran = CliRunner().invoke(app, ["track", "--store", store.root])
        assert ran.exit_code == 0, ran.output
        assert history(uri, children(uri, parent)["three"].info.run_id) == expected(rows)
        ended = MlflowClient(uri).get_run(parent)
        assert ended.data.metrics == {"wall_seconds": 7.0} and ended.info.status == "FINISHED" and not Outbox(store).owed()
        assert CliRunner().invoke(app, ["track", "--store", store.root]).exit_code == 0  # nothing is left to be sent
        assert len(history(uri, children(uri, parent)["three"].info.run_id)) == 50
    finally:
        stop(server)


def test_a_server_that_takes_connections_and_never_answers_keeps_nobody_waiting(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    silent = socket.create_server(("127.0.0.1", 0))
    store, rows = Store(str(tmp_path)), [row(step) for step in range(1, 4)]
    uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
    task = begin_task(uri, begin(uri, store), store)
    feed = task.follow(lambda: rows)
    feed.add(rows)
    task.finish("", failed=False)
    silent.close()
    assert [r["step"] for r in feed.waiting.values()] == [1, 2, 3] and send_owed(Outbox(store), uri, task.parent, 0.0) > 0
