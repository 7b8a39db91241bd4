"""What a task did to MLflow, without ever letting MLflow decide whether the task goes on.

Every call is tried, and a tracker that does not answer costs one warning: the manifests and journals in the artifact store are
the record, MLflow is a view of them. Run ids are passed between tasks; no global MLflow state is used.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from tasks.artifacts.manifest import Manifest

T = TypeVar("T")
EXPERIMENT = "reynard"
BACK_OFF_SECONDS = 30.0
_down_until: dict[str, float] = {}


def client(uri: str) -> "MlflowClient":
    """Open MLflow with short timeouts: an outage must cost seconds, not hours."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
    with quiet_logs():
        from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """Keep database-migration chatter off the terminal."""
    import logging

    for name in ("alembic", "mlflow.store.db.utils", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    yield


def attempt(uri: str, call: Callable[[], T]) -> T | None:
    """Run a tracking call; on failure say so, return None, and leave that tracker alone for half a minute."""
    if time.monotonic() < _down_until.get(uri, 0.0):
        return None
    try:
        return call()
    except Exception as error:  # whatever a tracker throws, the work goes on
        _down_until[uri] = time.monotonic() + BACK_OFF_SECONDS
        print(
            f"! MLflow at {uri} failed ({type(error).__name__}: {str(error)[:300]}): going on without it, metrics stay in the artifact store's journals",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return None


def start_parent(uri: str, run_name: str, artifact_location: str | None, tags: dict[str, str]) -> str:
    """Start the run of a whole pipeline and return its id, or an empty string if MLflow does not answer."""

    def call() -> str:
        tracker = client(uri)
        experiment = tracker.get_experiment_by_name(EXPERIMENT)
        experiment_id = (
            experiment.experiment_id if experiment else tracker.create_experiment(EXPERIMENT, artifact_location=artifact_location)
        )
        return tracker.create_run(experiment_id, run_name=run_name, tags=tags).info.run_id

    return attempt(uri, call) or ""


def end_parent(uri: str, run_id: str, metrics: dict[str, float], tags: dict[str, str], failed: bool) -> None:
    """Record a pipeline's results and end its run."""

    def call() -> None:
        tracker = client(uri)
        log_metrics(tracker, run_id, metrics, 0)
        for key, value in tags.items():
            tracker.set_tag(run_id, key, value)
        tracker.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    if run_id:
        attempt(uri, call)


def log_metrics(tracker: "MlflowClient", run_id: str, metrics: dict[str, float], step: int) -> None:
    """Log metrics of one step in one request."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    tracker.log_batch(run_id, metrics=[Metric(key, float(value), now, step) for key, value in metrics.items()])


class Tracking:
    """One task's child run."""

    def __init__(self, uri: str, parent: str) -> None:
        self.uri, self.parent, self.child = uri, parent, ""

    def start_child(self, name: str, tags: dict[str, str]) -> None:
        """Start the child run under its pipeline's run."""

        def call() -> str:
            tracker = client(self.uri)
            experiment_id = tracker.get_run(self.parent).info.experiment_id
            return tracker.create_run(experiment_id, run_name=name, tags=tags | {"mlflow.parentRunId": self.parent}).info.run_id

        if self.parent:
            self.child = attempt(self.uri, call) or ""

    def journal(self, rows: list[dict[str, float]]) -> None:
        """Log journal rows: numbers by their own names, at their own step and time. Logging a row again changes nothing a reader sees."""

        def call() -> None:
            from mlflow.entities import Metric

            skip = ("step", "time")
            metrics = [
                Metric(key, float(value), int(row["time"] * 1000), int(row["step"]))
                for row in rows for key, value in row.items() if key not in skip and isinstance(value, int | float)
            ]  # fmt: skip
            tracker = client(self.uri)
            for start in range(0, len(metrics), 900):
                tracker.log_batch(self.child, metrics=metrics[start : start + 900])

        if self.child and rows:
            attempt(self.uri, call)

    def finish(self, manifest: "Manifest | None", failed: bool) -> None:
        """Log the artifact's counts, identity and digest, its parents as datasets, and end the child run."""

        def call() -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag, Param

            tracker = client(self.uri)
            if manifest is not None:
                numbers = {key: value for key, value in manifest.counts.items() if isinstance(value, int | float)}
                log_metrics(tracker, self.child, numbers | manifest.counts.get("scores", {}), 0)
                tracker.set_tag(self.child, "digest", manifest.digest)
                tracker.set_tag(self.child, "commit", str(manifest.recorded.get("commit")))
                params = [Param("artifact", f"{manifest.name}@{manifest.version}"), Param("code", manifest.identity["code"])]
                tracker.log_batch(self.child, params=params)
                inputs = []
                for role, parent in manifest.identity.get("parent_artifacts", {}).items():
                    digest = manifest.identity["parents"][role]
                    dataset = Dataset(
                        name=f"{parent['name']}@{parent['version'][:8]}",
                        digest=digest[:36],
                        source_type="reynard",
                        source=f'{{"uri": "{parent["uri"]}"}}',
                    )
                    inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", role)]))
                if inputs:
                    tracker.log_inputs(self.child, inputs)
            tracker.set_terminated(self.child, "FAILED" if failed else "FINISHED")

        if self.child:
            attempt(self.uri, call)
