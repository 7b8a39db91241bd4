"""A model and its tokens to floating-point operations, and these to GPU-hours, wall time and money.

The convention, without which a utilisation says nothing: FLOPs of a trained token = 6 N + 12 L H S T (PaLM, arXiv 2204.02311,
appendix B). N counts the parameters that are multiplied: an input embedding that is not shared with the output is looked up.
T is the whole chunk, not its causal half; a sliding window caps it. The denominator is the card's dense bfloat16 rate.
"""

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.runtime.cluster import Profile

CONVENTION = "FLOPs per token = 6 N + 12 L H S T: N multiplied parameters, attention over the whole chunk"


def multiplied_parameters(model: Model) -> int:
    """Count the parameters that every token is multiplied with."""
    lookup = 0 if model.tied_embeddings else model.vocabulary_size * model.hidden_size
    return model.parameter_count() - lookup


def flops_per_token(model: Model, chunk_tokens: int) -> float:
    """Return the FLOPs of training on one token of a chunk, forward and backward."""
    span = min(chunk_tokens, model.sliding_window or chunk_tokens)
    return 6 * multiplied_parameters(model) + 12 * model.layers * model.heads * model.head_size * span


def mean_flops_per_token(model: Model, sequences: list[JSON]) -> float:
    """Return the mean over a stage's chunk lengths, weighted by their tokens."""
    tokens = {row["chunk_tokens"]: row["sequences"] * row["chunk_tokens"] for row in sequences}
    return sum(flops_per_token(model, length) * count for length, count in tokens.items()) / sum(tokens.values())


def time_plan(model: Model, stage: JSON, profile: Profile, mfu: float, measured: float | None, price: float) -> JSON:
    """Return a stage's FLOPs, and its time and cost; all None where neither a GPU nor a measured rate is known.

    `measured` are tokens per second of the whole profile, and take the place of the utilisation.
    """
    flops = mean_flops_per_token(model, stage["sequences"])
    speed = measured or (mfu * profile.gpu_peak_flops * profile.workers / flops if profile.gpu else None)
    seconds = stage["tokens"] / speed if speed else None
    hours = seconds * profile.workers / 3600 if seconds and profile.gpu else None
    return {
        "flops_per_token": flops, "flops": flops * stage["tokens"], "tokens_per_second": speed, "seconds": seconds, "gpu_hours": hours,
        "cost": hours * price if hours is not None else None,
        "mfu": speed * flops / (profile.gpu_peak_flops * profile.workers) if speed and profile.gpu else None,
    }  # fmt: skip


def sft_sequences(max_tokens: int, tokens: int) -> list[JSON]:
    """Return fine-tuning's tokens as conversations of the greatest length: what its attention costs at most."""
    return [{"chunk_tokens": max_tokens, "sequences": tokens / max_tokens}]
