"""Releases in MLflow's registry, artifacts as its data sets, and links between it, the store and Flyte: on SQLite, and while nothing answers."""

from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from infra.local.services import free_port
from tasks.artifacts.handles import Handle, Run
from tasks.artifacts.manifest import read_manifest
from tasks.artifacts.store import Store
from tasks.lineage.agreement import differences
from tasks.lineage.graph import store_graph
from tasks.runtime import tracker
from tasks.runtime.execution import console_link, flyte_execution
from tasks.runtime.outbox import Outbox
from tasks.runtime.production import Production
from tasks.runtime.registry import mark_released, register_model
from tasks.runtime.tracking import end_parent, send_owed, start_parent

FLYTE = {"PROJECT": "reynard", "DOMAIN": "production", "ID": "a1b2c3"}


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """No memory of trackers that were down."""
    monkeypatch.setattr(tracker, "_down_until", {})
    monkeypatch.setattr(tracker, "_said_down", set())


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory) -> str:
    """The address of an empty SQLite store."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    tracker.client(uri).search_experiments()
    return uri


def start(uri: str, folder: Path) -> Run:
    """Start a workflow's run with a store of its own."""
    store = str(folder / "store")
    parent = start_parent(uri, "r", None, {"store": store, "run": "r"})
    return Run(name="r", folder=str(folder), store=store, profile="local", tracking_uri=uri, tracking_run=parent, started=0.0)


def make(run: Run, text: str = "weights") -> Handle:
    """Make raw data, documents from it, and a release of them; return the release."""
    marks = {"books": [["books.txt", 10, "sha256:00"]], "pages": [["a.html", 5, "sha256:01"], ["b.html", 6, "sha256:02"]]}
    with Production(run, "raw", "raw-documents", marks, {}, "tasks.preflight") as raw:
        raw.add_text("marks.json", b"{}")
        raw.seal({"files": 3, "bytes": 21}, {"places": {}})
    sources = [{"name": "books", "licence": "CC0-1.0", "location": "books.txt"}, {"name": "pages", "licence": "MIT", "revision": "7"}]
    with Production(run, "documents", "documents", {"sources": sources}, {"raw": raw.handle(Handle)}, "tasks.curation") as documents:
        documents.seal({"documents_in": 3, "documents_kept": 2}, {})
    with Production(run, "release", "release-chat", {"text": text}, {"checkpoint": documents.handle(Handle)}, "tasks.release") as made:
        made.add_text("model/model.safetensors", text.encode())
        made.seal({"repository": f"M-{Path(run.folder).name}", "folder": "release/chat"}, {})
        register_model(made.tracking, made.manifest, {"openness": "III"})
        return made.handle(Handle)


def runs(uri: str, run: Run) -> dict:
    """The runs of a workflow's tasks by name."""
    client = MlflowClient(uri)
    parent = Outbox(Store(run.store)).parent_run(client, run.tracking_run)
    experiment = client.get_experiment_by_name("reynard").experiment_id
    return {one.info.run_name: one for one in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")}


def test_a_release_is_a_candidate_with_its_lineage_and_becomes_released(sqlite, tmp_path: Path):
    run = start(sqlite, tmp_path)
    release, client, name = make(run), MlflowClient(sqlite), f"M-{tmp_path.name}"
    version = client.get_model_version_by_alias(name, "candidate")
    documents = read_manifest(Store(run.store), f"documents/{store_graph(Store(run.store)).made[1].split('/')[1]}")
    assert version.tags["digest"] == release.digest and version.tags["openness"] == "III"
    assert version.tags["lineage.documents"] == f"documents@{documents.version[:8]} {documents.digest}"
    assert (
        version.run_id == runs(sqlite, run)["release-chat"].info.run_id
        and client.get_logged_model(version.source.removeprefix("models:/")).name == name
    )
    manifest = read_manifest(Store(run.store), f"release/{release.version}")
    mark_released(sqlite, Store(run.store), manifest, {"repository": "https://hub.example/org/M", "revision": "v0.1.0"})
    mark_released(sqlite, Store(run.store), manifest, {"repository": "https://hub.example/org/M", "revision": "v0.1.0"})
    released = client.get_model_version_by_alias(name, "released")
    assert released.version == version.version and released.tags["released.revision"] == "v0.1.0"
    assert len(client.search_model_versions(f"name = '{name}'")) == 1 and not Outbox(Store(run.store)).owed()


def test_another_digest_is_another_version_and_the_released_one_stays(sqlite, tmp_path: Path):
    run, client, name = start(sqlite, tmp_path), MlflowClient(sqlite), f"M-{tmp_path.name}"
    first = make(run)
    mark_released(sqlite, Store(run.store), read_manifest(Store(run.store), f"release/{first.version}"), {})
    make(run, "other weights")
    assert [str(client.get_model_version_by_alias(name, alias).version) for alias in ("released", "candidate")] == ["1", "2"]
    make(run)  # found in the store: what is at hand is the candidate again
    assert str(client.get_model_version_by_alias(name, "candidate").version) == "1"


def test_stages_have_their_parents_and_raw_sources_as_data_sets_with_digests_and_licences(sqlite, tmp_path: Path):
    run = start(sqlite, tmp_path)
    make(run)
    inputs = {entry.dataset.name.split("@")[0]: entry for entry in runs(sqlite, run)["documents"].inputs.dataset_inputs}
    assert set(inputs) == {"raw-documents", "books", "pages"}
    raw = read_manifest(Store(run.store), store_graph(Store(run.store)).made[0])
    tags = {name: {tag.key: tag.value for tag in entry.tags} for name, entry in inputs.items()}
    assert inputs["raw-documents"].dataset.digest == raw.digest[:36] and tags["raw-documents"]["digest"] == raw.digest
    assert (tags["pages"]["licence"], tags["pages"]["files"], tags["pages"]["bytes"], tags["pages"]["revision"]) == ("MIT", "2", "11", "7")
    import mlflow.data

    assert mlflow.data.get_source(inputs["raw-documents"].dataset).uri.endswith(f"/store/raw/{raw.version}/manifest.json")


def test_what_mlflow_missed_is_registered_when_it_answers(tmp_path: Path):
    run = start(f"http://127.0.0.1:{free_port()}", tmp_path / "x")
    release = make(run)
    end_parent(run.tracking_uri, run.tracking_run, {}, {}, failed=False, store=run.store)
    manifest = read_manifest(Store(run.store), f"release/{release.version}")
    mark_released(run.tracking_uri, Store(run.store), manifest, {"revision": "v1"})
    later, outbox = f"sqlite:///{tmp_path}/later.db", Outbox(Store(run.store))
    for parent in dict.fromkeys(folder.split("/")[1] for folder in outbox.owed()):
        assert send_owed(outbox, later, parent, 600.0) == 0
    client = MlflowClient(later)
    versions = client.search_model_versions("name = 'M-x'")
    assert [one.tags["digest"] for one in versions] == [release.digest] and set(client.get_registered_model("M-x").aliases) == {
        "candidate",
        "released",
    }
    assert client.get_run(versions[0].run_id).info.run_name == "release-chat"


def test_runs_name_their_flyte_execution_and_lead_to_it_and_the_store_leads_to_the_run(sqlite, tmp_path: Path, monkeypatch):
    for name, value in FLYTE.items():
        monkeypatch.setenv(f"FLYTE_INTERNAL_EXECUTION_{name}", value)
    monkeypatch.setenv("REYNARD_FLYTE_CONSOLE", "https://flyte.example.org/console/")
    link = "https://flyte.example.org/console/projects/reynard/domains/production/executions/a1b2c3"
    assert (flyte_execution(), console_link()) == ("reynard/production/a1b2c3", link)
    run = start(sqlite, tmp_path)
    release = make(run)
    parent = MlflowClient(sqlite).get_run(run.tracking_run)
    assert parent.data.tags["flyte.execution"] == "reynard/production/a1b2c3" and f"]({link})" in parent.data.tags["mlflow.note.content"]
    task, recorded = runs(sqlite, run)["release-chat"], read_manifest(Store(run.store), f"release/{release.version}").recorded
    assert task.data.tags["flyte.console"] == recorded["flyte.console"] == link
    assert task.data.tags[tracker.KEY] == recorded[tracker.KEY] and "mlflow" not in recorded  # a database's path says nothing elsewhere


def test_a_store_and_mlflow_that_agree_say_so_and_every_difference_is_named(sqlite, tmp_path: Path):
    run, client = start(sqlite, tmp_path), MlflowClient(sqlite)
    make(run)
    graph, mine = store_graph(Store(run.store)), runs(sqlite, run)
    assert differences(client, graph, run.store, whole=True)[1] == []
    client.set_tag(mine["documents"].info.run_id, "digest", "0" * 64)
    client.set_tag(mine["raw-documents"].info.run_id, "commit", "another")
    client.delete_run(mine["release-chat"].info.run_id)
    client.set_model_version_tag(f"M-{tmp_path.name}", "1", "lineage.documents", "documents@00000000 " + "0" * 64)
    said = differences(client, graph, run.store, whole=True)[1]
    wanted = (
        "has digest 0000000000000000, the store",
        "has commit another",
        "no finished run that made or found it",
        "says that documents is",
    )
    assert len(said) == 4 and all(any(part in line for line in said) for part in wanted), said
    store = Store(run.store)
    store.delete(graph.made[0])
    said = differences(client, store_graph(store), run.store, whole=True)[1]
    assert any("says it made raw-documents@" in line and "which the store does not have" in line for line in said)
