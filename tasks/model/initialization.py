"""A recipe's model to its first weights: random numbers, or a parent's with more layers (depth expansion).

A parent is a folder of safetensors under `transformers`' Llama or Mistral names, whole or in shards; nothing is unpickled. Its
tensors stay mapped from disk until they are copied into the decoder.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from recipes.errors import BadInput
from recipes.schema import Expand, Model
from tasks.artifacts.store import sha256_bytes, sha256_file
from tasks.artifacts.tensors import read_tensors
from tasks.model.decoder import Decoder
from tasks.model.export import model_config

INDEX = "model.safetensors.index.json"
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
WRITES = ("self_attn.o_proj.weight", "mlp.down_proj.weight")  # what a block adds to the residual stream comes through these


def initialize(decoder: Decoder, model: Model, seed: int) -> None:
    """Give a decoder its first weights, as the recipe says; BadInput if the parent does not fit."""
    if model.expand is None:
        decoder.initialize(seed)
    else:
        decoder.load_state_dict(expand(read_parent(model), model), strict=True)


def expand(parent: Mapping[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Return the model's tensors by name, taken from a parent's; those of copied layers are the parent's own, not copies."""
    rule = model.expand
    assert rule is not None, "only `initialization: expand` has a parent"
    given = {name: tensor for name, tensor in parent.items() if not name.endswith("rotary_emb.inv_freq")}
    _check_output(given, model, rule)
    if not model.tied_embeddings and "model.embed_tokens.weight" in given:  # a tied parent's output matrix is its embedding
        given.setdefault("lm_head.weight", given["model.embed_tokens.weight"])
    _check_layers(given, rule)
    with torch.device("meta"):
        wanted = {name: tensor.shape for name, tensor in Decoder(model).state_dict().items()}
    known = {_unnumbered(name) for name in wanted}
    if strange := sorted(name for name in given if _unnumbered(name) not in known):
        raise BadInput(f"the parent at {rule.location!r} has {strange[0]}, for which the model has no place: use a parent without it")
    return {name: _tensor(name, shape, given, rule) for name, shape in wanted.items()}


def _tensor(name: str, shape: torch.Size, given: Mapping[str, Tensor], rule: Expand) -> Tensor:
    """Return one tensor of the model: the parent's of the layer that the rule names, or zeros where a new layer writes."""
    place, source = LAYER.fullmatch(name), name
    if place:
        layer, part = int(place[1]), place[2]
        source = f"model.layers.{rule.layers[layer]}.{part}"
    if source not in given:
        raise BadInput(f"the parent at {rule.location!r} has no {source}: use a whole Llama or Mistral checkpoint")
    if given[source].shape != shape:
        raise BadInput(
            f"{source} of the parent at {rule.location!r} has shape {list(given[source].shape)}, the recipe's model needs {list(shape)}: "
            "only layers are added, so give the model the parent's sizes"
        )
    if place and rule.new_layers == "identity" and rule.layers[layer] in rule.layers[:layer] and part in WRITES:
        return torch.zeros_like(given[source])
    return given[source]


def _check_output(given: dict[str, Tensor], model: Model, rule: Expand) -> None:
    """Refuse a parent whose output matrix is not its embedding where the model's is."""
    output, embedding = given.get("lm_head.weight"), given.get("model.embed_tokens.weight")
    if not model.tied_embeddings or output is None or embedding is None:
        return
    if output.shape != embedding.shape or not torch.equal(output, embedding):
        raise BadInput(f"the parent at {rule.location!r} has an lm_head of its own: set tied_embeddings to false")
    del given["lm_head.weight"]


def _check_layers(given: Iterable[str], rule: Expand) -> None:
    """Refuse layers that the parent lacks, and with `identity` a parent of which layers are left out."""
    there = {int(place[1]) for place in map(LAYER.fullmatch, given) if place}
    if missing := set(rule.layers) - there:
        raise BadInput(f"expand.layers names layer {min(missing)}, and the parent at {rule.location!r} has {len(there)}, counted from 0")
    if rule.new_layers == "identity" and (left := there - set(rule.layers)):
        raise BadInput(
            f"expand.layers leaves out the parent's layer {min(left)}: with new_layers `identity` the model begins as the parent, so name "
            "all of its layers, or use `copy`"
        )


def _unnumbered(name: str) -> str:
    place = LAYER.fullmatch(name)
    return place[2] if place else name


def read_parent(model: Model) -> dict[str, Tensor]:
    """Read the parent's tensors; BadInput if the folder holds none, other bytes than the recipe says, or another architecture."""
    rule = model.expand
    assert rule is not None, "only `initialization: expand` has a parent"
    folder = parent_folder(rule)
    files = weight_files(folder, rule.location)
    if rule.sha256 is not None:
        found = sha256_bytes("".join(f"{sha256_file(file)}  {file.name}\n" for file in files).encode())
        if found != rule.sha256:
            raise BadInput(f"the parent at {rule.location!r} has sha256 {found}, the recipe says {rule.sha256}: these are other weights")
    _check_config(folder, model, rule)
    return read_tensors(files)


def parent_folder(rule: Expand) -> Path:
    """Return the local folder of a parent, fetched from the hub if it lies there."""
    if not rule.location.startswith("hf://"):
        folder = Path(rule.location).expanduser()
        if "://" in rule.location or not folder.is_dir():
            raise BadInput(f"expand.location {rule.location!r} is no folder: give one with safetensors, or hf://organisation/name")
        return folder
    from huggingface_hub import snapshot_download

    wanted = ["model*.safetensors", INDEX, "config.json"]
    try:
        return Path(snapshot_download(rule.location.removeprefix("hf://"), revision=rule.revision, allow_patterns=wanted))
    except Exception as error:
        raise BadInput(
            f"the parent {rule.location!r} cannot be fetched ({type(error).__name__}: {str(error)[:120]}): check the name, the revision, "
            "the network and your credentials"
        ) from None


def weight_files(folder: Path, location: str) -> list[Path]:
    """Return the files of a model's weights, in order of their names: those of the index, all shards, or the one file."""
    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    else:
        names = sorted(path.name for path in folder.glob("model*.safetensors"))
        if names and (shards := re.fullmatch(r"model-\d+-of-(\d+)\.safetensors", names[0])):
            names = [f"model-{number + 1:05d}-of-{shards[1]}.safetensors" for number in range(int(shards[1]))]
    if not names:
        raise BadInput(f"the parent at {location!r} has no model*.safetensors: convert it, pickled weights are not read")
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise BadInput(f"the parent at {location!r} lacks {name}: fetch all of its files")
    return [folder / name for name in names]


def _check_config(folder: Path, model: Model, rule: Expand) -> None:
    """Refuse a parent whose `config.json`, if it has one, says what shapes cannot: heads, rotary base, norms' epsilon."""
    if not (folder / "config.json").is_file():
        return
    theirs, ours = json.loads((folder / "config.json").read_text()), model_config(model, {})
    theirs = (theirs.get("rope_parameters") or {}) | theirs
    for key in ("num_attention_heads", "num_key_value_heads", "rope_theta", "rms_norm_eps"):
        if key in theirs and theirs[key] != ours[key]:
            raise BadInput(
                f"the parent at {rule.location!r} has {key} {theirs[key]}, the recipe's model {ours[key]}: its weights mean something else "
                "there, so make them equal"
            )
