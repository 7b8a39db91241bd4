"""`reynard publish` as a person runs it: a dry run without network, a process that is killed in the middle, what it prints, what it leaves."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reynard.main import app
from tests.hub.released import ROOT, WEIGHTS, contents, lay_folder
from tests.hub.server import serve
from tests.hub.small_run import SmallRun
from tests.hub.storage import Fault, Storage

TOKEN = "hf_recognisableTokenOfTheTests4567"


@pytest.fixture
def storage() -> Iterator[Storage]:
    with serve(Storage(token=TOKEN, organizations=("house",))) as made:
        yield made


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path, storage) -> None:
    monkeypatch.setenv("HF_ENDPOINT", storage.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("REYNARD_RUNS", str(tmp_path / "runs"))


def reynard(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["publish", *arguments])
    assert done.exit_code == status, done.output
    return done.output


def test_a_dry_run_needs_no_token_and_no_network_and_lists_everything(storage, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    SmallRun(tmp_path)
    shown = reynard("--run", "small", "--dry-run", "--private")
    assert storage.requests == []
    heads = [line for line in shown.splitlines() if line.startswith("repository ")]
    assert heads == [
        f"repository {storage.url}/datasets/ACCOUNT/Reynard-tiny-data (private dataset)",
        f"repository {storage.url}/ACCOUNT/Reynard-tiny (private model)",
        f"repository {storage.url}/ACCOUNT/Reynard-tiny-chat (private model)",
    ]
    assert "branch stage1-step2-tokens500, one commit: 3 files" in shown and "one commit to main, tagged v0.1.0" in shown
    assert "17  " in shown and "data/plays/00000.jsonl.zst" in shown and "5 revisions in 3 repositories" in shown


def test_a_whole_run_is_published_and_a_second_time_nothing_changes(storage, tmp_path):
    small = SmallRun(tmp_path)
    shown = reynard("--run", "small", "--organization", "house")
    model, data = storage.repositories["models/house/Reynard-tiny"], storage.repositories["datasets/house/Reynard-tiny-data"]
    assert set(storage.repositories) == {"models/house/Reynard-tiny", "models/house/Reynard-tiny-chat", "datasets/house/Reynard-tiny-data"}
    assert set(model.branches) == {"main", "stage1-step2-tokens500", "stage1-step6-tokens1K"} and set(model.tags) == set(data.tags) == {
        "v0.1.0"
    }
    assert model.files("v0.1.0") == contents(Path(small.run.folder) / "release" / "base")
    assert model.files("stage1-step6-tokens1K")["model.safetensors"] == b"weights of stage1"
    assert data.files("main")["data/library/00000.jsonl.zst"] == b"documents of library"
    assert shown.count("is there now") == 5 and TOKEN not in shown
    before = (storage.commits(), len(storage.finished))
    assert reynard("--run", "small", "--organization", "house").count("was there already, nothing changed") == 5
    assert (storage.commits(), len(storage.finished)) == before == (5, len(set(storage.finished)))


def test_a_killed_upload_continues_and_sends_no_file_twice(storage, tmp_path):
    folder = lay_folder(tmp_path / "base")
    held, oid = threading.Event(), hashlib.sha256((folder / WEIGHTS[1]).read_bytes()).hexdigest()
    storage.faults.append(Fault("PUT", f"/lfs/.*{oid}", cut_after=1000, hold=held))
    process = subprocess.Popen([sys.executable, "-m", "reynard", "publish", str(folder)], cwd=ROOT, env=os.environ, stdout=subprocess.PIPE)
    with storage.lock:
        assert storage.lock.wait_for(lambda: len(storage.finished) == 3, timeout=600), process.poll()
    assert held.wait(timeout=600)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and TOKEN.encode() not in process.stdout.read()
    repository = storage.repositories["models/tester/Reynard-tiny"]
    assert repository.files("main") == {} and repository.tags == {}  # nobody sees a part of it
    before = storage.count("PUT", "/lfs/")
    reynard(str(folder))
    assert storage.count("PUT", "/lfs/") - before == 1 and storage.finished.count(oid) == 1
    assert repository.files("v0.1.0") == contents(folder) and storage.commits() == 1


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["--run", "small", "nowhere"], 2, "give one of them"), (["nowhere"], 2, "has no SHA256SUMS: give a folder that a release laid down"),
        (["--run", "nowhere"], 2, "there is no run at"),
    ],
    ids=["two", "no-folder", "no-run"],
)  # fmt: skip
def test_what_cannot_be_published_is_told_in_one_line(arguments, status, words):
    shown = reynard(*arguments, status=status)
    assert shown.startswith("error: ") and words in shown and shown.count("\n") == 1


def test_without_a_token_and_with_a_wrong_one_nothing_is_sent(storage, tmp_path, monkeypatch):
    folder = str(lay_folder(tmp_path / "base"))
    monkeypatch.setenv("HF_TOKEN", "hf_wrongTokenOfTheTests8901")
    shown = reynard(folder, status=2)
    assert "refuses the token: it is wrong, expired or revoked" in shown and "hf_wrong" not in shown
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)  # whoever runs this may be logged in
    assert "needs a token with write access: put it into HF_TOKEN" in reynard(folder, status=2)
    assert storage.repositories == {}


def test_a_run_that_is_to_be_published_asks_for_the_token_before_it_begins(storage, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = CliRunner().invoke(app, ["run", str(ROOT / "recipes" / "tiny.yaml"), "--publish"])
    assert done.exit_code == 2 and "refuses the token" in done.output and "$ pyflyte" not in done.output
    assert not (tmp_path / "runs").exists()
