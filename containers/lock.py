"""The project's requirements and constraints to the images' lock files: every package of an image, exact, with the sha256 of its files.

    pip install uv && python containers/lock.py --cpu-wheel torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl

PyPI's torch for Linux brings CUDA, so `cuda.lock` is all from PyPI. The CPU image takes torch from PyTorch's own index for CPUs instead, and
nothing of NVIDIA's: its hash is that of the wheel given here.
"""

import argparse
import re
import subprocess
from pathlib import Path

from tasks.artifacts.store import sha256_file

HERE = Path(__file__).parent
ROOT = HERE.parent
CUDA_ALONE = re.compile(r"^(nvidia-|cuda-|triton)")
UV = [
    "uv",
    "pip",
    "compile",
    "--quiet",
    "--generate-hashes",
    "--python-version",
    "3.11",
    "--python-platform",
    "x86_64-manylinux_2_28",
    "--no-header",
    "--no-annotate",
]


def compiled(*arguments: str) -> list[str]:
    """Return the entries of a lock file: a package and its hashes each."""
    done = subprocess.run([*UV, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return re.split(r"\n(?=\S)", done.stdout.strip())


def main() -> None:
    """Write cuda.lock, cpu.lock and tiny.lock."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cpu-wheel", type=Path, required=True, help="torch's wheel for CPUs, of the version in constraints.txt")
    wheel: Path = parser.parse_args().cpu_wheel
    version = wheel.name.split("-")[1]
    entries = compiled("pyproject.toml", "--constraints", "constraints.txt")
    (torch,) = [entry for entry in entries if entry.startswith("torch==")]
    if torch.split()[0] != f"torch=={version.split('+')[0]}":
        raise SystemExit(f"{wheel.name} is not of the version in constraints.txt, {torch.split()[0]}: give its wheel for CPUs")
    cpu = [entry for entry in entries if not CUDA_ALONE.match(entry) and entry != torch]
    cpu.append(f"torch=={version} \\\n    --hash=sha256:{sha256_file(wheel)}")
    for name, lines in (("cuda", entries), ("cpu", cpu), ("tiny", compiled("--no-deps", "recipes/tiny.requirements.txt"))):
        (HERE / f"{name}.lock").write_text("\n".join(sorted(lines)) + "\n")
        print(f"{name}.lock: {len(lines)} packages")


if __name__ == "__main__":
    main()
