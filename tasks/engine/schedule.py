"""An optimizer step to a learning rate: warm-up, then WSD, cosine or linear decay, counted through all stages."""

import math
from dataclasses import dataclass

from recipes.schema import Schedule


@dataclass(frozen=True)
class Horizon:
    """The steps that a schedule spans: all of them, and the first one of its decay (WSD only)."""

    total_steps: int
    decay_from_step: int | None = None


def learning_rate(schedule: Schedule, peak: float, horizon: Horizon, step: int) -> float:
    """Return the rate of the optimizer step with 0-based index `step`; the last step has index `total_steps - 1`.

    Warm-up is linear and reaches the peak at its last step. WSD follows MiniCPM (arXiv 2404.06395): constant, then
    `peak * 0.5^(n/T)` in the n-th decay step, T being a half-life in optimizer steps, or another decay form.
    """
    warmup = schedule.warmup_steps if schedule.warmup_steps is not None else round((schedule.warmup_fraction or 0.0) * horizon.total_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.form == "wsd":
        start = horizon.decay_from_step
        assert start is not None and schedule.decay_form is not None, "the recipe schema gives WSD a decay form and stage"
        if step < start:
            return peak
        temperature = schedule.decay_temperature_steps
        if schedule.decay_form == "half_life":
            return peak * max(0.5 ** ((step - start) / temperature), schedule.final_fraction)
        if schedule.decay_form == "e_fold":
            return peak * max(math.exp(-(step - start) / temperature), schedule.final_fraction)
        return peak * _fall(schedule.decay_form, _part(step, start, horizon.total_steps), schedule.final_fraction)
    return peak * _fall(schedule.form, _part(step, warmup, horizon.total_steps), schedule.final_fraction)


def _part(step: int, start: int, total: int) -> float:
    """Return how much of the decay lies behind, from 0 at its first step to 1 at the last."""
    return (step - start) / max(total - 1 - start, 1)


def _fall(form: str, part: float, final: float) -> float:
    if form == "linear":
        shape = 1.0 - part
    elif form == "cosine":
        shape = 0.5 * (1.0 + math.cos(math.pi * part))
    else:
        shape = 1.0 - math.sqrt(part)
    return final + (1.0 - final) * shape
