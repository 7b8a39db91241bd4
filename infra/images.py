"""A commit to the images that it runs in: built from the one Dockerfile, tagged with the commit, put where the cluster finds them."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.commit import ROOT, uncommitted
from recipes.errors import BadInput

ENGINES = ("docker", "podman", "buildah")
CLUSTER = "reynard"  # kind's, as docs/deployment.md creates it
NO_INDEX = "TORCH_INDEX is not set: set it to the address of PyTorch's index of wheels for CPUs, from which the CPU image takes torch"
# How registries, and the engines that ask them, say that a tag is not there
UNKNOWN = re.compile(r"manifest.unknown|name.unknown|no such manifest|status: 404|404 \(?not found", re.IGNORECASE)
Command = list[str]


def image_name(registry: str, lock: str, tag: str) -> str:
    """Return the name of an image: which lock file it is built from, and which commit."""
    return f"{registry}/{lock}:{tag}"


def is_local(image: str) -> bool:
    """Tell whether an image goes into the machine of a kind cluster and not to a registry."""
    return image.startswith("localhost/")


def lacks_index(image: str) -> bool:
    """Tell whether an image cannot be built since nothing says where its torch comes from: the one without CUDA takes it from an index of its own."""
    return image.rpartition("/")[2].startswith("cpu:") and not os.environ.get("TORCH_INDEX")


def working_engine() -> str:
    """Return the first engine that works here; BadInput if none does."""
    for name in ENGINES:
        if shutil.which(name) and not subprocess.run([name, "info"], capture_output=True).returncode:
            return name
    raise BadInput(f"no engine to build images works here: install and start one of {', '.join(ENGINES)}")


def find_engine(wanted: Collection[str]) -> str:
    """Return the first engine that works here; BadInput if none does, or if what it needs beside it to put images in place is missing."""
    local = [is_local(image) for image in wanted]
    if any(local) and shutil.which("kind") is None:
        raise BadInput("kind is not installed: an image whose registry begins with localhost/ is loaded into the machine of a kind cluster")
    name = working_engine()
    if name != "docker" and not all(local) and shutil.which("skopeo") is None:
        raise BadInput(f"{name} cannot tell what a registry holds: install skopeo beside it")
    return name


def build_command(engine: str, image: str, flags: str = "") -> Command:
    """Return the call that builds an image, with flags of the engine's own; its name says which lock file and which commit."""
    lock, _, commit = image.rpartition("/")[2].partition(":")
    index = os.environ.get("TORCH_INDEX", "")
    arguments = {"LOCK": lock, "REVISION": commit} | ({"TORCH_INDEX": index} if lock == "cpu" and index else {})
    told = [part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")]
    try:
        return [engine, "build", "--file", "containers/Dockerfile", *told, "--tag", image, *shlex.split(flags), "."]
    except ValueError as error:
        raise BadInput(f"BUILD_FLAGS is {flags!r}, which is no list of words as a shell reads them: {error}") from None


def push_commands(engine: str, image: str, archive: str) -> list[Command]:
    """Return the calls that put an image where the cluster finds it; `archive` is a file for engines that kind does not know."""
    if not is_local(image):
        return [[engine, "push", image]]
    if engine == "docker":
        return [["kind", "load", "docker-image", image, "--name", CLUSTER]]
    saved = ["save", "--output", archive, image] if engine == "podman" else ["push", image, f"docker-archive:{archive}:{image}"]
    return [[engine, *saved], ["kind", "load", "image-archive", archive, "--name", CLUSTER]]


def look_command(engine: str, image: str) -> Command:
    """Return the call that succeeds if an image is there already: on this machine if there is no registry, else in the registry."""
    if is_local(image):
        return ["buildah", "inspect", "--type", "image", image] if engine == "buildah" else [engine, "image", "inspect", image]
    return ["docker", "manifest", "inspect", image] if engine == "docker" else ["skopeo", "inspect", "--raw", f"docker://{image}"]


def show_steps(wanted: Collection[str]) -> None:
    """Print the calls that would put images in place, and what is missing for them; nothing is touched."""
    try:
        engine = find_engine(wanted)
    except BadInput as error:
        engine = next((name for name in ENGINES if shutil.which(name)), ENGINES[0])
        print(f"! {error}")
    for image in wanted:
        print(f"{shlex.join(look_command(engine, image))}    # if it is not there:")
        if lacks_index(image):
            print(f"! {NO_INDEX}")
        for command in (build_command(engine, image), *push_commands(engine, image, "image.tar")):
            print(f"  {shlex.join(command)}")


def is_there(engine: str, image: str) -> bool:
    """Tell whether an image is in place; BadInput if the registry says neither yes nor no."""
    looked = subprocess.run(look_command(engine, image), capture_output=True, text=True)
    if looked.returncode and not is_local(image) and not UNKNOWN.search(looked.stderr.replace(image, "")):
        said = " ".join(looked.stderr.split())[-300:] or f"exit status {looked.returncode}"
        raise BadInput(f"the registry does not say whether it has {image}: {said}. Sign in to it, or try again")
    return not looked.returncode


def absent(engine: str, wanted: Collection[str]) -> list[str]:
    """Return the images that have to be built: a tag is a commit, so what is there is what would be.

    BadInput if one of them cannot be built, or if the registry does not say whether it is there: what it has is never pushed again.
    """
    lacking = [image for image in wanted if not is_there(engine, image)]
    for image in wanted:
        if image not in lacking:
            print(f"✓ {image} is there already")
        elif lacks_index(image):
            raise BadInput(NO_INDEX)
        elif said := uncommitted():
            raise BadInput(f"{image} is to be built, and {said}")
    return lacking


def build(engine: str, image: str, flags: str = "") -> None:
    """Build an image; BadInput if that fails, or if nothing says where its torch comes from."""
    if lacks_index(image):
        raise BadInput(NO_INDEX)
    run(build_command(engine, image, flags))


def put_in_place(engine: str, wanted: Collection[str], lacking: Collection[str]) -> None:
    """Build what is lacking, and put images where the cluster finds them."""
    for image in wanted:
        if image in lacking:
            build(engine, image)
        if image in lacking or is_local(image):
            with TemporaryDirectory() as scratch:
                for command in push_commands(engine, image, str(Path(scratch) / "image.tar")):
                    run(command)


def run(command: Command, text: str | None = None) -> None:
    """Run a command, with text as its input, and say which; BadInput if it fails."""
    print(f"→ {shlex.join(command)}", flush=True)
    if subprocess.run(command, input=text, text=True, cwd=ROOT).returncode:
        raise BadInput(f"`{shlex.join(command)}` failed, see above; what was done before it stays, and the same call goes on from there")
