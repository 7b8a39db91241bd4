"""First weights: from a seed, or from a parent with more layers."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from recipes.errors import BadInput
from recipes.schema import Model
from tasks.model.decoder import Decoder, Group
from tasks.model.initialization import INDEX, expand, initialize, read_parent

BASE = dict(
    family="mistral", vocabulary_size=97, hidden_size=48, intermediate_size=80, heads=4, kv_heads=2, head_size=16, context_tokens=64,
    rope_theta=10000.0, norm_eps=1e-5, sliding_window=8, initializer_range=0.08,
)  # fmt: skip
IDS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
PARENT = Model(**BASE, layers=4, tied_embeddings=False, initialization="scratch")


def expanded(layers: list[int], new_layers: str, location: str = "somewhere", **changes) -> Model:
    rule = dict(location=location, revision=None, licence="ours", sha256=changes.pop("sha256", None), layers=layers, new_layers=new_layers)
    return Model(**(BASE | dict(layers=len(layers), tied_embeddings=False, initialization="expand", expand=rule) | changes))


def parent(model: Model = PARENT) -> Decoder:
    decoder = Decoder(model)
    decoder.initialize(3)
    for number, layer in enumerate(decoder.model.layers):
        layer.input_layernorm.weight.data.fill_(1.0 + number)  # by which a copy is recognised
    return decoder


def child(model: Model, weights: dict[str, torch.Tensor]) -> Decoder:
    decoder = Decoder(model)
    decoder.load_state_dict(expand(weights, model), strict=True)
    return decoder


@pytest.mark.parametrize("layers", [[0, 1, 1, 2, 3, 3], [0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3]])
def test_with_identity_the_model_begins_as_exactly_its_parent_and_every_layer_learns(layers):
    old = parent()
    new = child(expanded(layers, "identity"), old.state_dict())
    with torch.no_grad():
        assert torch.equal(new.logits(IDS), old.logits(IDS))
    new([Group(IDS, IDS)]).backward()
    assert all(layer.self_attn.o_proj.weight.grad.any() and layer.mlp.down_proj.weight.grad.any() for layer in new.model.layers)


def test_copies_stand_in_the_order_that_the_recipe_gives():
    layers = [0, 1, 2, 1, 2, 3]  # SOLAR's: the parent twice, without its last layer and without its first
    new = child(expanded(layers, "copy"), parent().state_dict())
    assert [int(layer.input_layernorm.weight[0]) - 1 for layer in new.model.layers] == layers
    assert torch.equal(new.model.layers[3].mlp.down_proj.weight, parent().model.layers[1].mlp.down_proj.weight)
    with torch.no_grad():
        assert not torch.allclose(new.logits(IDS), parent().logits(IDS), atol=1e-2)


def test_copies_are_trained_apart():
    new = child(expanded([0, 1, 1, 2, 3], "copy"), parent().state_dict())
    new.model.layers[1].mlp.up_proj.weight.data.zero_()
    assert new.model.layers[2].mlp.up_proj.weight.any()


def test_thirty_two_layers_become_moxins_thirty_six():
    layers = [layer for layer in range(32) for _ in range(2 if layer % 8 == 7 else 1)]
    old = parent(PARENT.model_copy(update={"layers": 32, "initializer_range": 0.02}))
    new = child(expanded(layers, "identity"), old.state_dict())
    assert len(new.model.layers) == 36
    with torch.no_grad():
        assert torch.equal(new.logits(IDS), old.logits(IDS))


def test_the_expansion_takes_nothing_from_the_parent_and_changes_nothing_in_it():
    weights = parent().state_dict()
    before = {name: tensor.clone() for name, tensor in weights.items()}
    expand(weights, expanded([0, 1, 1, 2, 3], "identity"))
    assert weights.keys() == before.keys() and all(torch.equal(weights[name], before[name]) for name in before)


def test_an_untied_model_of_a_tied_parent_begins_with_the_embedding_as_its_output():
    old = parent(PARENT.model_copy(update={"tied_embeddings": True}))
    new = child(expanded([0, 1, 2, 3, 3], "identity"), old.state_dict())
    with torch.no_grad():
        assert torch.equal(new.logits(IDS), old.logits(IDS))


# --- files --------------------------------------------------------------------------------------------------------------------


def write(folder: Path, shards: int, index: bool = False, config: dict | None = None) -> dict[str, torch.Tensor]:
    """A parent's folder, in bfloat16, as `transformers` writes it."""
    weights = {name: tensor.bfloat16() for name, tensor in sorted(parent().state_dict().items())}
    folder.mkdir(exist_ok=True)
    places = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        part = {key: weights[key] for key in list(weights)[shard::shards]}
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    if index:
        (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return weights


@pytest.mark.parametrize(("shards", "index"), [(1, False), (3, True), (3, False)])
def test_a_parent_is_read_whole_or_in_shards_with_or_without_their_index(tmp_path, shards, index):
    weights = write(tmp_path, shards, index)
    decoder = Decoder(expanded([0, 1, 2, 3, 3], "copy", str(tmp_path)))
    initialize(decoder, expanded([0, 1, 2, 3, 3], "copy", str(tmp_path)), seed=1)
    assert torch.equal(decoder.model.layers[4].mlp.up_proj.weight, weights["model.layers.3.mlp.up_proj.weight"].float())
    assert torch.equal(decoder.lm_head.weight, weights["lm_head.weight"].float())


def test_a_model_that_transformers_saved_is_a_parent(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    from tasks.model.export import model_config

    settings = {key: value for key, value in model_config(PARENT, {}).items() if key not in ("architectures", "model_type", "dtype")}
    theirs = MistralForCausalLM(MistralConfig(**settings)).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / INDEX).is_file()
    model = expanded([0, 1, 2, 3, 3], "identity", str(tmp_path))
    decoder = Decoder(model)
    initialize(decoder, model, seed=1)
    with torch.no_grad():
        assert torch.allclose(decoder.logits(IDS), theirs(IDS).logits, atol=1e-5)


def test_the_sha256_is_what_a_shell_says(tmp_path):
    write(tmp_path, 3)
    listing = subprocess.run("sha256sum model*.safetensors", shell=True, cwd=tmp_path, capture_output=True, check=True).stdout
    right = hashlib.sha256(listing).hexdigest()
    assert read_parent(expanded([0, 1, 2, 3], "copy", str(tmp_path), sha256=right))
    with pytest.raises(BadInput, match=f"sha256 {right}, the recipe says {'0' * 64}: these are other weights"):
        read_parent(expanded([0, 1, 2, 3], "copy", str(tmp_path), sha256="0" * 64))


def test_scratch_is_the_decoders_own_initialization():
    one, two = Decoder(PARENT), Decoder(PARENT)
    one.initialize(5), initialize(two, PARENT, 5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


# --- refusals -----------------------------------------------------------------------------------------------------------------


def refused(weights: dict[str, torch.Tensor], model: Model) -> str:
    with pytest.raises(BadInput) as error:
        expand(weights, model)
    return str(error.value)


def test_a_parent_that_does_not_fit_is_refused_in_one_sentence():
    weights = parent().state_dict()
    layers = [0, 1, 2, 3, 3]
    assert "layers.0.mlp.gate_proj.weight" in refused(weights, expanded(layers, "copy", intermediate_size=96))
    assert "shape [80, 48], the recipe's model needs [96, 48]" in refused(weights, expanded(layers, "copy", intermediate_size=96))
    assert "names layer 4, and the parent at 'somewhere' has 4" in refused(weights, expanded([0, 1, 2, 3, 4], "copy"))
    assert "leaves out the parent's layer 3" in refused(weights, expanded([0, 1, 2, 2], "identity"))
    biased = weights | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}
    assert "q_proj.bias, for which the model has no place" in refused(biased, expanded(layers, "copy"))
    assert "lm_head of its own: set tied_embeddings to false" in refused(weights, expanded(layers, "copy", tied_embeddings=True))
    assert "has no model.norm.weight" in refused({k: v for k, v in weights.items() if k != "model.norm.weight"}, expanded(layers, "copy"))


def test_a_parents_rotary_buffers_of_old_are_no_obstacle_and_a_tied_parents_spare_output_neither():
    weights = parent().state_dict()
    assert expand(weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}, expanded([0, 1, 2, 3], "copy"))
    tied = weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    assert "lm_head.weight" not in expand(tied, expanded([0, 1, 2, 3], "copy", tied_embeddings=True))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: [file.unlink() for file in folder.iterdir()], "has no model.*safetensors: convert it"),
        (lambda folder: (folder / "model-00002-of-00003.safetensors").unlink(), "lacks model-00002-of-00003.safetensors"),
        (lambda folder: (folder / INDEX).write_text('{"weight_map": {"x": "../model.safetensors"}}'), "lacks ../model.safetensors"),
        (lambda folder: (folder / "config.json").write_text('{"rope_theta": 1000000.0}'), "rope_theta 1000000.0, the recipe's model 10000.0"),
        (lambda folder: (folder / "config.json").write_text('{"num_attention_heads": 8}'), "num_attention_heads 8, the recipe's model 4"),
    ],
    ids=["none", "a shard is missing", "outside", "another base", "other heads"],
)  # fmt: skip
@pytest.mark.parametrize("index", [True, False], ids=["with index", "without"])
def test_a_folder_that_is_no_parent_is_refused(tmp_path, spoil, words, index):
    write(tmp_path, 3, index)
    spoil(tmp_path)
    with pytest.raises(BadInput, match=words):
        read_parent(expanded([0, 1, 2, 3], "copy", str(tmp_path)))


def test_a_location_that_is_no_folder_is_refused(tmp_path):
    for location in (str(tmp_path / "nowhere"), "s3://bucket/parent"):
        with pytest.raises(BadInput, match="is no folder: give one with safetensors, or hf://organisation/name"):
            read_parent(expanded([0], "copy", location))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Model(**(expanded([0, 1, 2], "copy").model_dump() | {"layers": 4})), "lists 3 layers and the model has 4"),
        (lambda: expanded([1, 0, 2], "identity"), r"order \[1, 0, 2\].*use `copy`"),
        (lambda: expanded([0, 1], "copy", initialization="scratch"), "belongs to `initialization: expand`"),
        (lambda: Model(**BASE, layers=4, tied_embeddings=False, initialization="expand"), "belongs to `initialization: expand`, which needs it"),
    ],
)  # fmt: skip
def test_a_recipe_says_the_parents_layer_for_each_layer(make, words):
    with pytest.raises(ValidationError, match=words):
        make()
