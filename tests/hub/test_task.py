"""Publishing as a task: it alone may read the token, it leaves a receipt, and nothing that it leaves holds the token."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.lineage.graph import store_graph
from tests.hub.released import ROOT
from tests.hub.server import serve
from tests.hub.small_run import SmallRun
from tests.hub.storage import Fault, Storage

TOKEN = "hf_recognisableTokenOfTheTests2345"


@pytest.fixture
def storage(monkeypatch, tmp_path) -> Iterator[Storage]:
    with serve(Storage(token=TOKEN)) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield made


def test_no_task_but_that_which_publishes_asks_for_a_secret():
    from flytekit.core.base_task import Task

    asking = {}
    for path in (ROOT / "tasks").glob("*/task.py"):
        for one in vars(importlib.import_module(f"tasks.{path.parent.name}.task")).values():
            if isinstance(one, Task) and one.security_context and one.security_context.secrets:
                asking[one.name] = [(secret.group, secret.key, secret.env_var) for secret in one.security_context.secrets]
    assert asking == {"tasks.publishing.task.publish_models": [("hf-token", "HF_TOKEN", "HF_TOKEN")]}


def test_the_receipt_says_what_lies_where_and_is_made_once(storage, tmp_path):
    from tasks.publishing.task import publish_models

    small = SmallRun(tmp_path)
    told = publish_models(run=small.run, base=small.base, chat=small.chat, private=False)
    assert told.startswith("publication@") and "tester/Reynard-tiny-chat@v0.1.0" in told
    (seal,) = [key for key in small.store.list("publication") if key.endswith("manifest.json")]
    before = small.store.read(seal)
    assert b'"revision":"stage1-step2-tokens500"' in before and storage.commits() == 5
    assert publish_models(run=small.run, base=small.base, chat=small.chat, private=False) == told
    assert small.store.read(seal) == before and storage.commits() == 5
    assert seal.removesuffix("/manifest.json") in store_graph(small.store).manifests  # what was published is part of the lineage


@pytest.mark.slow
def test_the_token_is_in_nothing_that_a_publication_leaves_or_says(storage, tmp_path, capfd, monkeypatch):
    import traceback

    from recipes.errors import BadInput
    from tasks.artifacts.store import open_store
    from tasks.publishing.push import push
    from tasks.runtime.tracking import start_parent

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = str(tmp_path / "runs" / "small" / "store")
    open_store(store)
    parent = start_parent(uri, "small", (tmp_path / "mlartifacts").as_uri(), {"store": store})
    small = SmallRun(tmp_path, uri, parent)
    storage.faults += [Fault("PUT", "/lfs/", status=500, words=f"no {TOKEN}"), Fault("POST", "/commit/", status=400, words=f"no {TOKEN}")]
    with pytest.raises(BadInput) as refused:
        push(small.run, small.base, small.chat, False, print)
    push(small.run, small.base, small.chat, False, print)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files) and any("publication" in str(path) for path in files)
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []
    said = capfd.readouterr()
    for text in (said.out, said.err, str(refused.value), "".join(traceback.format_exception(refused.value))):
        assert TOKEN not in text
    assert Path(small.run.folder).is_dir() and "tester/Reynard-tiny@v0.1.0 is there now" in said.out
