"""An exported model's safetensors to what they weigh: bytes by type, read from the files' headers alone."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from recipes.errors import BadInput
from tasks.artifacts.store import sha256_file

JSON = dict[str, Any]
MOST_HEADER_BYTES = 100_000_000  # the format's own limit


def weight_files(folder: Path) -> list[Path]:
    """Return a model's safetensors files in order; BadInput if it has none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadInput(f"{folder} has no *.safetensors: give the folder of an exported model")
    return files


def weights_digest(folder: Path) -> str:
    """Return a digest of a model's weights: the sha256 of its files' names and sha256."""
    return hashlib.sha256("".join(f"{path.name} {sha256_file(path)}\n" for path in weight_files(folder)).encode()).hexdigest()


def weight_memory(folder: Path) -> JSON:
    """Return `bytes` and `parameters` of all tensors, and both by type: what the weights take in memory, before any cache."""
    by_type: dict[str, JSON] = {}
    for path in weight_files(folder):
        for tensor in _tensors(path):
            size, values = tensor["data_offsets"][1] - tensor["data_offsets"][0], 1
            for length in tensor["shape"]:
                values *= length
            one = by_type.setdefault(tensor["dtype"], {"bytes": 0, "parameters": 0})
            one["bytes"], one["parameters"] = one["bytes"] + size, one["parameters"] + values
    return {
        "bytes": sum(one["bytes"] for one in by_type.values()), "parameters": sum(one["parameters"] for one in by_type.values()),
        "by_type": dict(sorted(by_type.items())),
    }  # fmt: skip


def _tensors(path: Path) -> list[JSON]:
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else MOST_HEADER_BYTES + 1
        if size > MOST_HEADER_BYTES or size > path.stat().st_size:
            raise BadInput(f"{path} is no safetensors file: export the model again")
        header = json.loads(file.read(size))
    return [tensor for name, tensor in header.items() if name != "__metadata__"]
