"""The images' recipe and lock files: clean by hadolint, exact, hashed, and of the versions that the tests ran with."""

import os
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


def built(folder: Path, *asked: str, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Call containers.build beside an engine that only remembers; return how it ended and the engine's calls."""
    (folder / "docker").write_text('#!/bin/sh\necho "$@" >> "$0.log"\n')
    (folder / "docker").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("TORCH_INDEX", "BUILD_FLAGS")}
    environment |= {"PATH": f"{folder}:{os.environ['PATH']}"} | variables
    done = subprocess.run([sys.executable, "-m", "containers.build", *asked], cwd=ROOT, env=environment, capture_output=True, text=True)
    log = folder / "docker.log"
    return done, log.read_text().splitlines() if log.exists() else []


def test_images_are_built_from_the_lock_that_is_asked_for_with_the_engines_own_flags_and_the_commit(tmp_path):
    done, calls = built(tmp_path, "localhost/reynard", "cuda", BUILD_FLAGS="--build-arg BASE='my base'")
    assert done.returncode == 0, done.stderr
    tag = re.search(r" --tag localhost/reynard/cuda:(\S+) ", calls[1])[1]
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", tag)
    assert calls[1].startswith(f"build --file containers/Dockerfile --build-arg LOCK=cuda --build-arg REVISION={tag} ")
    assert calls[1].endswith(" --build-arg BASE=my base .")


def test_the_cpu_image_is_not_begun_without_the_address_of_its_torch(tmp_path):
    done, calls = built(tmp_path, "localhost/reynard", "cpu")
    assert done.returncode == 1 and done.stderr.startswith("error: TORCH_INDEX is not set: set it to the address")
    assert calls == ["info"]
