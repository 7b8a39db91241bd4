"""A finished job to the counts that its checkpoint artifact states."""

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.engine.journal import Row


def stage_facts(model: Model, stage_name: str, first: int, steps: int, tokens: int, rows: list[Row]) -> JSON:
    """Return the counts of a finished stage. `loss` is the mean over its last tenth of steps, in nats per token."""
    tail = rows[-max(1, len(rows) // 10) :]
    return {
        "stage": stage_name, "steps": first + steps, "tokens": tokens, "parameters": model.parameter_count(),
        "loss": round(sum(row["loss"] for row in tail) / len(tail), 6),
    }  # fmt: skip
