"""This tree to its images in the engine of this machine: `make images`, and what `make test-images` looks at.

    python -m containers.build localhost/reynard cpu cuda

TORCH_INDEX is the address of PyTorch's index of wheels for CPUs; BUILD_FLAGS are the engine's own (docs/deployment.md). `make deploy` builds and
pushes by itself what a registry lacks.
"""

import argparse
import os
import re
import sys

from infra.commit import head, uncommitted
from infra.images import build, image_name, working_engine
from infra.settings import REGISTRY
from recipes.errors import BadInput

LOCKS = ("cpu", "cuda")


def main() -> None:
    """Build the images that are asked for, or print their names; the tag is the commit, and says so if something is not committed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("registry")
    parser.add_argument("locks", nargs="+", choices=LOCKS)
    parser.add_argument("--name", action="store_true", help="print the images' names, and build nothing")
    asked = parser.parse_args()
    try:
        if not re.fullmatch(REGISTRY, asked.registry):
            raise BadInput(f"registry {asked.registry!r} is no HOST/PATH in small letters, such as localhost/reynard")
        tag = f"{head()}{'-dirty' if uncommitted() else ''}"
        engine = "" if asked.name else working_engine()
        for lock in asked.locks:
            image = image_name(asked.registry, lock, tag)
            print(image) if asked.name else build(engine, image, os.environ.get("BUILD_FLAGS", ""))
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
