"""A finished job to the counts that its checkpoint artifact states."""

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.engine.journal import Row


def stage_facts(model: Model, stage_name: str, first: int, steps: int, tokens: int, rows: list[Row]) -> JSON:
    """Return the counts of a finished stage, or of one so far. `loss` is the mean over the last tenth of the steps that updated weights."""
    taken = [row for row in rows if "skipped" not in row]
    tail = taken[-max(1, len(taken) // 10) :]
    return {
        "stage": stage_name, "steps": first + steps, "tokens": tokens, "parameters": model.parameter_count(),
        "loss": round(sum(row["loss"] for row in tail) / max(1, len(tail)), 6),
    }  # fmt: skip
