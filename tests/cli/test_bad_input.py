"""What a user gets for bad input: one clear sentence, before anything expensive, and an exit code other than 0."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from recipes.errors import BadInput
from recipes.load import load_recipe
from reynard.main import app
from tasks.preflight.check import check_recipe, pin_sources
from tests.pipeline.micro import ROOT, micro_recipe


def edited(folder: Path, path: str, value: object) -> Path:
    recipe = yaml.safe_load(micro_recipe(folder).read_text())
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    section = recipe
    for key in parents:
        section = section[key]
    section[last] = value
    file = folder / "edited.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("pretraining.optimizer.peak_learning_rat", 1, "did you mean 'peak_learning_rate'?"),
        ("tokenization.vocabulary_size", 500, "tokenization.vocabulary_size 500 differs from model.vocabulary_size 512"),
        ("pretraining.stages.0.batch_tokens", 500, "batch_tokens 500 is not a multiple of the longest chunk 64: use 448"),
    ],
)
def test_reynard_run_says_what_is_wrong_with_a_recipe_in_one_line(tmp_path: Path, path, value, sentence):
    done = CliRunner().invoke(app, ["run", str(edited(tmp_path, path, value))])
    assert done.exit_code == 2
    assert sentence in done.output and done.output.startswith("error: ") and done.output.count("\n") == 1


def test_a_recipe_that_does_not_exist_is_named(tmp_path: Path):
    done = CliRunner().invoke(app, ["run", str(tmp_path / "no.yaml")])
    assert done.exit_code == 2 and "no.yaml' does not exist" in done.output


def test_a_model_that_was_never_released_is_named_by_chat_and_ui(tmp_path: Path):
    for command in ("chat", "ui"):
        done = CliRunner().invoke(app, [command, str(tmp_path)])
        assert done.exit_code == 2 and "run `make run` first" in done.output


def check(file: Path, store: Path) -> None:
    check_recipe(load_recipe(file), "local", str(store))


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("curation.sources.1.location", "nowhere/*.txt", r"source 'python_library': nothing matches 'nowhere/\*.txt'"),
        ("curation.sources.1.location", "package:not_installed_here/x", r"the Python package 'not_installed_here' is not installed"),
        ("sft.sources.0.location", "nowhere.jsonl", r"sft source 'python_help': nothing matches 'nowhere.jsonl'"),
        ("sft.sources.0.format", "jsonl", r"sft.sources.0: 'python_help': format `jsonl` needs a `shape`"),
        ("evaluation.suites.0.benchmarks.0.task", "arc_hard", r"arc_hard is not in the committed sample"),
    ],
)
def test_preflight_stops_a_run_that_could_not_finish(tmp_path: Path, path, value, sentence):
    with pytest.raises(BadInput, match=sentence):
        check(edited(tmp_path, path, value), tmp_path / "store")


def test_an_empty_source_is_named_before_anything_is_read(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("")
    recipe = load_recipe(edited(tmp_path, "curation.sources.1.location", str(tmp_path / "empty.txt")))
    with pytest.raises(BadInput, match=r"source 'python_library' is empty: 1 files of 0 bytes"):
        pin_sources(recipe.curation)


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"artifact store '.*file/store' cannot be written"):
        check(micro_recipe(tmp_path), tmp_path / "file" / "store")


def test_an_unknown_profile_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match=r"cluster profile 'h1000' does not exist: set REYNARD_PROFILE to local, smoke"):
        check_recipe(load_recipe(micro_recipe(tmp_path)), "h1000", str(tmp_path))


@pytest.mark.slow
def test_pyflyte_itself_ends_with_the_sentence_and_a_failing_exit_code(tmp_path: Path):
    file = edited(tmp_path, "curation.sources.1.location", "nowhere/*.txt")
    command = [str(Path(sys.executable).with_name("pyflyte")), "run", str(ROOT / "workflows/data.py"), "data", "--recipe", str(file)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "REYNARD_RUNS": str(tmp_path)},
    )
    printed = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "source 'python_library': nothing matches 'nowhere/*.txt'" in printed
    assert "Traceback" not in printed


def test_chats_and_sources_that_cannot_be_read_stop_the_run_before_training(tmp_path: Path):
    (tmp_path / "chats.jsonl").write_text('{"foo": 1}\n')
    (tmp_path / "broken.jsonl.gz").write_text("not gzip")
    chats = {"name": "own", "format": "jsonl", "shape": "messages", "location": str(tmp_path / "chats.jsonl"), "licence": "CC0"}
    recipe = edited(tmp_path, "sft.sources.0", chats)
    with pytest.raises(
        BadInput, match=r"sft source 'own': none of the first 1 rows is a conversation in the shape 'messages' \(unreadable\)"
    ):
        check(recipe, tmp_path / "store")
    own = {"name": "python_library", "kind": "code", "format": "jsonl", "licence": "CC0", "rules": "reference"}
    recipe = edited(tmp_path, "curation.sources.1", own | {"location": str(tmp_path / "broken.jsonl.gz")})
    with pytest.raises(
        BadInput, match=r"source 'python_library' has no readable record among the first 1000 of each of its 1 files at '.*broken.jsonl.gz'"
    ):
        check(recipe, tmp_path / "store")
    with pytest.raises(BadInput, match=r"source 'python_library' has an empty location"):
        check(edited(tmp_path, "curation.sources.1", own | {"location": ""}), tmp_path / "store")


def test_a_number_of_workers_that_is_none_is_refused(tmp_path: Path, monkeypatch):
    for value in ("abc", "0"):
        monkeypatch.setenv("REYNARD_WORKERS", value)
        with pytest.raises(BadInput, match=f"REYNARD_WORKERS is '{value}'"):
            check(micro_recipe(tmp_path), tmp_path / "store")
