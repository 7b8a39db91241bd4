"""Judgements to MT-Bench's figures: means by category and turn, each with a confidence interval, and what could not be rated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

JSON = dict[str, Any]
RESAMPLES, SEED = 10_000, 0


def summarize(judgements: Sequence[JSON], questions: int) -> JSON:
    """Return the means of all ratings, of each turn and of each category; `questions` is how many there should be.

    A judgement without a rating is counted and is in no mean. An interval holds 95 % of the means of 10,000 samples of questions, drawn
    with replacement: both turns of a question go together, since they are about the same answer.
    """
    turns = {f"turn_{turn}": [row for row in judgements if row["turn"] == turn] for turn in (1, 2)}
    categories = list(dict.fromkeys(row["category"] for row in judgements))
    return {
        "expected": 2 * questions,
        "judged": len(judgements),
        "unrated": sum(row["rating"] is None for row in judgements),
        "repeated_readings": sum(len(row["readings"]) - 1 for row in judgements),
        "overall": mean_with_interval(judgements),
        **{name: mean_with_interval(rows) for name, rows in turns.items()},
        "categories": {
            category: {
                "both": mean_with_interval([row for row in judgements if row["category"] == category]),
                **{name: mean_with_interval([row for row in rows if row["category"] == category]) for name, rows in turns.items()},
            }
            for category in categories
        },
    }


def mean_with_interval(judgements: Sequence[JSON]) -> JSON:
    """Return `mean`, `low` and `high` (95 %) of the ratings and how many there are (`ratings`); None where there is none."""
    by_question: dict[int, list[float]] = {}
    for row in judgements:
        if row["rating"] is not None:
            by_question.setdefault(row["question_id"], []).append(row["rating"])
    if not by_question:
        return {"mean": None, "low": None, "high": None, "ratings": 0}
    sums = np.array([sum(values) for _, values in sorted(by_question.items())])
    counts = np.array([len(values) for _, values in sorted(by_question.items())])
    drawn = np.random.Generator(np.random.PCG64(SEED)).integers(0, len(sums), (RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": round(float(sums.sum() / counts.sum()), 4), "low": round(float(low), 4), "high": round(float(high), 4), "ratings": int(counts.sum()),
    }  # fmt: skip
