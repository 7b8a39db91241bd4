"""Manifests of scores to the panel that compares checkpoints: benchmarks with chance and error, held-out bits per byte."""

from collections.abc import Sequence
from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import Dot, DotRow, dot_plot, grouped_bars
from tasks.panels.curves import Series, line_chart
from tasks.panels.formats import count, decimal, is_number
from tasks.panels.markup import Cell, figure, fold, legend, panel, table

NOTE = (
    "A dot is a score, the line through it one standard error to each side, the grey tick what guessing scores. "
    "Two scores whose lines overlap are not told apart by this many items."
)
REPORTED = " A diamond is the value that the model's report printed."


def scores(manifests: Sequence[Manifest]) -> str:
    """Show benchmark scores of every checkpoint side by side, with chance, error and reported values, and bits per byte."""
    names = [str(manifest.counts.get("checkpoint", manifest.name)) for manifest in manifests]
    measured = [{key_of(one): one for one in manifest.details.get("benchmarks") or []} for manifest in manifests]
    keys = list(dict.fromkeys(key for own in measured for key in own))
    return panel(
        "Scores", lead(manifests, names), benchmarks(measured, keys, names), held_out(manifests, names), numbers(measured, keys, names)
    )


def key_of(benchmark: dict[str, Any]) -> tuple[str, str, int]:
    """Return what makes benchmarks of two checkpoints comparable: suite, task and shots."""
    return str(benchmark.get("suite", "")), str(benchmark.get("task", "")), int(benchmark.get("shots") or 0)


def number(value: object) -> float | None:
    """Return a finite number, or None."""
    return float(value) if is_number(value) else None  # type: ignore[arg-type]


def lead(manifests: Sequence[Manifest], names: Sequence[str]) -> str:
    """Say the bits per byte of every checkpoint in a sentence, and on which items the benchmarks ran."""
    bits = [(name, number(manifest.counts.get("bits_per_byte"))) for manifest, name in zip(manifests, names, strict=True)]
    said = [f"{name} {decimal(value)}" for name, value in bits if value is not None]
    sentences = [f"Bits per byte on held-out text, lower is better: {', '.join(said)}." if said else "No checkpoint was scored."]
    items = {str(manifest.details["items"]) for manifest in manifests if manifest.details.get("items")}
    return " ".join(sentences + [f"Benchmark items: {', '.join(sorted(items))}."] * bool(items))


def benchmarks(
    measured: Sequence[dict[tuple[str, str, int], dict[str, Any]]], keys: Sequence[tuple[str, str, int]], names: Sequence[str]
) -> str:
    """Draw a row of dots for each benchmark, a suite at a time."""
    high = max((value for own in measured for one in own.values() for value in reach(one)), default=1.0)
    printed = any(number(one.get("reported")) is not None for own in measured for one in own.values())
    figures: list[str] = []
    for suite in dict.fromkeys(key[0] for key in keys):
        rows = []
        for key in (key for key in keys if key[0] == suite):
            found = [own.get(key) for own in measured]
            dots = [dot_of(one) for one in found]
            chance = next((value for one in found if one and (value := number(one.get("chance"))) is not None), None)
            reported = [number(one.get("reported")) if one else None for one in found]
            if any(dots):
                rows.append(DotRow(f"{key[1]}, {key[2]}-shot" if key[2] else key[1], dots, chance, reported))
        if rows:
            note = (NOTE + (REPORTED if printed else "")) if not figures else ""
            figures.append(figure(f"Benchmarks: {suite}", dot_plot(rows, names, f"Scores of suite {suite}", "score, %", high), note))
    return "\n".join(figures)


def reach(benchmark: dict[str, Any]) -> list[float]:
    """Return the values that one axis for all suites must reach."""
    score, error = number(benchmark.get("score")) or 0.0, number(benchmark.get("stderr")) or 0.0
    return [score + error, number(benchmark.get("chance")) or 0.0, number(benchmark.get("reported")) or 0.0]


def dot_of(benchmark: dict[str, Any] | None) -> Dot | None:
    """Return a score with its error, or None where it was not measured."""
    score = number(benchmark.get("score")) if benchmark else None
    return Dot(score, number(benchmark.get("stderr"))) if benchmark and score is not None else None


def held_out(manifests: Sequence[Manifest], names: Sequence[str]) -> str:
    """Draw held-out bits per byte of each source."""
    by_name = [manifest.details.get("held_out") or {} for manifest in manifests]
    sources = sorted({source for own in by_name for source in own})
    rows = [(source, [number((own.get(source) or {}).get("bits_per_byte")) for own in by_name]) for source in sources]
    rows = [row for row in rows if any(value is not None for value in row[1])]
    if not rows:
        return ""
    rows.sort(key=lambda row: next((-value for value in row[1] if value is not None), 0.0))
    note = "How many bits a byte of unseen text costs to predict. Independent of the tokenizer; lower is better."
    return figure("Held-out bits per byte", grouped_bars(rows, names, "Held-out bits per byte of each source"), note, legend(names))


def numbers(
    measured: Sequence[dict[tuple[str, str, int], dict[str, Any]]], keys: Sequence[tuple[str, str, int]], names: Sequence[str]
) -> str:
    """Write all measured scores in a table, folded away."""
    rows: list[list[Cell]] = []
    for key in keys:
        for own, name in zip(measured, names, strict=True):
            if one := own.get(key):
                values: list[Cell] = [number(one.get(field)) for field in ("score", "stderr", "chance", "reported")]
                rows.append([*key[:2], key[2], name, str(one.get("metric", "")), *values, int(one.get("items") or 0)])
    columns = ["suite", "task", "shots", "checkpoint", "metric", "score, %", "± error", "chance", "reported", "items"]
    return fold(f"All {count(len(rows))} scores in numbers", table("Scores in per cent", columns, rows)) if rows else ""


def checkpoints(scored: Sequence[tuple[int, str, Manifest]]) -> str:
    """Show held-out bits per byte and benchmarks of checkpoints, each (trained tokens, name, scores), over the tokens they were trained on."""
    in_order = sorted(scored, key=lambda one: (one[0], one[1]))
    sources = sorted({source for _, _, manifest in in_order for source in manifest.details.get("held_out") or {}})
    bits = [
        Series(
            source, [(tokens, (manifest.details["held_out"].get(source) or {}).get("bits_per_byte")) for tokens, _, manifest in in_order]
        )
        for source in sources
    ]
    bits.append(Series("all", [(tokens, manifest.counts.get("bits_per_byte")) for tokens, _, manifest in in_order]))
    keys = list(dict.fromkeys(key for _, _, manifest in in_order for key in manifest.counts.get("scores") or {}))
    marks = [Series(key, [(tokens, manifest.counts["scores"].get(key)) for tokens, _, manifest in in_order]) for key in keys]
    rows: list[list[Cell]] = [
        [name, tokens, number(manifest.counts.get("bits_per_byte")), *(number(manifest.counts["scores"].get(key)) for key in keys)]
        for tokens, name, manifest in in_order
    ]
    note = "How many bits a byte of unseen text costs to predict, whatever the tokenizer: a line for each source, lower is better."
    return panel(
        "Checkpoints", f"{count(len(in_order))} checkpoints on the same held-out documents and the same benchmark items.",
        figure("Held-out bits per byte", line_chart(bits, "Held-out bits per byte of checkpoints", "trained tokens"), note),
        figure("Benchmarks", line_chart(marks, "Benchmark scores of checkpoints", "trained tokens", from_zero=True), "In percent.") if keys else "",
        fold("All values", table("Checkpoints", ["checkpoint", "trained tokens", "bits per byte", *keys], rows)),
    )  # fmt: skip
