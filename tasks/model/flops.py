"""A decoder to the floating-point operations of training on a token.

The convention, without which a utilisation says nothing: FLOPs of a trained token = 6 N + 12 L H S T (PaLM, arXiv 2204.02311,
appendix B). N counts the parameters that are multiplied: an input embedding that is not shared with the output is looked up.
T is the whole chunk, not its causal half; a sliding window caps it. Of 6 N, 2 N are the forward pass, 2 N the gradients of the
activations and 2 N those of the weights: adapters (LoRA) alone have the last, so with A of them it is 4 (N + A) + 2 A.
"""

from recipes.schema import LoRA, Model

CONVENTION = "FLOPs per token = 6 N + 12 L H S T: N multiplied parameters, attention over the whole chunk"


def multiplied_parameters(model: Model) -> int:
    """Count the parameters that every token is multiplied with."""
    lookup = 0 if model.tied_embeddings else model.vocabulary_size * model.hidden_size
    return model.parameter_count() - lookup


def adapter_parameters(model: Model, rule: LoRA) -> int:
    """Count the parameters of adapters: rank x (inputs + outputs) of each target matrix, in every layer."""
    hidden, queries, keys = model.hidden_size, model.heads * model.head_size, model.kv_heads * model.head_size
    sides = {
        "q_proj": hidden + queries, "k_proj": hidden + keys, "v_proj": hidden + keys, "o_proj": queries + hidden,
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), hidden + model.intermediate_size),
    }  # fmt: skip
    return model.layers * rule.rank * sum(sides[target] for target in set(rule.targets))


def flops_per_token(model: Model, chunk_tokens: int, lora: LoRA | None = None) -> float:
    """Return the FLOPs of training on one token of a chunk, forward and backward: all weights, or adapters alone."""
    span = min(chunk_tokens, model.sliding_window or chunk_tokens)
    multiplied = multiplied_parameters(model)
    adapters = adapter_parameters(model, lora) if lora else 0
    matrices = 4 * (multiplied + adapters) + 2 * (adapters if lora else multiplied)
    return matrices + 12 * model.layers * model.heads * model.head_size * span


def mean_flops_per_token(model: Model, tokens: dict[int, int], lora: LoRA | None = None) -> float:
    """Return the mean over chunk lengths, weighted by the tokens of each."""
    return sum(flops_per_token(model, length, lora) * count for length, count in tokens.items()) / sum(tokens.values())
