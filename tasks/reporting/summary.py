"""The summary of a run to the text that ends it on a terminal: aligned columns, at most 100 wide.

Only a path that is longer than a line exceeds that: a path that is cut or wrapped cannot be copied.
"""

import math
import shlex
from collections.abc import Sequence
from typing import Any

from tasks.panels.formats import clock

WIDTH, INDENT, GAP, MAX_LABEL = 100, 2, 3, 44
PLACES = (
    ("release_chat", "chat model"),
    ("release_base", "base model"),
    ("report", "report"),
    ("mlflow", "MLflow"),
    ("mlflow_run", "MLflow run"),
    ("store", "artifacts"),
    ("run", "run"),
)


def summary_text(summary: dict[str, Any]) -> str:
    """Write the end of a run: what was kept and dropped, loss per stage, scores, places, and the command to chat."""
    seconds = summary.get("wall_seconds")
    took = f" in {clock(seconds)}" if is_number(seconds) else ""
    title = f"Run {summary.get('run', 'without a name')} of recipe {summary.get('recipe', 'unknown')} finished{took}"
    blocks = [
        documents(summary.get("documents") or {}),
        tokens(summary.get("tokens_per_source") or {}),
        stages(summary.get("stages") or []),
        scores(summary.get("scores") or {}, summary.get("bits_per_byte") or {}),
        digests(summary.get("digests") or {}),
        places(summary.get("locations") or {}),
    ]
    rule = "─" * WIDTH
    return "\n".join([rule, clipped(title, WIDTH), rule, "\n\n".join(block for block in blocks if block), rule])


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def clipped(text: str, width: int) -> str:
    """Cut text in its middle, where names differ least, so that it takes at most `width` columns."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def number(value: object, form: str = ",.0f") -> str:
    """Write a number, or a dash where there is none."""
    return format(value, form) if is_number(value) else "–"


def share(part: float, whole: float) -> str:
    """Write a part of a whole in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def columns(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align rows below their heads: the first column flush left, all others flush right."""
    lines = [[title, *heads], *([" " * INDENT + clipped(row[0], MAX_LABEL), *row[1:]] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads) + 1)]
    gap = " " * GAP
    written = (
        gap.join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
    return "\n".join(line.rstrip()[:WIDTH] for line in written)


def documents(data: dict[str, Any]) -> str:
    """Write how many documents came in, stayed, and were dropped for which reason."""
    if not data:
        return ""
    whole, kept = data.get("in", 0), data.get("kept", 0)
    rows = [["read", number(whole), ""], ["kept", number(kept), share(kept, whole)]]
    removed = sorted((data.get("removed") or {}).items(), key=lambda item: -item[1])
    rows += [[f"dropped, {reason.replace('_', ' ')}", number(count), share(count, whole)] for reason, count in removed]
    return columns("Documents", ["", ""], rows)


def tokens(by_source: dict[str, int]) -> str:
    """Write the tokens of each source, most first."""
    total = sum(by_source.values())
    rows = [[source, number(size), share(size, total)] for source, size in sorted(by_source.items(), key=lambda item: -item[1])]
    return columns("Tokens to train on", ["", ""], [*rows, ["all", number(total), ""]]) if rows else ""


def stages(data: Sequence[dict[str, Any]]) -> str:
    """Write loss per stage, from the first steps to the last."""
    rows = [
        [
            str(stage.get("stage", "?")),
            number(stage.get("steps")),
            number(stage.get("tokens")),
            number(stage.get("first_loss"), ".3f"),
            number(stage.get("loss"), ".3f"),
            clock(stage["seconds"]) if is_number(stage.get("seconds")) else "–",
        ]
        for stage in data
    ]
    return columns("Training", ["steps", "tokens", "first loss", "last loss", "time"], rows) if rows else ""


def scores(by_checkpoint: dict[str, dict[str, float]], bits_per_byte: dict[str, float]) -> str:
    """Write scores in per cent and held-out bits per byte, a column for each checkpoint."""
    names = list(dict.fromkeys([*by_checkpoint, *bits_per_byte]))
    names.sort(key=lambda name: {"base": 0, "chat": 1}.get(name, 2))
    tasks = list(dict.fromkeys(task for name in names for task in by_checkpoint.get(name) or {}))
    rows = [[task, *(number((by_checkpoint.get(name) or {}).get(task), ".1f") for name in names)] for task in tasks]
    if bits_per_byte:
        rows.append(["held-out bits per byte (lower is better)", *(number(bits_per_byte.get(name), ".3f") for name in names)])
    shown = [clipped(name, 16) for name in names]
    return columns("Scores, %", shown, rows) if rows else ""


def digests(by_name: dict[str, str]) -> str:
    """Write what was made by name and the beginning of its digest, three to a line."""
    if not by_name:
        return ""
    label = min(max(len(name) for name in by_name), 16)
    cells = [f"{clipped(name, label).ljust(label)} {digest[:12]}" for name, digest in by_name.items()]
    lines = ["   ".join(cells[start : start + 3]).rstrip() for start in range(0, len(cells), 3)]
    return "Artifacts by digest\n" + "\n".join(" " * INDENT + line for line in lines)


def places(locations: dict[str, str]) -> str:
    """Write where the models, the report and the MLflow run are, and how to chat."""
    rows = [(label, str(locations[key])) for key, label in PLACES if locations.get(key)]
    if not rows:
        return ""
    lines = [f"{' ' * INDENT}{label.ljust(10)}{' ' * GAP}{place}" for label, place in rows]
    if locations.get("release_chat"):
        lines += ["", "Chat with it", f"{' ' * INDENT}reynard chat {shlex.quote(str(locations['release_chat']))}"]
    return "\n".join(["Where it is", *lines])
