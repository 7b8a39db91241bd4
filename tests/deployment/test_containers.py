"""The images' recipe and lock files: clean by hadolint, exact, hashed, and of the versions that the tests ran with."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.images import ENGINES, absent, build_command, find_engine, is_there, look_command, push_commands, show_steps
from recipes.errors import BadInput
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


def test_images_are_built_from_the_lock_and_commit_that_their_names_say(monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", "https://wheels.example.com/cpu")
    image = "registry.example.com/reynard/cpu:abc"
    assert " ".join(build_command("docker", image)) == (
        "docker build --file containers/Dockerfile --build-arg LOCK=cpu --build-arg REVISION=abc "
        f"--build-arg TORCH_INDEX=https://wheels.example.com/cpu --tag {image} ."
    )
    assert "TORCH_INDEX" not in " ".join(build_command("podman", image.replace("cpu", "cuda")))
    assert look_command("podman", image) == ["skopeo", "inspect", "--raw", f"docker://{image}"]
    assert push_commands("buildah", image, "a.tar") == [["buildah", "push", image]]


def test_without_a_registry_images_are_loaded_into_kind_by_way_of_a_file_where_kind_does_not_know_the_engine():
    image, load = "localhost/reynard/cpu:abc", "kind load image-archive a.tar --name reynard"
    calls = {engine: [" ".join(call) for call in push_commands(engine, image, "a.tar")] for engine in ENGINES}
    assert calls["docker"] == [f"kind load docker-image {image} --name reynard"]
    assert calls["podman"] == [f"podman save --output a.tar {image}", load]
    assert calls["buildah"] == [f"buildah push {image} docker-archive:a.tar:{image}", load]


def test_only_a_registry_that_knows_no_such_image_has_one_pushed(monkeypatch, tmp_path):
    image = "registry.example.com/reynard/cuda:abc"
    for said, there in (
        ("manifest unknown", False),
        ("no such manifest: x", False),
        ("name unknown: The repository does not exist", False),
        ("", True),
    ):
        (tmp_path / "docker").write_text(f'#!/bin/sh\necho "{said}" >&2; [ -z "{said}" ]\n')
        (tmp_path / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert is_there("docker", image) == there, said
    for said in ("unauthorized: token has expired", "docker-credential-ecr-login: executable file not found", f"{image}404: denied"):
        (tmp_path / "docker").write_text(f'#!/bin/sh\necho "{said}" >&2; exit 1\n')
        with pytest.raises(BadInput, match=f"the registry does not say whether it has {image}: {said}"):
            is_there("docker", image)


def test_what_an_image_lacks_is_told_before_anything_is_built(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    with pytest.raises(BadInput, match="TORCH_INDEX is not set: set it to the address"):
        absent("false", ["localhost/reynard/cpu:abc"])  # an engine that has nothing
    assert absent("true", ["localhost/reynard/cpu:abc"]) == [], "one that is there needs no index"
    monkeypatch.setenv("PATH", str(tmp_path))
    show_steps(["registry.example.com/reynard/cpu:abc"])
    said = capsys.readouterr().out
    assert "! no engine to build images works here" in said and "! TORCH_INDEX is not set" in said and "docker push" in said


def test_the_engine_is_one_that_works_with_what_it_needs_beside_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="no engine to build images works here"):
        find_engine([])
    for name, code in (("docker", 1), ("podman", 0)):  # a client without its daemon, and an engine without one
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    assert find_engine([]) == "podman"
    with pytest.raises(BadInput, match="podman cannot tell what a registry holds: install skopeo"):
        find_engine(["registry.example.com/reynard/cpu:abc"])
    with pytest.raises(BadInput, match="kind is not installed"):
        find_engine(["localhost/reynard/cpu:abc"])
