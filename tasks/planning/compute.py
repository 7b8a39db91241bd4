"""A model and its tokens to floating-point operations, and these to GPU-hours, wall time and money.

The convention is that of `tasks/model/flops.py`; the denominator of a utilisation is the card's dense bfloat16 rate.
"""

from recipes.schema import LoRA, Model
from tasks.artifacts.manifest import JSON
from tasks.model.flops import mean_flops_per_token
from tasks.runtime.cluster import Profile


def time_plan(
    model: Model, stage: JSON, profile: Profile, mfu: float, measured: float | None, price: float, lora: LoRA | None = None
) -> JSON:
    """Return a stage's FLOPs, and its time and cost; all None where neither a GPU nor a measured rate is known.

    `measured` are tokens per second of the whole profile, and take the place of the utilisation.
    """
    tokens = {row["chunk_tokens"]: row["sequences"] * row["chunk_tokens"] for row in stage["sequences"]}
    flops = mean_flops_per_token(model, tokens, lora)
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
