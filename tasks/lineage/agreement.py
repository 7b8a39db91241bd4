"""A store's artifacts beside what MLflow has of them: every difference in a sentence.

The store is the record and MLflow a view of it, so what differs is wrong in MLflow, or was not sent yet (`reynard track`).
"""

import math
from typing import TYPE_CHECKING

from tasks.artifacts.manifest import Manifest
from tasks.lineage.graph import Graph, label_of, place_of, recorded_parents
from tasks.runtime.inputs import dataset_digest
from tasks.runtime.tracker import EXPERIMENT, metric_name

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PAGE = 1000


def differences(tracker: "MlflowClient", graph: Graph, store: str, whole: bool) -> tuple[int, list[str]]:
    """Return how many runs and model versions were compared, and what differs; `whole` if the graph is all that the store holds.

    Any exception of MLflow's if it does not answer.
    """
    runs = runs_of(tracker)
    parents = {run.info.run_id for run in runs if run.data.tags.get("store") == store}
    own = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in parents]
    by_artifact: dict[str, list[Run]] = {}
    for run in own or runs:  # a store that was moved is known by its artifacts alone
        by_artifact.setdefault(run.data.tags.get("artifact", ""), []).append(run)
    said: list[str] = []
    for manifest in graph.manifests.values():
        said += compare_runs(manifest, by_artifact.get(f"{manifest.name}@{manifest.version}", []))
    if whole:
        known = {f"{one.name}@{one.version}" for one in graph.manifests.values()}
        said += [
            f"MLflow's run {run.info.run_id} says it made {made}, which the store does not have"
            for run in own if run.info.status == "FINISHED" and (made := run.data.tags.get("artifact")) and made not in known
        ]  # fmt: skip
    releases = [one for one in graph.manifests.values() if one.kind == "release"]
    for release in releases:
        said += compare_version(tracker, graph, release)
    return len(runs) + len(releases), said


def runs_of(tracker: "MlflowClient") -> "list[Run]":
    """Return all live runs of the project's experiment."""
    experiment = tracker.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    found, token = [], None
    while True:
        page = tracker.search_runs([experiment.experiment_id], max_results=PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def compare_runs(manifest: Manifest, runs: "list[Run]") -> list[str]:
    """Compare an artifact with the runs that made or found it: digest, commit, inputs and counts."""
    name = label_of(manifest)
    ended = [run for run in runs if run.info.status == "FINISHED"]
    if not ended:
        return [f"{name}: MLflow has no finished run that made or found it"]
    said = []
    wanted = {dataset_digest(digest) for digest in recorded_parents(manifest).values()}
    numbers = {metric_name(key): float(value) for key, value in manifest.counts.items() if isinstance(value, int | float)}
    for run in ended:
        tags, at = run.data.tags, f"{name}: MLflow's run {run.info.run_id}"
        if tags.get("digest") != manifest.digest:
            said.append(f"{at} has digest {str(tags.get('digest'))[:16]}, the store {manifest.digest[:16]}")
        if tags.get("commit") != str(manifest.recorded.get("commit")):
            said.append(f"{at} has commit {str(tags.get('commit'))[:16]}, the store {str(manifest.recorded.get('commit'))[:16]}")
        inputs = {entry.dataset.digest for entry in run.inputs.dataset_inputs} if run.inputs else set()
        if missing := sorted(wanted - inputs):
            said.append(f"{at} lacks {len(missing)} of {len(wanted)} parents among its data sets, the first with digest {missing[0][:16]}")
        for key, value in numbers.items():
            found = run.data.metrics.get(key)
            if key != "loss" and (found is None or not math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-12)):
                said.append(f"{at} has {key} {found}, the store {value}")
    return said


def compare_version(tracker: "MlflowClient", graph: Graph, release: Manifest) -> list[str]:
    """Compare a release with the model registry: a version with its digest, and the digests of all that it came from."""
    name = str(release.counts.get("repository"))
    versions = [one for one in tracker.search_model_versions(f"name = '{name}'") if one.tags.get("digest") == release.digest]
    if not versions:
        return [f"{label_of(release)}: MLflow's registry has no version of {name} with its digest {release.digest[:16]}"]
    said, tags = [], versions[0].tags
    for place, one in graph.back([place_of(release)]).manifests.items():
        told = tags.get(f"lineage.{one.name}")
        if place != place_of(release) and told is not None and told.split()[-1] != one.digest:
            said.append(
                f"{label_of(release)}: version {versions[0].version} of {name} says that {one.name} is {told[:40]}, the store {one.digest[:16]}"
            )
    return said
