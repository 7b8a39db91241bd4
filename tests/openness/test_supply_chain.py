"""What lies beside the weights: checksums that `sha256sum` reads, the environment's bill of materials, the archive of the source code."""

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tasks.openness.checksums import SUMS, altered, write_sums
from tasks.openness.environment import environment_bill
from tasks.openness.source_code import members, source_files, write_archive


@pytest.fixture
def bill(monkeypatch) -> str:
    """Return the bill of this environment's packages, as they are now: nobody installs one while a test runs."""
    installed = list(metadata.distributions())
    monkeypatch.setattr(metadata, "distributions", lambda: installed)
    return environment_bill("0123abc")


def test_sha256sum_agrees_and_finds_a_flipped_byte(tmp_path):
    (tmp_path / "reynard").mkdir()
    (tmp_path / "reynard" / "a file.txt").write_text("one")
    (tmp_path / "model.safetensors").write_bytes(b"two")
    (tmp_path / "sbom.json").write_text("differs")
    write_sums(tmp_path, ["sbom.json"])
    check = ["sha256sum", "--check", "--strict", SUMS]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True, text=True).stdout == "model.safetensors: OK\nreynard/a file.txt: OK\n"
    assert altered(tmp_path) == []
    (tmp_path / "model.safetensors").write_bytes(b"twp")
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "model.safetensors: FAILED" in done.stdout and altered(tmp_path) == ["model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    assert altered(tmp_path) == ["model.safetensors"]


def test_the_environments_bill_validates_against_cyclonedx(bill):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.replace('"library"', '"novel"')) is not None


def test_the_bill_names_packages_versions_licences_and_the_commit(bill):
    values = json.loads(bill)
    parts = {part["name"]: part for part in values["components"]}
    import pydantic

    assert parts["pydantic"]["version"] == pydantic.VERSION and parts["pydantic"]["purl"] == f"pkg:pypi/pydantic@{pydantic.VERSION}"
    assert parts["pydantic"]["licenses"] == [{"license": {"id": "MIT"}}]
    assert values["metadata"]["component"]["properties"] == [{"name": "reynard:commit", "value": "0123abc"}]
    needed = next(row for row in values["dependencies"] if row["ref"] == "reynard")["dependsOn"]
    assert parts["pydantic"]["purl"] in needed and "CPython" in needed


def test_equal_environments_have_equal_bills_and_another_commit_has_another(bill):
    assert environment_bill("0123abc") == bill
    other = json.loads(environment_bill("0123abd"))
    assert other["serialNumber"] != json.loads(bill)["serialNumber"] and "timestamp" not in other["metadata"]


def test_equal_sources_make_equal_archives(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / name / "tasks" / "model"
        folder.mkdir(parents=True)
        (folder / "decoder.py").write_text("x = 1\n")
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "decoder.pyc").write_text(name)
        assert write_archive(tmp_path / name, tmp_path / f"{name}.tar.gz") == 1
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    assert members(tmp_path / "one.tar.gz") == {"tasks/model/decoder.py"} and members(tmp_path / "none.tar.gz") == set()


def test_a_checkout_gives_its_tracked_files_alone(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "tracked.py").write_text("1")
    (tmp_path / "secret.env").write_text("token")
    subprocess.run(["git", "add", "tracked.py"], cwd=tmp_path, check=True)
    assert source_files(tmp_path) == ["tracked.py"]


def test_the_projects_own_archive_holds_what_it_needs_to_run():
    names = set(source_files(Path(__file__).resolve().parents[2]))
    assert {
        "tasks/model/decoder.py",
        "tasks/engine/loop.py",
        "tasks/evaluation/items/ATTRIBUTION.md",
        "constraints.txt",
        "LICENSE",
    } <= names
