"""Adapters: they begin as nothing, are all that is trained, and merged they are the model that was trained, here and in `peft`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recipes.schema import LoRA, Model
from tasks.model.decoder import Decoder, Group
from tasks.model.export import model_config
from tasks.model.lora import PART, add_adapters, merge, to_peft

MODEL = Model(
    family="llama", vocabulary_size=64, hidden_size=32, intermediate_size=48, layers=2, heads=4, kv_heads=2, head_size=8, context_tokens=32,
    rope_theta=10000.0, norm_eps=1e-5, tied_embeddings=True, sliding_window=None, initialization="scratch", initializer_range=0.3,
)  # fmt: skip
RULE = LoRA(rank=4, alpha=8.0, dropout=0.0, targets=["q_proj", "v_proj", "down_proj"])
IDS = torch.arange(2 * 12).view(2, 12) % 64


@pytest.fixture
def base() -> Decoder:
    decoder = Decoder(MODEL)
    decoder.initialize(1)
    return decoder


@pytest.fixture
def trained(base) -> tuple[Decoder, dict[str, torch.Tensor]]:
    """A decoder whose adapters took some steps, and the adapters."""
    add_adapters(base, RULE, seed=1)
    optimizer = torch.optim.AdamW([p for p in base.parameters() if p.requires_grad], lr=0.05)
    for _ in range(4):
        base([Group(IDS[:, :-1], IDS[:, 1:].contiguous() * 5 % 64)]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return base, {name: parameter.detach().clone() for name, parameter in base.named_parameters() if parameter.requires_grad}


def test_adapters_begin_as_nothing_and_are_all_that_is_trained(base):
    before = base.logits(IDS).detach()
    add_adapters(base, RULE, seed=1)
    assert torch.equal(base.logits(IDS), before)
    names = {name for name, parameter in base.named_parameters() if parameter.requires_grad}
    assert len(names) == 2 * 3 * 2 and all(PART.fullmatch(name) for name in names)  # layers, targets, A and B
    sizes = {name.split(".")[-4]: 0 for name in names}
    for name, parameter in base.named_parameters():
        if name in names:
            sizes[name.split(".")[-4]] += parameter.numel()
    assert sizes == {"q_proj": 2 * 4 * (32 + 32), "v_proj": 2 * 4 * (32 + 16), "down_proj": 2 * 4 * (48 + 32)}


def test_adapters_are_the_same_for_the_same_seed_alone(base):
    def first(seed: int) -> torch.Tensor:
        decoder = Decoder(MODEL)
        add_adapters(decoder, RULE, seed)
        return decoder.model.layers[0].self_attn.q_proj.lora_A["default"].weight

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


def test_merged_weights_give_the_logits_that_the_adapters_gave(trained):
    decoder, adapters = trained
    plain = Decoder(MODEL)
    plain.initialize(1)
    before = plain.logits(IDS).detach()
    plain.load_state_dict({name: merge(name, weight, adapters, RULE) for name, weight in plain.state_dict().items()}, strict=True)
    assert (plain.logits(IDS) - decoder.logits(IDS)).abs().max() < 1e-5
    assert (before - decoder.logits(IDS)).abs().max() > 0.1, "the adapters learnt something"


def test_peft_finds_the_adapters_beside_a_released_base_model(trained, tmp_path: Path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    decoder, adapters = trained
    plain = Decoder(MODEL)
    plain.initialize(1)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(model_config(MODEL, {})))
    save_file(dict(plain.state_dict()), tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    tensors, config = to_peft(adapters, RULE, "base")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32), tmp_path / "adapter")
    with torch.no_grad():
        assert (model(IDS).logits - decoder.logits(IDS)).abs().max() < 1e-5
        assert (model.merge_and_unload()(IDS).logits - decoder.logits(IDS)).abs().max() < 1e-5
