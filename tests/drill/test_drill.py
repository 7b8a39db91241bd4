"""What the drill says before it starts, and how it draws; it runs for real in `tests/pipeline`."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reynard.main import app
from tasks.artifacts.store import Store
from tasks.drill.drill import checkpoint_on_its_way, journalled
from tasks.panels.drill import drill_page


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--draws", "0"], "--draws 0: give at least 1 and at most 10,000"),
        (["--kills", "0"], "--kills 0: give at least 1"),
        (["--kills", "275"], "--kills 275: give at least 1 and at most 274"),
        (["nothing.yaml"], "recipe 'nothing.yaml' does not exist"),
    ],
)
def test_what_cannot_be_drilled_is_refused_in_words(options: list[str], sentence: str):
    ended = CliRunner().invoke(app, ["drill", *options])
    assert ended.exit_code == 2 and sentence in ended.output


def test_the_newest_journal_says_how_far_a_run_is(tmp_path: Path):
    store = Store(str(tmp_path))
    assert journalled(store) == 0
    store.write("checkpoint/a/journal.jsonl", b'{"step": 24}\n')
    assert journalled(store) == 24
    store.write("working/b/journal/001-000000.jsonl", b'{"step": 25}\n{"step": 26}\n')
    assert journalled(store) == 26


def test_a_checkpoint_is_on_its_way_until_its_seal(tmp_path: Path):
    store = Store(str(tmp_path))
    store.write("working/b/step-0000000003/model-00000-of-00002.safetensors", b"")
    assert checkpoint_on_its_way(store)
    store.write("working/b/step-0000000003/_SUCCESS", b"")
    assert not checkpoint_on_its_way(store)


def test_the_page_tells_equal_draws_from_others():
    kills = [{"victim": "worker", "after_step": 2, "uploading": False}, {"victim": "s3", "after_step": None, "uploading": True}]
    draw = {"draw": 0, "kills": kills, "attempts": 2, "taken_again": 1, "seconds": 61.0, "equal": False, "differs": ["losses"]}
    page = drill_page("tiny", [3.0, 2.0, 1.0], [draw], [[3.0, 2.5, 1.0]])
    assert "0 of 1 draws" in page and "differs: losses" in page and "worker 2, s3 – (upload)" in page
    assert re.search(r"Difference of the losses: at most 0\.5 nats", page)
    same = drill_page("tiny", [3.0, 2.0, 1.0], [draw | {"equal": True, "differs": []}], [[3.0, 2.0, 1.0]])
    assert "1 of 1 draws" in same and "at most 0 nats" in same and "differs" not in same
