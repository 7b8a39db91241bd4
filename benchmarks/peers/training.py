"""Other implementations of the same decoders, with the same first weights, for the training benchmark."""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.training_steps import KINDS, Contestant, Spec


def _compiled(network: nn.Module, spec: Spec) -> Any:
    return torch.compile(network) if spec["options"].get("compile") else network


def transformers(spec: Spec) -> Contestant:
    """LlamaForCausalLM or MistralForCausalLM, attention by PyTorch's kernel, with the loss that it computes itself."""
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    config, kind = {"llama": (LlamaConfig, LlamaForCausalLM), "mistral": (MistralConfig, MistralForCausalLM)}[spec["model"]["family"]]
    network = kind(config(**spec["config"], attn_implementation="sdpa")).train()
    network.load_state_dict(load_file(spec["weights"]), strict=False)
    network.tie_weights()
    network.to(spec["device"], KINDS[spec["precision"]])
    call = _compiled(network, spec)
    return Contestant(network, lambda ids, labels: call(input_ids=ids, labels=ids, shift_labels=labels, use_cache=False).loss)


def liger(spec: Spec) -> Contestant:
    """The same, with Liger's fused kernels in it."""
    from liger_kernel.transformers import apply_liger_kernel_to_llama, apply_liger_kernel_to_mistral

    {"llama": apply_liger_kernel_to_llama, "mistral": apply_liger_kernel_to_mistral}[spec["model"]["family"]]()
    return transformers(spec)


def litgpt_weights(weights: dict[str, Tensor], layers: int, tied: bool) -> dict[str, Tensor]:
    """Rename a decoder's tensors to LitGPT's, its query, key and value matrices as one."""
    names = {"wte.weight": "embed_tokens.weight", "ln_f.weight": "norm.weight"}
    for layer in range(layers):
        ours, theirs = f"layers.{layer}.", f"h.{layer}."
        names |= {
            theirs + "norm_1.weight": ours + "input_layernorm.weight", theirs + "norm_2.weight": ours + "post_attention_layernorm.weight",
            theirs + "attn.proj.weight": ours + "self_attn.o_proj.weight", theirs + "mlp.fc_1.weight": ours + "mlp.gate_proj.weight",
            theirs + "mlp.fc_2.weight": ours + "mlp.up_proj.weight", theirs + "mlp.proj.weight": ours + "mlp.down_proj.weight",
        }  # fmt: skip
    renamed = {f"transformer.{theirs}": weights[f"model.{ours}"] for theirs, ours in names.items()}
    for layer in range(layers):
        parts = [weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkv"]
        renamed[f"transformer.h.{layer}.attn.qkv.weight"] = torch.cat(parts)
    return renamed | {"lm_head.weight": weights["model.embed_tokens.weight" if tied else "lm_head.weight"]}


def litgpt(spec: Spec) -> Contestant:
    """LitGPT's GPT, with the loss of its pre-training script."""
    from litgpt.model import GPT, Config
    from litgpt.utils import chunked_cross_entropy

    model = spec["model"]
    windows = {"sliding_window_size": model["sliding_window"], "sliding_window_indices": [1] * model["layers"]}
    network = GPT(Config(
        block_size=spec["tokens"], n_layer=model["layers"], n_embd=model["hidden_size"], padded_vocab_size=model["vocabulary_size"],
        vocab_size=model["vocabulary_size"], norm_class_name="RMSNorm", norm_eps=model["norm_eps"], parallel_residual=False,
        n_head=model["heads"], head_size=model["head_size"], n_query_groups=model["kv_heads"], rope_base=int(model["rope_theta"]),
        rotary_percentage=1.0, intermediate_size=model["intermediate_size"], bias=False, mlp_class_name="LLaMAMLP",
        **(windows if model["sliding_window"] else {}),
    ))  # fmt: skip
    network.load_state_dict(litgpt_weights(load_file(spec["weights"]), model["layers"], model["tied_embeddings"]))
    if model["tied_embeddings"]:
        network.lm_head.weight = network.transformer.wte.weight
    network.to(spec["device"], KINDS[spec["precision"]])
    network.max_seq_length = spec["tokens"]
    call = _compiled(network, spec)
    return Contestant(network, lambda ids, labels: chunked_cross_entropy(call(ids), labels))
