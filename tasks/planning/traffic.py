"""A stage's optimizer step to the bytes that each worker sends in it, by ZeRO stage, and the seconds at the profile's links beside computing.

Counted from DeepSpeed 0.19 as the engine sets it up, and measured at two workers by `benchmarks/memory.py`. Rings send what is counted;
latencies and what runs beside computing are left out: the engine waits for its sums.
"""

from recipes.schema import Recipe
from tasks.artifacts.manifest import JSON
from tasks.engine.job import micro_batch_units
from tasks.planning.memory import SUPPORTED
from tasks.runtime.cluster import Profile


def communication_bytes(parameters: int, zero_stage: int, gpus: int, accumulation: int, precision: str) -> float:
    """Return what each worker sends in an optimizer step, with ZeRO 1 or 2.

    Gradients are summed by all-reduce at both stages, 2 (n - 1) / n of their bytes: at stage 1 once a step, at stage 2 in every
    micro-batch. Then the weights are gathered: (n - 1) / n of theirs. Both are sent in the weights' type.
    """
    width, sums = (2 if precision == "bfloat16" else 4), (1 if zero_stage == 1 else accumulation)
    return (gpus - 1) / gpus * width * parameters * (2 * sums + 1)


def bandwidth(profile: Profile) -> float:
    """Return the bytes a second at which a ring passes a GPU: the slower of its link inside a machine and all of the machine's links outward.

    Rings cross from one machine to the next by every GPU's own link, each with its part of the bytes.
    """
    if profile.workers <= profile.gpus_per_machine:
        return profile.inside_bytes_per_second
    return min(profile.inside_bytes_per_second, profile.gpus_per_machine * profile.between_bytes_per_second)


def traffic_plan(recipe: Recipe, profile: Profile, stages: list[JSON], asked_tokens: int) -> JSON | None:
    """Return for each stage of the curriculum a step's computing, and by ZeRO stage what a GPU sends and how long that takes.

    None where links are not known, where one worker sends nothing, or where a batch cannot be dealt.
    """
    if profile.workers == 1 or not profile.inside_bytes_per_second:
        return None
    parameters, precision, rate = recipe.model.parameter_count(), recipe.pretraining.precision, bandwidth(profile)
    rows = []
    for stage in stages:
        units = stage["batch_tokens"] // stage["unit_tokens"]
        if units % profile.workers:
            return None
        accumulation = units // profile.workers // micro_batch_units(units, profile.workers, asked_tokens // stage["unit_tokens"])
        sent = {zero: communication_bytes(parameters, zero, profile.workers, accumulation, precision) for zero in SUPPORTED}
        rows.append({
            "name": stage["name"], "micro_batches": accumulation, "compute_seconds": stage["seconds"] / stage["steps"],
            "zero": [{"zero_stage": zero, "bytes": size, "seconds": size / rate} for zero, size in sent.items()],
        })  # fmt: skip
    return {"bytes_per_second": rate, "machines": -(-profile.workers // profile.gpus_per_machine), "rows": rows}
