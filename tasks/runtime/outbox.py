"""What MLflow did not take, kept in the artifact store until it does: `tracking/<run>/<what>/note.json` to runs, metrics and their ends.

A workflow's run that MLflow could not open goes by a name of ours (`pending-…`); the note `parent` says what to open and, once that is
done, under which id. A note named by a key is a task's run that could not be brought to its end, with the rows it lacks in
`rows.jsonl`. The note `end` is the end of the whole.
"""

import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tasks.artifacts.manifest import Manifest, read_manifest
from tasks.artifacts.store import Store
from tasks.runtime.tracker import Row, end_child, log_numbers, log_rows, open_child, open_parent, remove_run

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

FOLDER, PENDING, PARENT, END = "tracking", "pending-", "parent", "end"
MODEL = "model-"  # begins the name of a note about a version in the model registry
NO_RUN = "registry"  # where notes lie that belong to no run


@dataclass
class ParentNote:
    """The run of a whole workflow that is yet to be opened, or was opened late."""

    uri: str
    name: str
    artifact_location: str | None
    tags: dict[str, str]
    started: int
    run_id: str = ""


@dataclass
class ChildNote:
    """A task's run."""

    uri: str
    parent: str  # run id, or the name of one that is pending
    name: str
    tags: dict[str, str]
    started: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_id: str = ""
    anew: bool = False  # the run holds rows that are no longer true: another takes its place
    ended: int = 0
    failed: bool = False
    artifact: str = ""  # the folder of its manifest


@dataclass
class EndNote:
    """The end of a workflow's run."""

    uri: str
    parent: str
    metrics: dict[str, float]
    tags: dict[str, str]
    failed: bool
    ended: int


@dataclass
class ModelNote:
    """An alias that a release's version in the model registry is to have; the version is made if it is not there."""

    uri: str
    parent: str  # of the task's run that released it; NO_RUN if that is over
    key: str  # of that task's run; empty as well
    artifact: str  # the folder of the release's manifest
    alias: str
    tags: dict[str, str]

    @property
    def what(self) -> str:
        """The note's name."""
        return f"{MODEL}{self.artifact.rpartition('/')[2]}-{self.alias}"


class Outbox:
    """The notes in one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def keep(self, note: ChildNote | EndNote, rows: list[Row]) -> None:
        """Keep a note, and the rows that MLflow lacks, until they are delivered."""
        folder = f"{FOLDER}/{note.parent}/{note.key if isinstance(note, ChildNote) else END}"
        if rows:
            self.store.write(f"{folder}/rows.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in rows))
        self._write(folder, note)

    def keep_model(self, note: ModelNote) -> str:
        """Keep what the model registry is to be told, until it is; return the note's folder."""
        folder = f"{FOLDER}/{note.parent}/{note.what}"
        self._write(folder, note)
        return folder

    def keep_parent(self, note: ParentNote, parent: str) -> str:
        """Keep what is needed to open a workflow's run later, under the name it goes by until then; return the name."""
        self._write(f"{FOLDER}/{parent}/{PARENT}", note)
        return parent

    def owed(self, parent: str = "") -> list[str]:
        """Return the folders of notes (of one workflow's run) that are to be delivered: runs, then model versions, the end of the whole last."""
        notes = [key.removesuffix("/note.json") for key in self.store.list(f"{FOLDER}/{parent}".rstrip("/")) if key.endswith("/note.json")]
        owed = [folder for folder in notes if not folder.endswith(f"/{PARENT}") or not self.note(folder)["run_id"]]
        return sorted(owed, key=lambda folder: (folder.endswith(f"/{END}"), f"/{MODEL}" in folder, folder))

    def note(self, folder: str) -> dict[str, Any]:
        """Return what a note says."""
        return orjson.loads(self.store.read(f"{folder}/note.json"))

    def _write(self, folder: str, note: ParentNote | ChildNote | EndNote | ModelNote) -> None:
        self.store.write(f"{folder}/note.json", orjson.dumps(asdict(note)))

    def parent_run(self, tracker: "MlflowClient", parent: str) -> str:
        """Return the id of a workflow's run, which is opened if it is pending."""
        if not parent.startswith(PENDING):
            return parent
        folder = f"{FOLDER}/{parent}/{PARENT}"
        note = ParentNote(**self.note(folder))
        if not note.run_id:
            note.run_id = open_parent(tracker, parent, note.name, note.artifact_location, note.tags, note.started)
            self._write(folder, note)
        return note.run_id

    def open_child(self, tracker: "MlflowClient", note: ChildNote) -> str:
        """Return the id of a task's run, which is opened if need be."""
        if not note.run_id:
            parent = self.parent_run(tracker, note.parent)
            note.run_id = open_child(tracker, parent, note.key, note.name, note.tags, note.started)
        return note.run_id

    def renew_child(self, tracker: "MlflowClient", note: ChildNote) -> None:
        """Take a task's run away, since what it holds is no longer true: another is opened in its place."""
        if note.run_id:
            remove_run(tracker, note.run_id)
            note.run_id, note.key = "", uuid.uuid4().hex
        note.anew = False

    def end_child(self, tracker: "MlflowClient", note: ChildNote) -> bool:
        """Bring a task's run to its end, all of whose rows are logged."""
        child = self.open_child(tracker, note)
        manifest = read_manifest(self.store, note.artifact) if note.artifact else None
        end_child(tracker, self.parent_run(tracker, note.parent), child, manifest, note.failed, note.ended, self._raw_of(manifest))
        return True

    def _raw_of(self, manifest: Manifest | None) -> Manifest | None:
        """Return the raw artifact that another was read from, if it was and that is there."""
        raw = ((manifest.identity.get("parent_artifacts") or {}) if manifest else {}).get("raw")
        return read_manifest(self.store, "/".join(raw["uri"].split("/")[-3:-1])) if raw else None

    def end_parent(self, tracker: "MlflowClient", note: EndNote) -> None:
        """Bring a workflow's run to its end."""
        run_id = self.parent_run(tracker, note.parent)
        log_numbers(tracker, run_id, note.metrics, note.ended)
        for key, value in note.tags.items():
            tracker.set_tag(run_id, key, value)
        tracker.set_terminated(run_id, "FAILED" if note.failed else "FINISHED", end_time=note.ended)

    def deliver(self, tracker: "MlflowClient", folder: str, deadline: float) -> bool:
        """Send what one note says and forget it; tell whether the time was enough. May be done twice: nothing is logged a second time."""
        try:
            note = self.note(folder)
        except FileNotFoundError:  # another task has just delivered it
            return True
        if folder.endswith(f"/{PARENT}"):
            self.parent_run(tracker, folder.split("/")[1])
            return True
        if f"/{MODEL}" in folder:
            from tasks.runtime.registry import deliver_model

            deliver_model(tracker, self.store, ModelNote(**note))
        elif folder.endswith(f"/{END}"):
            self.end_parent(tracker, EndNote(**note))
        else:
            child = ChildNote(**note)
            if child.anew:
                self.renew_child(tracker, child)
                self._write(folder, child)  # another try finds the new run by its key
            self.open_child(tracker, child)
            rows = f"{folder}/rows.jsonl"
            lines = self.store.read(rows).splitlines() if self.store.exists(rows) else []
            if not log_rows(tracker, child.run_id, [orjson.loads(line) for line in lines], in_doubt=True, deadline=deadline):
                return False
            self.end_child(tracker, child)
        self.store.delete(folder, first="/note.json")
        return True
