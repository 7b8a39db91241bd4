"""The decoder against `transformers`' LlamaForCausalLM and MistralForCausalLM, on the same weights."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recipes.load import load_recipe
from recipes.schema import Model
from tasks.model.decoder import Decoder, Group
from tasks.model.export import export, model_config

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
TOKENS, WINDOW, VOCABULARY = 40, 8, 97
DOCUMENTS = [[0, 13, 14, 40], [0, 30, 40]]  # borders in each row; one document is a single token
POSITIONS = torch.stack([torch.cat([torch.arange(b - a) for a, b in itertools.pairwise(row)]) for row in DOCUMENTS])


def reduced(recipe: str, **changes) -> Model:
    """A recipe's model with all its heads, eight numbers wide, three layers deep."""
    model = load_recipe(RECIPES / f"{recipe}.yaml").model
    small = dict(
        vocabulary_size=VOCABULARY, head_size=8, hidden_size=8 * model.heads, intermediate_size=model.intermediate_size * 8 // 128,
        layers=3, context_tokens=128, sliding_window=WINDOW if model.sliding_window else None,
    )  # fmt: skip
    return Model(**(model.model_dump() | small | changes))


def reference(model: Model, weights: dict[str, torch.Tensor]):
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    config, cls = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM)}[model.family]
    settings = {key: value for key, value in model_config(model, {}).items() if key not in ("architectures", "model_type", "dtype")}
    network = cls(config(**settings, attn_implementation="sdpa")).eval()
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}
    if model.tied_embeddings:
        network.tie_weights()
    return network


def trained(model: Model) -> Decoder:
    """A decoder whose norms differ from one, as training leaves them."""
    decoder = Decoder(model)
    decoder.initialize(3)
    generator = torch.Generator().manual_seed(4)
    for _, parameter in sorted(decoder.named_parameters()):
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return decoder


SHAPES = {
    "Fox-1": reduced("fox1"),
    "Fox-1 untied": reduced("fox1", tied_embeddings=False),
    "Moxin with its window": reduced("moxin7b"),
    "Moxin without": reduced("moxin7b", sliding_window=None),
    "Moxin tied": reduced("moxin7b", tied_embeddings=True),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("documents", [False, True], ids=["across documents", "within documents"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers(shape, documents, dtype, tolerance):
    model = SHAPES[shape]
    decoder = trained(model)
    theirs = reference(model, decoder.state_dict()).to(dtype)
    decoder.to(dtype)
    ids = torch.randint(0, VOCABULARY, (2, TOKENS), generator=torch.Generator().manual_seed(1))
    borders = DOCUMENTS if documents else [[0, TOKENS]] * 2
    with torch.no_grad():
        hidden = decoder.model(ids, POSITIONS if documents else None)
        ours = (hidden @ decoder.output_weight.T).float()
        expected = torch.stack([
            torch.cat([theirs(ids[row : row + 1, a:b]).logits[0] for a, b in itertools.pairwise(cuts)]) for row, cuts in enumerate(borders)
        ]).float()  # fmt: skip
    assert expected.std() > 0.2
    assert (ours - expected).norm() / expected.norm() < tolerance
    if dtype == torch.float32:
        assert torch.allclose(ours, expected, atol=tolerance, rtol=tolerance)


def test_the_two_recipes_heads_share_keys_in_their_own_ratio():
    assert [(SHAPES[name].heads, SHAPES[name].kv_heads) for name in ("Fox-1", "Moxin with its window")] == [(16, 4), (32, 8)]


def test_gradients_of_the_loss_are_those_of_transformers():
    model = SHAPES["Moxin with its window"]
    decoder = trained(model)
    theirs = reference(model, decoder.state_dict())
    ids = torch.randint(0, VOCABULARY, (2, TOKENS + 1), generator=torch.Generator().manual_seed(1))
    (decoder([Group(ids[:, :-1], ids[:, 1:])]) / (2 * TOKENS)).backward()
    theirs(ids[:, :-1], labels=ids[:, :-1], shift_labels=ids[:, 1:].contiguous()).loss.backward()
    for (name, one), (same, other) in zip(sorted(decoder.named_parameters()), sorted(theirs.named_parameters()), strict=True):
        assert name == same
        assert (one.grad - other.grad).norm() / other.grad.norm() < 1e-5, name


def exported(tmp_path: Path, model: Model, decoder: Decoder):
    """The decoder as `transformers` loads it from its export."""
    from transformers import AutoModelForCausalLM

    checkpoint = tmp_path / "checkpoint"
    (checkpoint / "tokenizer").mkdir(parents=True)
    (checkpoint / "model.json").write_text(model.model_dump_json())
    (checkpoint / "tokenizer" / "tokenizer.json").write_text(json.dumps({"added_tokens": []}))
    (checkpoint / "tokenizer" / "tokenizer_config.json").write_text("{}")
    save_file({name: tensor.contiguous() for name, tensor in decoder.state_dict().items()}, checkpoint / "model-00001-of-00001.safetensors")
    export(checkpoint, tmp_path / "export", None)
    return AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()


def test_the_exports_rolling_cache_stops_at_the_window_and_changes_no_token(tmp_path):
    model = reduced("moxin7b", initializer_range=0.08)  # far from uniform: many different tokens
    decoder = trained(model)
    network = exported(tmp_path, model, decoder)
    ids = torch.randint(0, VOCABULARY, (1, 3), generator=torch.Generator().manual_seed(1))
    ours, cache, held, step = ids, None, [], ids
    with torch.no_grad():
        while ours.shape[1] < 8 * WINDOW:
            answer = network(step, past_key_values=cache, use_cache=True)
            cache, step = answer.past_key_values, answer.logits[:, -1:].argmax(-1)
            held.append(sum(layer.keys.untyped_storage().nbytes() + layer.values.untyped_storage().nbytes() for layer in cache.layers))
            assert torch.equal(step, decoder.logits(ours)[:, -1:].argmax(-1))  # the whole text again, without a cache
            ours = torch.cat([ours, step], dim=1)
        options = {"max_new_tokens": 8 * WINDOW - 3, "min_new_tokens": 8 * WINDOW - 3, "do_sample": False}
        generated = [network.generate(ids, attention_mask=torch.ones_like(ids), use_cache=use, **options) for use in (True, False)]
    assert torch.equal(generated[0], generated[1]) and torch.equal(generated[0], ours)
    assert len(set(ours[0].tolist())) > 5  # not one token over and over
    kept = model.layers * 2 * model.kv_heads * model.head_size * 4  # bytes of one token: keys and values in float32
    assert max(held) <= WINDOW * kept and len(set(held[WINDOW:])) == 1 and held[0] < held[3]
