"""What a task did to MLflow, without ever letting MLflow decide whether the task goes on.

Manifests and journals in the artifact store are the record, MLflow is a view of them. Every call is tried; what MLflow did not take is
kept in the store (`outbox.py`) and sent by the next task of the run that finds MLflow answering, or by `reynard track`. A journal's
rows are sent while they are written, by a thread (`feeder.py`). A workflow's run is RUNNING while one of its tasks is, and FINISHED
when none is. Run ids are passed between tasks; no global MLflow state is used.
"""

import sys
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.artifacts.store import Store, open_store
from tasks.runtime.execution import described, execution_tags
from tasks.runtime.feeder import Feeder
from tasks.runtime.outbox import FOLDER, PENDING, ChildNote, EndNote, Outbox, ParentNote
from tasks.runtime.tracker import KEY, Row, attempt, client, now, open_parent

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CATCH_UP_SECONDS = 20.0


def start_parent(uri: str, run_name: str, artifact_location: str | None, tags: dict[str, str]) -> str:
    """Start the run of a whole workflow and return its id, or the name it goes by until MLflow answers; the tag `store` says where notes go."""
    execution = execution_tags()
    tags = tags | execution | described({"Flyte execution": execution.get("flyte.console", ""), "artifacts": tags["store"]})
    note, key = ParentNote(uri, run_name, artifact_location, tags, now()), PENDING + uuid.uuid4().hex
    opened = attempt(uri, lambda: open_parent(client(uri), key, run_name, artifact_location, tags, note.started))
    return opened or Outbox(open_store(tags["store"])).keep_parent(note, key)


def end_parent(uri: str, run_id: str, metrics: dict[str, float], tags: dict[str, str], failed: bool, store: str) -> None:
    """Record a workflow's results and end its run, after what its tasks could not send."""
    if run_id:
        outbox, note = Outbox(open_store(store)), EndNote(uri, run_id, metrics, tags, failed, now())
        outbox.keep(note, [])
        send_owed(outbox, uri, run_id, CATCH_UP_SECONDS)


def send_owed(outbox: Outbox, uri: str, parent: str, seconds: float) -> int:
    """Send what MLflow did not take, as far as it answers and there is time; return how many notes are still owed."""
    deadline, failures = time.monotonic() + seconds, 0
    owed = outbox.owed(parent)
    for number, folder in enumerate(owed):
        if time.monotonic() > deadline or failures == 2:  # one may be about a run that somebody deleted
            return len(owed) - number + failures
        if not attempt(uri, lambda folder=folder: outbox.deliver(client(uri), folder, deadline), though_down=True):
            failures += 1
    return failures


class Tracking:
    """One task's run below its workflow's; with no workflow's run nothing is tracked."""

    def __init__(self, uri: str, parent: str, store: Store | None = None) -> None:
        self.uri, self.parent = uri, parent if store else ""
        self.outbox = Outbox(store) if store else None
        self.note: ChildNote | None = None
        self.feeder: Feeder | None = None

    @property
    def child(self) -> str:
        """The id of the task's run; empty as long as MLflow has not opened it."""
        return self.note.run_id if self.note else ""

    @property
    def link(self) -> str:
        """The address of the task's run in MLflow's own interface; empty as long as there is none, or no server to show it."""
        return f"{self.uri.rstrip('/')}/#/runs/{self.child}" if self.child and self.uri.startswith(("http://", "https://")) else ""

    @property
    def recorded(self) -> dict[str, str]:
        """What a manifest records of where it is tracked: the key that finds the run, and its page; no address of a local database."""
        link = {"mlflow": self.link} if self.link else {}
        return ({KEY: self.note.key} if self.note else {}) | link | execution_tags()

    def start_child(self, name: str, tags: dict[str, str]) -> None:
        """Start the task's run."""
        if self.parent:
            tags = tags | execution_tags()
            self.note = note = ChildNote(self.uri, self.parent, name, tags, now())
            attempt(self.uri, lambda: self.outbox.open_child(client(self.uri), note))

    def follow(self, all_rows: Callable[[], list[Row]]) -> Feeder:
        """Start the thread that logs a journal's rows as they are added; `all_rows` reads the journal, one row a step."""
        self.feeder = Feeder(self.uri if self.note else "", self._open, all_rows)
        return self.feeder

    def _open(self, tracker: "MlflowClient", anew: bool) -> str:
        assert self.note is not None and self.outbox is not None
        if anew:
            self.outbox.renew_child(tracker, self.note)
        return self.outbox.open_child(tracker, self.note)

    def finish(self, folder: str, failed: bool) -> None:
        """End the task's run with what the manifest in a folder says; what cannot be sent in a bounded time is kept in the store."""
        if not self.note:
            return
        note, left = self.note, []
        if self.feeder:
            left, note.anew = self.feeder.close(CATCH_UP_SECONDS)
        note.ended, note.failed, note.artifact = now(), failed, folder
        if left or note.anew or not attempt(self.uri, lambda: self.outbox.end_child(client(self.uri), note), though_down=True):
            self.outbox.keep(note, left)
            late = f" and {len(left):,} steps" if left else ""
            print(
                f"! {note.name}: its end{late} did not reach MLflow yet and is kept in {self.outbox.store.uri(FOLDER)}",
                file=sys.stderr,
                flush=True,
            )
        else:
            send_owed(self.outbox, self.uri, self.parent, CATCH_UP_SECONDS)
