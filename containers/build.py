"""This tree to its images in the engine of this machine: `make images`, and what `make test-images` looks at.

    python -m containers.build localhost/reynard cpu cuda

TORCH_INDEX is the address of PyTorch's index of wheels for CPUs; BUILD_FLAGS are the engine's own (docs/deployment.md). `make deploy` builds and
pushes by itself what a registry lacks.
"""

import argparse
import os
import shlex
import subprocess
import sys

from infra.images import ROOT, build_command, is_cpu, run, working_engine
from recipes.errors import BadInput

LOCKS = ("cpu", "cuda")


def git(*asked: str) -> str:
    """Return what git says of this tree."""
    return subprocess.run(["git", *asked], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def image_name(registry: str, lock: str) -> str:
    """Return the name of this tree's image: the tag is the commit, and says so if something is not committed."""
    return f"{registry}/{lock}:{git('rev-parse', 'HEAD')}{'-dirty' if git('status', '--porcelain') else ''}"


def build(engine: str, image: str) -> None:
    """Build an image; BadInput if that fails, or if nothing says where its torch comes from."""
    if is_cpu(image) and not os.environ.get("TORCH_INDEX"):
        raise BadInput(
            "TORCH_INDEX is not set: set it to the address of PyTorch's index of wheels for CPUs, where the CPU image has torch from"
        )
    *command, context = build_command(engine, image)
    run([*command, *shlex.split(os.environ.get("BUILD_FLAGS", "")), context])


def main() -> None:
    """Build the images that are asked for, or print their names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("registry")
    parser.add_argument("locks", nargs="+", choices=LOCKS)
    parser.add_argument("--name", action="store_true", help="print the images' names, and build nothing")
    asked = parser.parse_args()
    images = [image_name(asked.registry, lock) for lock in asked.locks]
    try:
        engine = "" if asked.name else working_engine()
        for image in images:
            print(image) if asked.name else build(engine, image)
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
