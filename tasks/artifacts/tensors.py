"""Named tensors to safetensors shards and back: `<kind>-00001-of-00004.safetensors`, each name in one shard."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def shard_name(kind: str, number: int, shards: int) -> str:
    """Return the name of a shard (from 0), as `transformers` counts them."""
    return f"{kind}-{number + 1:05d}-of-{shards:05d}.safetensors"


def divide(sizes: Mapping[str, int], shards: int) -> dict[str, int]:
    """Give each name a shard, so that they become about equally large: the largest first, each to the emptiest; the same everywhere."""
    filled, owner = [0] * shards, {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        owner[name] = filled.index(min(filled))
        filled[owner[name]] += sizes[name]
    return owner


def read_tensors(files: list[Path]) -> "dict[str, Tensor]":
    """Read all tensors of some shards; FileNotFoundError if there are none, ValueError if a name comes twice."""
    from safetensors.torch import load_file

    if not files:
        raise FileNotFoundError("a checkpoint has no such safetensors files: it is not whole, or of another version")
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = load_file(file)
        if twice := found.keys() & tensors.keys():
            raise ValueError(f"{file.name} repeats {min(twice)!r} of another shard: the checkpoint is not what was written")
        found |= tensors
    return found
