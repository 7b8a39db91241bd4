"""Adapters of low rank (LoRA, arXiv 2106.09685) beside some of a decoder's matrices, by `peft`; and what they add, merged into the weights.

`peft` makes the layers and keeps all other weights as they are. Names in a checkpoint are the decoder's own; `to_peft` gives those under
which `peft` finds the adapters beside a released base model.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from recipes.schema import LoRA
from tasks.artifacts.manifest import JSON
from tasks.model.decoder import Decoder

ADAPTER = "default"  # peft's name of the only one
PART = re.compile(rf"(.+)\.lora_(A|B)\.{ADAPTER}\.weight")


def add_adapters(decoder: Decoder, rule: LoRA, seed: int) -> None:
    """Put adapters beside the target matrices; they begin as nothing (B is zero), A from one seed, and alone are trained."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rule.rank, lora_alpha=rule.alpha, lora_dropout=rule.dropout, target_modules=list(rule.targets), bias="none")
    inject_adapter_in_model(config, decoder, ADAPTER)
    decoder.model.blocks_draw = rule.dropout > 0
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(decoder.named_parameters()):
            if part := PART.fullmatch(name):
                if part[2] == "A":  # as peft itself: uniform, Kaiming's bound for a slope of the square root of 5
                    bound = 1 / math.sqrt(parameter.shape[1])
                    parameter.uniform_(-bound, bound, generator=generator)
                else:
                    parameter.zero_()


def merge(name: str, weight: Tensor, adapters: Mapping[str, Tensor], rule: LoRA) -> Tensor:
    """Return a weight of the base model with what its adapter adds, in the weight's own type; the same weight if it has none."""
    place = name.removesuffix(".weight")
    a, b = (adapters.get(f"{place}.lora_{part}.{ADAPTER}.weight") for part in "AB")
    if a is None or b is None:
        return weight
    return (weight.float() + rule.alpha / rule.rank * (b.float() @ a.float())).to(weight.dtype)


def to_peft(adapters: Mapping[str, Tensor], rule: LoRA, base: str) -> tuple[dict[str, Tensor], JSON]:
    """Return adapters under peft's names, and its `adapter_config.json`, for a base model of the given name."""
    named = {f"base_model.model.{name.replace(f'.{ADAPTER}.weight', '.weight')}": tensor for name, tensor in adapters.items()}
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rule.rank, "lora_alpha": rule.alpha,
        "lora_dropout": rule.dropout, "target_modules": sorted(rule.targets), "bias": "none", "inference_mode": True,
    }  # fmt: skip
    return named, config
