"""What only Flyte's console shows: a run before it starts, a refusal, an approval, a delivery, and links."""

import xml.etree.ElementTree as ET
from pathlib import Path

from recipes.load import load_recipe
from tasks.panels.links import links
from tasks.panels.preflight import started
from tasks.panels.publication import publication
from tasks.panels.release import approval, delivered, refusal
from tests.panels import made_up
from tests.panels.test_panels import table_rows

TINY = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml")
RUN = {"name": "r", "store": "s3://b/store", "profile": "h100x8", "tracking_uri": "https://mlflow.example.com/", "tracking_run": "0a1b"}


def test_a_run_says_what_it_reads_trains_and_where_that_goes_before_it_begins():
    fragment = started(TINY, RUN, [made_up.EVIL], {"python_help": [["a", 700, "m"], ["b", 300, "m"]], "shakespeare": [["c", 5000, "m"]]})
    assert "487,584 parameters, 420K tokens in 3 stages." in fragment
    rows = table_rows(fragment)
    assert rows.index(["shakespeare", "public domain (Project Gutenberg; package MIT)", "1", "5KB"]) + 1 == rows.index(
        ["python_help", "PSF-2.0", "2", "1KB"]
    )
    assert ["profile", "h100x8"] in rows and ["artifacts", "s3://b/store"] in rows
    assert 'href="https://mlflow.example.com/#/runs/0a1b"' in fragment
    assert "Its release will be refused" in fragment and "<script" not in fragment
    assert "Its release will be refused" not in started(TINY, RUN, [], {})


def test_without_a_server_the_database_is_named_and_nothing_links_to_it():
    fragment = started(TINY, RUN | {"tracking_uri": "sqlite:////tmp/mlflow.db"}, [], {})
    assert ["MLflow", "sqlite:////tmp/mlflow.db"] in table_rows(fragment) and "<a " not in fragment


def test_a_refusal_shows_what_failed_first_and_what_to_do():
    checks = [
        {"name": "evaluated", "passed": True, "detail": "5 scores", "remedy": "evaluate"},
        {"name": "licences", "passed": False, "detail": made_up.EVIL, "remedy": "say its licence"},
    ]
    fragment = refusal("chat", checks)
    assert "Refused: 1 of 2 checks failed." in fragment and "<script" not in fragment
    rows = table_rows(fragment)
    assert rows[1][:2] == ["licences", "✗ failed"] and rows[1][3] == "say its licence"
    assert rows[2] == ["evaluated", "✓ passed", "5 scores", ""]


def test_who_is_asked_for_approval_and_who_gave_it_is_said():
    assert "the gate node approve-release waits for it" in approval(True, True)
    assert "approval; nobody has to be asked now" in approval(False, False)
    rows = table_rows(delivered(made_up.released(), "/tmp/runs/r/release/chat", "gate node"))
    assert rows[1:] == [["repository", "tiny-chat"], ["folder", "/tmp/runs/r/release/chat"], ["approved by", "gate node"]]


def test_a_publication_leads_to_every_revision_on_the_hub():
    places = [{"address": "a/m", "kind": "model", "revision": "v1"}, {"address": "a/d", "kind": "dataset", "revision": "v1"}]
    made = made_up.manifest({"files": 2, "bytes": 10, "revisions": 2}, {"published": places})
    made = made.model_copy(
        update={"identity": {"section": {"endpoint": "https://hub.example"}}, "recorded": {"commits": {"a/m@v1": "0" * 40}}}
    )
    fragment = publication(made)
    assert 'href="https://hub.example/a/m/tree/v1"' in fragment and 'href="https://hub.example/datasets/a/d/tree/v1"' in fragment
    assert ["a/m", "v1", "0" * 12] in table_rows(fragment)


def test_links_name_the_artifact_its_place_and_its_run():
    line = links(made_up.manifest({}, {}), "s3://b/store/tokens/0", "https://mlflow.example.com/#/runs/1")
    assert "".join(ET.fromstring(line).itertext()) == f"made-up@00000000 · run in MLflows3://b/store/tokens/0{'a' * 64}"
    assert 'target="_blank" rel="noopener noreferrer"' in line
    assert "MLflow" not in links(made_up.manifest({}, {}), "s3://b/store/tokens/0", "")
