"""A release to a version in MLflow's model registry that leads back to the artifacts and raw sources it came from.

The version is made as `candidate` when a model is released, and becomes `released` when it was published or approved. Both are notes in
the outbox, tried at once: what MLflow does not take then is sent by the next task, at the end of the run or by `reynard track`.
"""

import sys
import tempfile
import time
from typing import TYPE_CHECKING

from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import Manifest, read_manifest
from tasks.artifacts.store import Store
from tasks.runtime.outbox import NO_RUN, ModelNote, Outbox
from tasks.runtime.tracker import EXPERIMENT, KEY, attempt, client
from tasks.runtime.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CANDIDATE, RELEASED = "candidate", "released"


def register_model(tracking: Tracking, release: Manifest, tags: dict[str, str]) -> None:
    """Make a release the `candidate` of its name: a LoggedModel and a version with its lineage and tags, unless its digest is registered already."""
    if tracking.note and tracking.outbox:
        note = ModelNote(tracking.uri, tracking.parent, tracking.note.key, f"{release.kind}/{release.version}", CANDIDATE, tags)
        _tell(tracking.outbox, note, now=bool(tracking.child))  # a run that is not open yet is opened when the task ends: then this follows


def mark_released(uri: str, store: Store, release: Manifest, where: dict[str, str]) -> None:
    """Give a release's version the alias `released`, once it was published or approved; the version is made if it is not there.

    `where` is kept as tags: the repository's address, the revision, who approved; no secret belongs in it. Costs nothing if MLflow is down.
    """
    tags = {"released_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} | {f"released.{key}": value for key, value in where.items()}
    _tell(Outbox(store), ModelNote(uri, NO_RUN, "", f"{release.kind}/{release.version}", RELEASED, tags), now=True)


def _tell(outbox: Outbox, note: ModelNote, now: bool) -> None:
    """Keep a note, and try to deliver it at once."""
    folder = outbox.keep_model(note)
    if now:
        attempt(note.uri, lambda: outbox.deliver(client(note.uri), folder, float("inf")))


def deliver_model(tracker: "MlflowClient", store: Store, note: ModelNote) -> None:
    """Do what a note says: find the version of a release, or make it, and give it the alias. May be done twice."""
    manifest = read_manifest(store, note.artifact)
    if manifest is None:
        print(f"! {store.uri(note.artifact)} is not there any more: MLflow's registry is not told of it", file=sys.stderr, flush=True)
        return
    name = str(manifest.counts["repository"])
    version = find_version(tracker, name, manifest.digest) or _make_version(tracker, store, manifest, name, note.key)
    for key, value in note.tags.items():
        tracker.set_model_version_tag(name, version.version, key, value)
    tracker.set_registered_model_alias(name, note.alias, version.version)


def find_version(tracker: "MlflowClient", name: str, digest: str) -> "ModelVersion | None":
    """Return the version of a name that has a release's digest, if there is one."""
    if not tracker.search_registered_models(f"name = '{name}'"):
        return None
    return next((one for one in tracker.search_model_versions(f"name = '{name}'") if one.tags.get("digest") == digest), None)


def _make_version(tracker: "MlflowClient", store: Store, manifest: Manifest, name: str, key: str) -> "ModelVersion":
    """Record a LoggedModel of the task's run that released it, and register it as the next version of its name."""
    import mlflow
    from mlflow.models import Model

    mlflow.set_tracking_uri(tracker.tracking_uri)  # the registry resolves models:/ addresses by MLflow's global setting only
    if not tracker.search_registered_models(f"name = '{name}'"):
        tracker.create_registered_model(name, description="Released by Reynard")
    run_id, experiment = _run_of(tracker, manifest, key)
    tags = {"digest": manifest.digest, "artifact": f"{manifest.name}@{manifest.version}", "store": store.root}
    try:
        tags |= {f"lineage.{one.name}": f"{one.name}@{one.version[:8]} {one.digest}" for one in ancestors(store, manifest)[1:]}
    except FileNotFoundError as broken:
        tags |= {"lineage": str(broken)}
    logged = tracker.create_logged_model(experiment, name=name, source_run_id=run_id, tags=tags, model_type="transformers")
    with tempfile.TemporaryDirectory() as scratch:  # the registry reads a model's description from its own artifacts
        flavour = {"digest": manifest.digest, "folder": store.uri(f"{manifest.kind}/{manifest.version}")}
        Model(artifact_path=name, run_id=run_id, flavors={"reynard": flavour}).save(f"{scratch}/MLmodel")
        tracker.log_model_artifacts(logged.model_id, scratch)
    tracker.finalize_logged_model(logged.model_id, "READY")
    return tracker.create_model_version(name, source=f"models:/{logged.model_id}", run_id=run_id, tags=tags, model_id=logged.model_id)


def _run_of(tracker: "MlflowClient", manifest: Manifest, key: str) -> tuple[str | None, str]:
    """Return the task's run that released a model, and its experiment; LookupError if it is known and was not opened yet."""
    experiment = tracker.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        if key:
            raise LookupError("the run that released it is not in MLflow yet")
        return None, tracker.create_experiment(EXPERIMENT)
    told = f"tags.`{KEY}` = '{key}'" if key else f"tags.artifact = '{manifest.name}@{manifest.version}'"
    found = tracker.search_runs([experiment.experiment_id], told, max_results=1)
    if key and not found:
        raise LookupError("the run that released it is not in MLflow yet")
    return (found[0].info.run_id if found else None), experiment.experiment_id
