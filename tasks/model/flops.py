"""A decoder to the floating-point operations of training on a token.

The convention, without which a utilisation says nothing: FLOPs of a trained token = 6 N + 12 L H S T (PaLM, arXiv 2204.02311,
appendix B). N counts the parameters that are multiplied: an input embedding that is not shared with the output is looked up.
T is the whole chunk, not its causal half; a sliding window caps it.
"""

from recipes.schema import Model

CONVENTION = "FLOPs per token = 6 N + 12 L H S T: N multiplied parameters, attention over the whole chunk"


def multiplied_parameters(model: Model) -> int:
    """Count the parameters that every token is multiplied with."""
    lookup = 0 if model.tied_embeddings else model.vocabulary_size * model.hidden_size
    return model.parameter_count() - lookup


def flops_per_token(model: Model, chunk_tokens: int) -> float:
    """Return the FLOPs of training on one token of a chunk, forward and backward."""
    span = min(chunk_tokens, model.sliding_window or chunk_tokens)
    return 6 * multiplied_parameters(model) + 12 * model.layers * model.heads * model.head_size * span


def mean_flops_per_token(model: Model, tokens: dict[int, int]) -> float:
    """Return the mean over chunk lengths, weighted by the tokens of each."""
    return sum(flops_per_token(model, length) * count for length, count in tokens.items()) / sum(tokens.values())
