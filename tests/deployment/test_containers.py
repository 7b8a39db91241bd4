"""The images' recipe and lock files: clean by hadolint, exact, hashed, and of the versions that the tests ran with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment.packaged import ROOT

LOCKS = ("cpu", "cuda", "tiny")


def normal(requirement: str) -> str:
    """Return the name of a requirement as package indexes write it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Return a lock file's packages: version and hashes."""
    entries = re.split(r"\n(?=\S)", (ROOT / f"containers/{name}.lock").read_text().strip())
    found = {}
    for entry in entries:
        package, version = entry.split()[0].split("==")
        found[normal(package)] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})(?:\s|$)", entry))
    return found


def test_the_dockerfile_is_clean():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("hadolint")), "containers/Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_is_exact_and_hashed(name: str):
    packages = locked(name)
    assert packages and all(hashes for _, hashes in packages.values())


def test_images_hold_the_versions_that_the_tests_ran_with():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constraints = {normal(line): line.split("==")[1] for line in lines if "==" in line and not line.startswith("#")}
    for name in ("cpu", "cuda"):
        for package, (version, _) in locked(name).items():
            if package in constraints:
                assert version.partition("+")[0] == constraints[package].partition("+")[0], f"{package} in {name}.lock: make the locks anew"
    assert {package: version for package, (version, _) in locked("tiny").items()} == dict(
        line.split("==") for line in (ROOT / "recipes/tiny.requirements.txt").read_text().splitlines() if "==" in line
    )


def test_every_requirement_of_the_project_is_in_both_locks_and_nothing_of_nvidia_in_the_cpu_one():
    import tomllib

    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in ("cpu", "cuda"):
        assert {normal(one) for one in asked} <= set(locked(name))
    assert not [package for package in locked("cpu") if package.startswith("nvidia-")] and "nvidia-nccl-cu13" in locked("cuda")
    assert locked("cpu")["torch"][0].endswith("+cpu") and locked("cuda")["torch"][0] == locked("cpu")["torch"][0].removesuffix("+cpu")
