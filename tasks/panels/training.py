"""Checkpoint manifests and journals to the panel that shows how training went: loss, learning rate, gradients, mixture."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import grouped_parts, stacked_bars
from tasks.panels.curves import Series, line_chart
from tasks.panels.drawing import SMALL_WIDTH
from tasks.panels.formats import amount, clock, compact, count, decimal, escaped, finite, is_number
from tasks.panels.markup import Cell, Markup, figure, legend, multiples, panel, right, table

LOSS_NOTE = "Cross-entropy of a training token, in nats. Where steps are many, the line is their mean and the tint their range."
MARKS = {"skipped": ("skipped", "Steps skipped"), "spike": ("spike", "Spikes of the loss at steps")}
MARKS_SHOWN = 20
Rows = list[dict[str, Any]]
SMALL = (("learning_rate", "Learning rate"), ("gradient_norm", "Gradient norm"), ("tokens_per_second", "Tokens per second"))


def training(stages: Sequence[tuple[Manifest, Rows]]) -> str:
    """Show the curves of one curriculum (or of fine-tuning alone), its mixture and its stages in numbers."""
    names = [str(manifest.counts.get("stage", manifest.name)) for manifest, _ in stages]
    title = "Fine-tuning" if names == ["sft"] else f"Pre-training: {names[0]}" if len(names) == 1 else "Pre-training"
    if not stages:
        return panel(title, "No stage was trained.")
    rows = [row for _, own in stages for row in own if is_number(row.get("step"))]
    boundaries = stage_starts(stages, names)
    small = [figure(label, small_chart(rows, key, label, boundaries)) for key, label in SMALL if finite(row.get(key) for row in rows)]
    loss = line_chart([Series("", [(row["step"], row.get("loss")) for row in rows])], "Loss over steps", "step", marked(boundaries, rows))
    return panel(
        title, lead(stages, rows),
        figure("Loss over steps", loss, " ".join([LOSS_NOTE, *mark_notes(rows), *checkpoint_note(rows)])),
        multiples(small), mixture(stages, names), stage_table(stages, names),
    )  # fmt: skip


def lead(stages: Sequence[tuple[Manifest, Rows]], rows: Rows) -> str:
    """Say in a sentence what was trained on how much, and how far the loss fell."""
    tokens, steps = (sum(own(manifest, what) for manifest, _ in stages) for what in ("tokens", "steps"))
    parameters = stages[-1][0].counts.get("parameters", 0) or 0
    said = f"A model of {count(parameters)} parameters saw {count(tokens)} tokens in {amount(steps, 'step')}."
    first, last = ends(rows)
    if first is not None and last is not None:
        said += f" Loss went from {decimal(first)} to {decimal(last)} (means of the first and last tenth of the steps)."
    return said


def ends(rows: Rows) -> tuple[float | None, float | None]:
    """Return the mean loss of the first and of the last tenth of the rows, at least one row each."""
    losses = finite(row.get("loss") for row in rows)
    if not losses:
        return None, None
    tenth = max(1, len(losses) // 10)
    return sum(losses[:tenth]) / tenth, sum(losses[-tenth:]) / tenth


def stage_starts(stages: Sequence[tuple[Manifest, Rows]], names: Sequence[str]) -> list[tuple[float, str]]:
    """Return where each stage begins, in global steps: its first row, or the manifest's `first_step`, the step before it."""
    starts: list[tuple[float, str]] = []
    for (manifest, rows), name in zip(stages, names, strict=True):
        steps = finite(row.get("step") for row in rows)
        start = min(steps) if steps else manifest.details.get("first_step")
        if is_number(start):
            starts.append((float(start), name))
    return starts if len(starts) > 1 else []


def marked(boundaries: Sequence[tuple[float, str]], rows: Rows) -> list[tuple[float, str]]:
    """Return where stages begin and, so far as a chart has room for them, the steps that were skipped or had a spike."""
    events = [(float(row["step"]), name) for row in rows for key, (name, _) in MARKS.items() if row.get(key)]
    return sorted([*boundaries, *events[:MARKS_SHOWN]])


def mark_notes(rows: Rows) -> list[str]:
    """Say how many steps were skipped or had a spike, and which."""
    notes = []
    for key, (_, said) in MARKS.items():
        if steps := [int(row["step"]) for row in rows if row.get(key)]:
            more = f" and {count(len(steps) - MARKS_SHOWN)} more" if len(steps) > MARKS_SHOWN else ""
            notes.append(f"{said}: {', '.join(count(step) for step in steps[:MARKS_SHOWN])}{more}.")
    return notes


def checkpoint_note(rows: Rows) -> list[str]:
    """Say what checkpoints inside stages took: their size, how long training stood still, and when they were sealed."""
    sizes, seconds = (finite(row.get(key) for row in rows) for key in ("checkpoint_bytes", "checkpoint_seconds"))
    stalls = [stall for stall in finite(row.get("checkpoint_stall_seconds") for row in rows) if stall > 0]
    if not (sizes and seconds and stalls):
        return []
    return [
        f"Checkpoints: {count(len(sizes))}, the largest {max(sizes) / 1e6:,.1f} MB; training stood still for {median(stalls):.3f} s "
        f"(median), and they were sealed within {median(seconds):.1f} s."
    ]


def small_chart(rows: Rows, key: str, label: str, boundaries: Sequence[tuple[float, str]]) -> str:
    """Draw one measure over steps as a small multiple, from zero."""
    points = [(row["step"], row.get(key)) for row in rows]
    unnamed = [(start, "") for start, _ in boundaries]
    return line_chart([Series("", points)], label, "step", unnamed, (SMALL_WIDTH, 160), from_zero=True)


def mixture(stages: Sequence[tuple[Manifest, Rows]], names: Sequence[str]) -> str:
    """Draw which sources a stage's tokens came from, every stage as wide as the other."""
    rows = [(name, finite_mixture(manifest)) for (manifest, _), name in zip(stages, names, strict=True)]
    parts, folded = grouped_parts([row for row in rows if row[1]])
    if len(parts) < 2:
        return ""
    chart = stacked_bars(folded, parts, "Mixture of each stage", lambda value: compact(value), shares=True)
    note = "Every bar is one stage; the number at its end is the stage's tokens."
    return figure("Mixture: the sources of each stage's tokens", chart, note, legend(parts))


def finite_mixture(manifest: Manifest) -> dict[str, float]:
    """Return a stage's tokens by source, without those that are not numbers."""
    return {source: tokens for source, tokens in (manifest.details.get("mixture") or {}).items() if is_number(tokens) and tokens > 0}


def stage_table(stages: Sequence[tuple[Manifest, Rows]], names: Sequence[str]) -> str:
    """Write each stage in numbers."""
    written: list[list[Cell]] = []
    for (manifest, rows), name in zip(stages, names, strict=True):
        details, seconds = manifest.details, manifest.recorded.get("seconds")
        first, last = ends(rows)
        lengths = chunks(details.get("chunk_tokens") or {})
        row: list[Cell] = [name, own(manifest, "steps"), own(manifest, "tokens"), details.get("batch_tokens"), first]
        row += [last if last is not None else manifest.counts.get("loss"), right(clock(seconds)) if is_number(seconds) else None, lengths]
        written.append(row)
    columns = ["stage", "steps", "tokens", "batch, tokens", "first loss", "last loss", "time", "chunk, tokens"]
    return table("Stages", columns, written, "First and last loss: mean over the first and last tenth of a stage's steps.")


def own(manifest: Manifest, what: str) -> int:
    """Return the steps or tokens of a stage alone; the counts of a checkpoint add up all stages that led to it."""
    value = manifest.details.get(f"stage_{what}", manifest.counts.get(what))
    return int(value) if is_number(value) else 0


def chunks(by_source: dict[str, int]) -> Markup:
    """Write chunk lengths: one number where all sources share it, else each length with its sources."""
    lengths = sorted({length for length in by_source.values()})
    if len(lengths) <= 1:
        return Markup(count(lengths[0]) if lengths else "–")
    lines = (f"{count(length)}: {', '.join(sorted(name for name, own in by_source.items() if own == length))}" for length in lengths)
    return Markup("".join(f"<small>{escaped(line)}</small>" for line in lines))
