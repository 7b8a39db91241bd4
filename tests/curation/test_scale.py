"""Curation on Ray: the same bytes at any number of workers, after any kill, on a disk or on an S3 server; and in bounded memory."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.curation.corpora import PLAIN, family_of_copies, section, write_jsonl
from tests.kills import ROOT, finished_items, run_and_kill

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Write a section over 2 MB of families of copies in several files, a damaged one among them."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(4):
        write_jsonl(folder / f"{number}.jsonl", [*([text] for text in family_of_copies(number, 250)), "{broken"])
    curation = section([{"name": "a", "location": str(folder / "*.jsonl")}], duplicate_paragraphs=None)
    (folder / "section.json").write_text(curation.model_dump_json())
    return folder / "section.json"


def command(corpus: Path, store: str, workers: int, result: Path) -> list[str]:
    return [sys.executable, "-m", "tests.curation.drill", str(corpus), store, str(workers), "100000", str(result)]


def curated(corpus: Path, store: str, workers: int, folder: Path, **variables: str) -> dict:
    """Run a curation to its end."""
    done = subprocess.run(
        command(corpus, store, workers, folder / "result.json"), cwd=ROOT, capture_output=True, text=True, env=os.environ | variables
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("undisturbed")
    return curated(corpus, str(folder / "store"), 0, folder)


def same(one: dict, other: dict) -> bool:
    return all(one[key] == other[key] for key in ("counts", "details", "files"))


def test_two_workers_make_the_same_bytes_as_none(corpus, undisturbed, tmp_path):
    assert undisturbed["made"]["tag"] > 10 and undisturbed["counts"]["documents_kept"] < undisturbed["counts"]["documents_in"]
    assert same(curated(corpus, str(tmp_path / "store"), 2, tmp_path), undisturbed)


@pytest.mark.parametrize("victim", ["worker", "head", "driver"])
def test_a_kill_costs_only_what_was_being_made(corpus, undisturbed, tmp_path, victim: str):
    store = tmp_path / "store"
    when = random.Random(victim).randrange(2, 40)
    status, before = run_and_kill(command(corpus, str(store), 2, tmp_path / "result.json"), store, victim, when)
    assert (status == 0) == (victim == "worker")
    again = curated(corpus, str(store), 2, tmp_path)
    assert same(again, undisturbed)
    assert {path: finished_items(store)[path] for path in before} == before
    assert sum(again["made"].values()) <= sum(undisturbed["made"].values()) - len(before) or victim == "worker"


def test_bad_input_that_a_worker_finds_is_one_sentence(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, column in (("a", "text"), ("b", "body")):
        pq.write_table(pa.table({column: ["words " * 60]}), tmp_path / f"{name}.parquet")
    curation = section([{"name": "a", "format": "parquet", "location": str(tmp_path / "*.parquet")}])
    (tmp_path / "section.json").write_text(curation.model_dump_json())
    arguments = command(tmp_path / "section.json", str(tmp_path / "store"), 2, tmp_path / "result.json")
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "BadInput" in last and "b.parquet has no column 'text'" in last


def read_from_s3(folder: Path, variables: dict[str, str]) -> dict:
    """Curate raw files of a bucket, plain and compressed, and records derived from them, into a store of the same bucket."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=variables["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"], aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    texts = [" ".join(f"the word {n} {i} of it" for i in range(150)) for n in range(12)]
    for name, part, pack in (("1.jsonl", texts[:6], bytes), ("2.jsonl.gz", texts[6:], gzip.compress)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part).encode()
        client.put_object(Bucket="reynard", Key=f"raw/{name}", Body=pack(lines))
    plants = {"of": ["a"], "exact_copies": 4, "near_copies": 0, "junk": 0, "seed": 0}
    planted = {"name": "planted", "kind": "planted", "format": "planted", "location": "", "plants": plants}
    curation = section([{"name": "a", "location": "s3://reynard/raw/*"}, planted], {"plain": PLAIN | {"near_duplicates": None}})
    (folder / "s3.json").write_text(curation.model_dump_json())
    found = curated(folder / "s3.json", variables["REYNARD_STORE"] + "/raw-on-s3", 2, folder, **variables)
    assert found["details"]["sources"]["planted"]["removed"] == {"exact_duplicate": 4}
    return found


def test_an_s3_server_holds_the_steps_as_well_as_a_disk(corpus, undisturbed, tmp_path):
    from infra.local.services import start_s3, stop

    server, variables = start_s3(tmp_path / "s3")
    try:
        assert same(curated(corpus, variables["REYNARD_STORE"] + "/curation", 2, tmp_path, **variables), undisturbed)
        assert read_from_s3(tmp_path, variables)["counts"]["documents_kept"] == 12
    finally:
        stop(server)
