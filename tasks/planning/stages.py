"""A recipe's curriculum to what every stage takes: sequences by length, steps, tokens and epochs by source, and learning rates.

Nothing is estimated here but how much the sources hold: units, mixtures and rates come from the functions that training calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recipes.schema import MixtureEntry, Pretraining, Recipe, Stage
from tasks.artifacts.manifest import JSON
from tasks.curriculum.mixture import units_per_source
from tasks.engine.schedule import learning_rate
from tasks.training.train_stage import first_step, horizon

CURVE_POINTS = 200


@dataclass(frozen=True)
class Supply:
    """Tokens that each source has to train on, and who says so."""

    tokens: Mapping[str, int]
    origin: str  # "store": counted in the finished token streams; "recipe": as published; "": not known


def supply_of(recipe: Recipe, token_details: JSON | None) -> Supply:
    """Return what sources hold: as counted in a finished tokens artifact (its manifest's details), else as the recipe expects."""
    if token_details is not None:
        return Supply({source: row["tokens"] for source, row in token_details["sources"].items()}, "store")
    kept = 1.0 - recipe.tokenization.held_out_fraction
    return Supply(
        {source: round(tokens * kept) for source, tokens in (recipe.expected_tokens or {}).items()},
        "recipe" if recipe.expected_tokens else "",
    )


def stage_plan(pretraining: Pretraining, number: int, supply: Supply) -> JSON:
    """Return what stage `number` (0-based) takes and makes."""
    stage = pretraining.stages[number]
    sources = [entry_plan(entry, tokens, supply) for entry, tokens in zip(stage.mixture, mixture_tokens(stage), strict=True)]
    sequences: dict[int, int] = {}
    for source in sources:
        length = source["chunk_tokens"]
        sequences[length] = sequences.get(length, 0) + source["tokens"] // length
    first, last = first_step(pretraining, number), first_step(pretraining, number) + stage.steps - 1
    return {
        "name": stage.name, "steps": stage.steps, "first_step": first, "tokens": stage.steps * stage.batch_tokens,
        "batch_tokens": stage.batch_tokens, "unit_tokens": stage.unit_tokens, "optimizer_state": stage.optimizer_state,
        "sequences": [{"chunk_tokens": length, "sequences": count} for length, count in sorted(sequences.items())],
        "sources": sources, "first_learning_rate": rate(pretraining, first), "last_learning_rate": rate(pretraining, last),
    }  # fmt: skip


def mixture_tokens(stage: Stage) -> list[int]:
    """Return the tokens that a stage takes from each entry of its mixture: whole units, divided as in training."""
    counts = units_per_source([entry.share for entry in stage.mixture], stage.steps * stage.batch_units)
    return [int(count) * stage.unit_tokens for count in counts]


def entry_plan(entry: MixtureEntry, tokens: int, supply: Supply) -> JSON:
    """Return what a stage takes from one source, and how often it goes through the part of it that it may draw from.

    A portion of the range of content hashes is taken to hold that portion of the tokens: an estimate, close for many documents.
    """
    low, high = entry.portion or (0.0, 1.0)
    has = supply.tokens.get(entry.source)
    available = None if has is None else round(has * (high - low))
    return {
        "source": entry.source, "tokens": tokens, "chunk_tokens": entry.chunk_tokens, "portion": entry.portion,
        "available": available, "epochs": tokens / available if available else None, "max_epochs": entry.max_epochs,
    }  # fmt: skip


def source_plans(stages: list[JSON], supply: Supply) -> list[JSON]:
    """Return what all stages together take from each source, largest first."""
    taken: dict[str, dict[str, int]] = {}
    for stage in stages:
        for row in stage["sources"]:
            taken.setdefault(row["source"], {})[stage["name"]] = row["tokens"]
    rows = []
    for source, by_stage in taken.items():
        total, has = sum(by_stage.values()), supply.tokens.get(source)
        rows.append({"source": source, "has": has, "stages": by_stage, "tokens": total, "epochs": total / has if has else None})
    return sorted(rows, key=lambda row: -row["tokens"])


def supply_warnings(stages: list[JSON], supply: Supply) -> list[str]:
    """Say which stages ask a source for more epochs than its entry allows."""
    said = []
    for stage in stages:
        for row in stage["sources"]:
            if row["available"] is None or row["tokens"] <= row["available"] * row["max_epochs"]:
                continue
            epochs = f"{row['epochs']:.2f} epochs" if row["epochs"] else "more than it can give"
            has = "has" if supply.origin == "store" else "is expected to have"
            said.append(
                f"stage {stage['name']!r} takes {row['tokens']:,} tokens from {row['source']!r}, which {has} {row['available']:,} "
                f"for it: {epochs}, and max_epochs is {row['max_epochs']:g}"
            )
    return said


def rate(pretraining: Pretraining, step: int) -> float:
    """Return the learning rate of an optimizer step (0-based, counted through all stages)."""
    return learning_rate(pretraining.schedule, pretraining.optimizer.peak_learning_rate, horizon(pretraining), step)


def rate_plan(pretraining: Pretraining) -> JSON:
    """Return the learning rate over all steps: a curve, dense enough to draw, that has every corner, and its characteristic values."""
    total = pretraining.steps
    warmup = pretraining.schedule.warmup_steps
    warmup = warmup if warmup is not None else round((pretraining.schedule.warmup_fraction or 0.0) * total)
    starts = [first_step(pretraining, number) for number in range(len(pretraining.stages))]
    steps = {round(index * (total - 1) / CURVE_POINTS) for index in range(CURVE_POINTS + 1)} | {max(warmup - 1, 0)} | set(starts)
    return {
        "peak": pretraining.optimizer.peak_learning_rate, "warmup_steps": warmup, "form": pretraining.schedule.form,
        "decay_form": pretraining.schedule.decay_form, "decay_from_stage": pretraining.schedule.decay_from_stage,
        "points": [[step + 1, rate(pretraining, step)] for step in sorted(steps)],
    }  # fmt: skip
