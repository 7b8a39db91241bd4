"""Calls to MLflow that may be made twice: opening runs, logging rows of a journal, ending runs.

A call that timed out may have been carried out all the same. So a run is found by a key of ours before it is made, and rows in doubt
are compared with the metric history before they are sent. (MLflow's SQL stores drop a second copy of the same key, step, time and
value by their primary key; its file store keeps it. Neither can remove a value again.)
"""

import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.runtime.inputs import parent_inputs, source_inputs

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    from tasks.artifacts.manifest import Manifest

T = TypeVar("T")
Row = dict[str, Any]
EXPERIMENT = "reynard"
KEY = "reynard.key"
BACK_OFF_SECONDS = 30.0
METRICS_PER_CALL = 1000  # MLflow's own limit
_down_until: dict[str, float] = {}
_said_down: set[str] = set()


def client(uri: str) -> "MlflowClient":
    """Open MLflow with short timeouts and no retries of its own: an outage must cost seconds, and a repeated request is ours to judge."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    for name in ("alembic", "mlflow.store.db.utils", "mlflow"):  # database migrations are no news
        logging.getLogger(name).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def now() -> int:
    """Return the time as MLflow writes it: milliseconds since 1970."""
    return int(time.time() * 1000)


def attempt(uri: str, call: Callable[[], T], though_down: bool = False) -> T | None:
    """Run a tracking call; on failure say so, return None, and leave that tracker alone for half a minute."""
    if time.monotonic() < _down_until.get(uri, 0.0) and not though_down:
        return None
    try:
        done = call()
    except Exception as error:  # whatever a tracker throws, the work goes on
        say_down(uri, error)
        return None
    say_up(uri)
    return done


def say_down(uri: str, error: Exception) -> None:
    """Note that a tracker failed, with one line for the whole outage."""
    _down_until[uri] = time.monotonic() + BACK_OFF_SECONDS
    if uri not in _said_down:
        _said_down.add(uri)
        print(
            f"! MLflow at {uri} failed ({type(error).__name__}: {str(error)[:300]}): going on without it. Metrics are in the artifact store; "
            "they are sent when it answers, or by `reynard track`",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def say_up(uri: str, rows: int = 0) -> None:
    """Note that a tracker answers, with one line if it was said to be down."""
    _down_until.pop(uri, None)
    if uri in _said_down:
        _said_down.discard(uri)
        print(f"✓ MLflow at {uri} answers again{f': {rows:,} steps caught up' if rows else ''}", flush=True)


# --- runs --------------------------------------------------------------------------------------------------------------------


def open_parent(tracker: "MlflowClient", key: str, name: str, artifact_location: str | None, tags: dict[str, str], started: int) -> str:
    """Find the run of a whole workflow by its key, or make it; return its id."""
    experiment = tracker.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else tracker.create_experiment(EXPERIMENT, artifact_location=artifact_location)
    return _found_or_made(tracker, experiment_id, key, name, tags, started)


def open_child(tracker: "MlflowClient", parent: str, key: str, name: str, tags: dict[str, str], started: int) -> str:
    """Find a task's run below its workflow's by its key, or make it; the workflow's run counts as running from here on."""
    run = tracker.get_run(parent)
    status, failed = run.info.status, run.data.tags.get("failed")
    if status == "FINISHED" or (status == "FAILED" and failed == name):  # the next task, or another try of the one that failed
        tracker.update_run(parent, status="RUNNING")
        if failed:
            tracker.delete_tag(parent, "failed")
    for earlier in _running_children(tracker, run.info.experiment_id, parent):
        if earlier.data.tags.get("artifact") == tags.get("artifact") and earlier.data.tags.get(KEY) != key:
            tracker.set_terminated(earlier.info.run_id, "KILLED")  # it was making what this task makes, and was not there to end its run
    return _found_or_made(tracker, run.info.experiment_id, key, name, tags | {"mlflow.parentRunId": parent}, started)


def _found_or_made(tracker: "MlflowClient", experiment_id: str, key: str, name: str, tags: dict[str, str], started: int) -> str:
    found = tracker.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    run = found[0] if found else tracker.create_run(experiment_id, start_time=started, run_name=name, tags=tags | {KEY: key})
    return run.info.run_id


def _running_children(tracker: "MlflowClient", experiment_id: str, parent: str) -> list:
    return tracker.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'")


def end_child(
    tracker: "MlflowClient", parent: str, child: str, manifest: "Manifest | None", failed: bool, ended: int, raw: "Manifest | None" = None
) -> None:
    """Log the artifact's counts, identity and digest, what it was made from, and end the run; with it the parent's, if it was the last."""
    if manifest is not None:
        log_manifest(tracker, child, manifest, ended, raw)
    tracker.set_terminated(child, "FAILED" if failed else "FINISHED", end_time=ended)
    run = tracker.get_run(parent)
    if not failed and run.info.status == "RUNNING" and not _running_children(tracker, run.info.experiment_id, parent):
        tracker.set_terminated(parent, "FINISHED", end_time=ended)


def log_manifest(tracker: "MlflowClient", run_id: str, manifest: "Manifest", ended: int, raw: "Manifest | None" = None) -> None:
    """Log an artifact's counts and scores, identity and digest, and its parents (and raw sources, if it was read from some) as data sets."""
    from mlflow.entities import Param

    numbers = {key: value for key, value in manifest.counts.items() if isinstance(value, int | float)}
    log_numbers(tracker, run_id, numbers | manifest.counts.get("scores", {}), ended)
    tracker.set_tag(run_id, "digest", manifest.digest)
    tracker.set_tag(run_id, "commit", str(manifest.recorded.get("commit")))
    params = [Param("artifact", f"{manifest.name}@{manifest.version}"), Param("code", manifest.identity["code"])]
    tracker.log_batch(run_id, params=params)
    if inputs := [*parent_inputs(manifest), *source_inputs(manifest, raw)]:
        tracker.log_inputs(run_id, inputs)


def log_numbers(tracker: "MlflowClient", run_id: str, numbers: dict[str, float], at: int) -> None:
    """Log what was measured once, at step 0."""
    if numbers:
        tracker.log_batch(run_id, metrics=metrics_of([numbers | {"step": 0, "time": at / 1000}]))


# --- rows --------------------------------------------------------------------------------------------------------------------


def metric_name(key: str) -> str:
    """Write a metric's name in the letters that MLflow allows."""
    return re.sub(r"[^\w./: -]", "_", key, flags=re.ASCII)


def metrics_of(rows: Iterable[Row]) -> "list[Metric]":
    """Return the numbers of journal rows as metrics, at their own step and time; names in the letters that MLflow allows."""
    from mlflow.entities import Metric

    return [
        Metric(metric_name(key), float(value), round(row["time"] * 1000), int(row["step"]))
        for row in rows for key, value in row.items() if key not in ("step", "time") and isinstance(value, int | float)
    ]  # fmt: skip


def log_rows(tracker: "MlflowClient", run_id: str, rows: list[Row], in_doubt: bool, deadline: float = math.inf) -> bool:
    """Log rows in as few calls as MLflow allows; if some may have been logged already, only what the run lacks; False if time was up."""
    metrics = metrics_of(rows)
    if in_doubt:
        held = {(m.key, m.step, m.timestamp) for key in {m.key for m in metrics} for m in tracker.get_metric_history(run_id, key)}
        metrics = [m for m in metrics if (m.key, m.step, m.timestamp) not in held]
    for start in range(0, len(metrics), METRICS_PER_CALL):
        if time.monotonic() > deadline:
            return False
        tracker.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_CALL])
    return True


def remove_run(tracker: "MlflowClient", run_id: str) -> None:
    """Move a run to MLflow's trash, where it may be already."""
    if tracker.get_run(run_id).info.lifecycle_stage == "active":
        tracker.set_tag(run_id, "superseded", "steps were taken again after a restart: another run has all of them")
        tracker.delete_run(run_id)
