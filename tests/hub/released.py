"""A small released folder whose weights are a few files of known size, and a Hub that it is published to."""

import hashlib
import random
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
WEIGHT_BYTES = 300_000
CARD = "---\nlicense: apache-2.0\nlanguage: [en]\n---\n# Reynard-tiny\n"


def lay_folder(folder: Path, seed: int = 0, version: str = "0.1.0", **more: str) -> Path:
    """Write a released folder: three files of weights, a tokenizer, cards, the recipe, and the sums of all of them."""
    numbers, files = random.Random(seed), {name: text.encode() for name, text in more.items()}
    files |= {name: numbers.randbytes(WEIGHT_BYTES) for name in WEIGHTS}
    recipe = yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text())
    recipe["release"]["version"] = version
    files |= {"README.md": CARD.encode(), "config.json": b'{"model_type": "llama"}', "tokenizer.model": b"pieces", "empty.txt": b""}
    files |= {"reynard/recipe.yaml": yaml.safe_dump(recipe).encode(), "reynard/lineage.json": b'{"root": []}'}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    (folder / "SHA256SUMS").write_text(sums)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return a folder's files, as `Repository.files` returns those of a revision."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
