"""Scores and overlaps to scores with and without the items that overlap with what a checkpoint was trained on.

Only metrics that are means over items can be split so; that a benchmark's is one is checked: the mean over all its items must be its score.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from recipes.schema import DeclaredUse
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.contamination.items import cards_of, rows_of
from tasks.contamination.overlap import SFT

AS_PRINTED = 1e-3  # in per cent: a score is rounded to four digits
ItemKey = tuple[str, int]


def clean_scores(
    store: Store, scores: Manifest, overlapping: dict[ItemKey, Collection[str]], declared: Iterable[DeclaredUse]
) -> list[JSON]:
    """Return a row for each benchmark of a checkpoint: its score on all items, on those that overlap and on those that do not.

    `overlapping` are the stages that an item overlaps with, for those that do; the SFT's counts for chat checkpoints alone. All in per cent.
    """
    which = scores.counts["checkpoint"]
    cards = {f"{card.name}@{card.version}": card for card in cards_of(store, [scores])}
    values: dict[str, list[JSON]] = {}
    rows = []
    for benchmark in scores.details["benchmarks"]:
        name = benchmark["card"]
        if name not in values:
            values[name] = [{key: row[key] for key in ("task", "doc_id", "metrics")} for row in rows_of(store, cards[name])]
        where = [seen_in(overlapping.get((row["task"], row["doc_id"]), ()), which) for row in values[name]]
        mine = [(bool(stages), value_of(row, benchmark["metric"])) for stages, row in zip(where, values[name], strict=True)]
        use = [{"where": one.where, "source": one.source} for one in declared if one.task == benchmark["task"]]
        rows.append({
            "suite": benchmark["suite"], "task": benchmark["task"], "shots": benchmark["shots"], "metric": benchmark["metric"],
            "checkpoint": which, "score": benchmark["score"], "declared": use, "card": name,
            "stages": dict(Counter(stage for stages in where for stage in stages)), **split(mine, benchmark["score"]),
        })  # fmt: skip
    return rows


def seen_in(stages: Collection[str], which: str) -> list[str]:
    """Return those of the stages that an item overlaps with which a `base` or a `chat` checkpoint went through."""
    return [stage for stage in stages if stage != SFT or which == "chat"]


def value_of(row: JSON, metric: str) -> float | None:
    """Return an item's value of `metric` or `metric,filter`, or None where it is no number."""
    name, _, chosen = metric.partition(",")
    by_filter = row["metrics"]
    value = by_filter.get(chosen or next(iter(by_filter), ""), {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def split(values: list[tuple[bool, float | None]], score: float) -> JSON:
    """Return how many items overlap, and the mean of those that do and that do not, with standard errors; None where it does not apply."""
    seen = [value for overlaps, value in values if overlaps and value is not None]
    clean = [value for overlaps, value in values if not overlaps and value is not None]
    every = seen + clean
    is_mean = len(every) == len(values) and bool(every) and abs(100 * float(np.mean(every)) - score) < AS_PRINTED
    counts = {"items": len(values), "overlapping": sum(overlaps for overlaps, _ in values), "is_mean": is_mean}
    return counts | {"overlapping_only": mean_of(seen) if is_mean else None, "without": mean_of(clean) if is_mean else None}


def mean_of(values: list[float]) -> dict[str, Any] | None:
    """Return the mean in per cent with its standard error (None for a single item); None of nothing."""
    if not values:
        return None
    error = 100 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"score": round(100 * float(np.mean(values)), 4), "stderr": error if error is None else round(error, 4), "items": len(values)}
