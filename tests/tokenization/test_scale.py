"""Tokenization on Ray: the same bytes at any number of workers, after any kill, on a disk or on an S3 server."""

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes.schema import Tokenization
from tasks.artifacts.store import Store, open_store
from tests.curriculum.streams import lay_down
from tests.kills import ROOT, finished_items, run_and_kill
from tests.tokenization.test_tokenize import laid_down

pytestmark = pytest.mark.slow
SHARDS = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Lay down 16 MB of made-up text in sixteen shards, and a rule for it."""
    folder, chance = tmp_path_factory.mktemp("corpus"), random.Random(5)
    words = ["".join(chance.choices("etaoinshrdlucm é\n", k=chance.randrange(2, 9))) for _ in range(8000)]
    texts = [" ".join(chance.choices(words, k=chance.randrange(50, 3000))) for _ in range(1800)]
    shards = laid_down(folder, texts, SHARDS)
    rule = {
        "vocabulary_size": 1000, "train": {"type": "bpe", "sample_characters": 400_000, "max_piece_characters": 12}, "bos_per_document": True,
        "held_out_fraction": 0.05,
    }  # fmt: skip
    (folder / "section.json").write_text(Tokenization.model_validate(rule).model_dump_json())
    (folder / "shards.json").write_text(json.dumps([dataclasses.asdict(shard) for shard in shards]))
    return folder


def command(corpus: Path, store: Path | str, workers: int, result: Path) -> list[str]:
    files = [str(corpus / name) for name in ("section.json", "shards.json")]
    return [sys.executable, "-m", "tests.tokenization.drill", *files, str(store), str(workers), str(result)]


def tokenized(corpus: Path, store: Path | str, workers: int, folder: Path, **variables: str) -> dict:
    """Run a tokenization to its end."""
    arguments = command(corpus, store, workers, folder / "result.json")
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, env=os.environ | variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads((folder / "result.json").read_text())


def copy_of(corpus: Path, folder: Path) -> Path:
    """Return a store with the corpus's shards and nothing else."""
    store = folder / "store"
    for shard in json.loads((corpus / "shards.json").read_text()):
        (store / shard["key"]).parent.mkdir(parents=True, exist_ok=True)
        (store / shard["key"]).write_bytes((corpus / "store" / shard["key"]).read_bytes())
    return store


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    return tokenized(corpus, copy_of(corpus, folder), 0, folder)


def same(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("counts", "details", "files"))


def test_two_workers_make_the_same_bytes_as_none(corpus, undisturbed, tmp_path):
    assert undisturbed["made"] == {"vocabulary": 1, "encode": SHARDS, "hold_out": 1} and undisturbed["counts"]["documents"] > 1600
    assert same(tokenized(corpus, copy_of(corpus, tmp_path), 2, tmp_path), undisturbed)


@pytest.mark.parametrize("victim", ["worker", "head", "driver"])
def test_a_kill_at_a_random_shard_costs_only_what_was_being_made(corpus, undisturbed, tmp_path, victim: str):
    store, when = copy_of(corpus, tmp_path), random.Random(f"{victim} tokens").randrange(2, SHARDS - 4)
    status, before = run_and_kill(command(corpus, store, 2, tmp_path / "result.json"), store, victim, when)
    assert (status == 0) == (victim == "worker")
    again = tokenized(corpus, store, 2, tmp_path)
    assert same(again, undisturbed)
    assert {path: finished_items(store)[path] for path in before} == before
    assert sum(again["made"].values()) <= SHARDS + 2 - len(before)


def test_an_s3_server_holds_the_same_bytes_and_gives_back_the_blocks_that_are_asked_for(corpus, undisturbed, tmp_path, monkeypatch):
    from infra.local.services import start_s3, stop

    server, variables = start_s3(tmp_path / "s3")
    try:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        root = variables["REYNARD_STORE"] + "/tokens"
        store = open_store(root)
        for shard in json.loads((corpus / "shards.json").read_text()):
            store.write(shard["key"], (corpus / "store" / shard["key"]).read_bytes())
        assert same(tokenized(corpus, root, 2, tmp_path, **variables), undisturbed)
        here = lay_down(tmp_path / "here", {"a": [[list(range(60_000))] * 3, [list(range(9))], [list(range(40_000))] * 4]})["a"]
        for key in Store(here.store).list("tokens"):
            store.write(key, Path(here.store, key).read_bytes())
        there, ranges = dataclasses.replace(here, store=root), [(0, 5), (65_530, 65_540), (179_990, 180_020), (0, here.tokens)]
        assert all(np.array_equal(one, two) for one, two in zip(there.read(ranges), here.read(ranges), strict=True))
    finally:
        stop(server)
