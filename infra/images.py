"""A commit to the images that its tasks run in: built from the one Dockerfile, tagged with the commit, pushed unless they are there."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from recipes.errors import BadInput

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("docker", "podman", "buildah")
CLUSTER = "reynard"  # kind's, as docs/deployment.md creates it
Command = list[str]


def is_local(image: str) -> bool:
    """Tell whether an image goes into the machine of a kind cluster and not to a registry."""
    return image.startswith("localhost/")


def is_cpu(image: str) -> bool:
    """Tell whether an image is the one without CUDA."""
    return image.rpartition("/")[2].startswith("cpu:")


def working_engine() -> str:
    """Return the first engine that works here; BadInput if none does."""
    for name in ENGINES:
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True).returncode:
            return name
    raise BadInput(f"no engine to build images works here: install and start one of {', '.join(ENGINES)}")


def find_engine(wanted: Iterable[str]) -> str:
    """Return the first engine that works here; BadInput if none does, or if what it needs beside it to put images in place is missing."""
    local = [is_local(image) for image in wanted]
    if any(local) and shutil.which("kind") is None:
        raise BadInput("kind is not installed: an image whose registry begins with localhost/ is loaded into the machine of a kind cluster")
    name = working_engine()
    if name != "docker" and not all(local) and shutil.which("skopeo") is None:
        raise BadInput(f"{name} cannot tell what a registry holds: install skopeo beside it")
    return name


def build_command(engine: str, image: str) -> Command:
    """Return the call that builds an image; its name (REGISTRY/cpu:COMMIT) says which lock file and which commit."""
    name, _, commit = image.rpartition("/")[2].partition(":")
    index = os.environ.get("TORCH_INDEX", "")
    arguments = {"LOCK": name, "REVISION": commit} | ({"TORCH_INDEX": index} if is_cpu(image) and index else {})
    told = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    return [engine, "build", "--file", "containers/Dockerfile", *told, "--tag", image, "."]


def push_command(engine: str, image: str) -> Command:
    """Return the call that puts an image where the cluster finds it."""
    return ["kind", "load", "docker-image", image, "--name", CLUSTER] if is_local(image) else [engine, "push", image]


def look_command(engine: str, image: str) -> Command:
    """Return the call that succeeds if an image is there already: on this machine if there is no registry, else in the registry."""
    if is_local(image):
        return ["buildah", "inspect", "--type", "image", image] if engine == "buildah" else [engine, "image", "inspect", image]
    return ["docker", "manifest", "inspect", image] if engine == "docker" else ["skopeo", "inspect", "--raw", f"docker://{image}"]


def put_in_place(engine: str, image: str) -> None:
    """Build and push an image unless it is there: a tag is a commit, so what is there is what would be built."""
    there = not subprocess.run(look_command(engine, image), capture_output=True).returncode
    if there:
        print(f"✓ {image} is there already")
    elif is_cpu(image) and not os.environ.get("TORCH_INDEX"):
        raise BadInput(
            "TORCH_INDEX is not set: set it to the address of PyTorch's index of wheels for CPUs, from which the CPU image takes torch"
        )
    else:
        run(build_command(engine, image))
    if not there or is_local(image):
        run(push_command(engine, image))


def run(command: Command) -> None:
    """Run a command and say which; BadInput if it fails."""
    print(f"→ {shlex.join(command)}", flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        raise BadInput(f"`{shlex.join(command)}` failed, see above; the same call of `make deploy` goes on from there")
