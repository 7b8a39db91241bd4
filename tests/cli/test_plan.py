"""`reynard plan` as a person uses it: what it prints and writes, its exit codes, its errors; and the same as a workflow."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from reynard.main import app

ROOT = Path(__file__).resolve().parents[2]
FOX1 = ROOT / "recipes" / "fox1.yaml"


def plan(*arguments: object):
    return CliRunner().invoke(app, ["plan", *(str(argument) for argument in arguments)])


def test_a_plan_is_printed_and_written_as_page_and_as_json(tmp_path: Path):
    done = plan(FOX1, "--profile", "h100x64", "--store", tmp_path / "store", "--html", tmp_path / "p.html", "--json", tmp_path / "p.json")
    assert done.exit_code == 0
    assert (
        done.output.startswith("plan of fox1: 1,665,271,808 parameters on h100x64 (64 x H100)")
        and "892,161 steps on 2.69T tokens" in done.output
    )
    page = (tmp_path / "p.html").read_text()
    assert "<svg" in page and "892,161" in page and "Learning rate over steps" in page and "http" not in page.replace("http-equiv", "")
    assert orjson.loads((tmp_path / "p.json").read_bytes())["total"]["steps"] == 892_161


def test_warnings_end_with_1_only_when_strict(tmp_path: Path):
    recipe = yaml.safe_load(FOX1.read_text())
    recipe["expected_tokens"]["flan"] = 1_000_000
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    arguments = (tmp_path / "small.yaml", "--profile", "h100x64", "--store", tmp_path / "store")
    assert "warning: stage 'stage3' takes" in plan(*arguments).output and plan(*arguments).exit_code == 0
    assert plan(*arguments, "--strict").exit_code == 1
    assert plan(FOX1, *arguments[1:], "--strict").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--profile", "h100x12"), 2, "cluster profile 'h100x12' does not exist"),
        (("--mfu", "40"), 2, "mfu 40 is not in (0, 1]"),
        (("--price", "-2"), 2, "price -2 is not a price"),
        (("--store", "gs://bucket"), 2, "use a local folder or s3://bucket/prefix"),
        (("--html", "/no/such/folder/plan.html"), 1, "/no/such/folder/plan.html"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, monkeypatch, arguments, code, sentence):
    monkeypatch.setenv("REYNARD_STORE", str(tmp_path / "store"))
    done = plan(FOX1, *arguments)
    assert done.exit_code == code and done.output.startswith("error: ") and sentence in done.output and done.output.count("\n") == 1


@pytest.mark.slow
def test_pyflyte_plans_too(tmp_path: Path):
    command = [
        str(Path(sys.executable).with_name("pyflyte")),
        "run",
        "workflows/plan.py",
        "plan",
        "--recipe",
        str(FOX1),
        "--profile",
        "h100x64",
    ]
    environment = os.environ | {"HOME": str(tmp_path), "REYNARD_RUNS": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "892,161 steps on 2.69T tokens" in done.stdout and "GPU memory in GB" in done.stdout
