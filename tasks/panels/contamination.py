"""Overlaps of benchmark items with training data to a panel: shares by stage, scores with and without, and declared uses."""

from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import grouped_bars
from tasks.panels.formats import amount, count, share
from tasks.panels.markup import Cell, Markup, figure, fold, legend, panel, quote, right, table

JSON = dict[str, Any]


def contamination(manifest: Manifest) -> str:
    """Show which share of each benchmark's items every stage's data contains, and the scores without them."""
    details, counts = manifest.details, manifest.counts
    words = details["ngram_words"]
    lead = (
        f"{count(counts['overlapping'])} of {amount(counts['items'], 'benchmark item')} share at least one {words}-gram with what was trained on. "
        f"{count(counts['too_short'])} have no {words} words in a row and cannot be found so."
    )
    return panel(
        "Contamination", lead, shares(details), scores(details["benchmarks"]), found(details["examples"]), searched(details["sources"])
    )


def shares(details: JSON) -> str:
    """Draw the share of each benchmark's items that overlaps, stage by stage; nothing if none does."""
    stages = [stage for stage in details["stages"] if any(row["stages"].get(stage) for row in details["benchmarks"])]
    by_task = {row["task"]: row for row in details["benchmarks"]}  # the chat's rows come last: they know of the SFT's data too
    rows = [
        (task, [100 * row["stages"].get(stage, 0) / row["items"] for stage in stages])
        for task, row in by_task.items()
        if row["overlapping"]
    ]
    if not rows:
        return ""
    note = "Of a benchmark's items, those that share an n-gram with a document that the stage may draw from."
    title = "Share of items that overlap, %"
    return figure(title, grouped_bars(rows, stages, title, lambda value: f"{value:.1f}"), note, legend(stages))


def scores(benchmarks: list[JSON]) -> Markup:
    """Write each benchmark's score on all items, without those that overlap, and on those alone; and what is declared."""
    rows: list[list[Cell]] = []
    for row in benchmarks:
        use = "; ".join(f"its training set was trained on ({one['where']}: {one['source']})" for one in row["declared"])
        without = written(row["without"]) if row["is_mean"] else "not a mean of items"
        rows.append([
            f"{row['suite']}/{row['task']}, {row['shots']}\u2011shot", row["checkpoint"], right(f"{row['score']:.1f}"), right(without),
            right(written(row["overlapping_only"])), right(f"{count(row['overlapping'])} of {count(row['items'])}"), use or "none",
        ])  # fmt: skip
    columns = ["benchmark", "checkpoint", "score, %", "without them, %", "on them alone, %", "items that overlap", "declared use"]
    return table(
        "Scores with and without the items that overlap", columns, rows, "± one standard error. A declared use is the recipe's own word."
    )


def written(mean: JSON | None) -> str:
    """Write a mean with its standard error."""
    if mean is None:
        return "–"
    return f"{mean['score']:.1f}" + (f" ± {mean['stderr']:.1f}" if mean["stderr"] is not None else "")


def found(examples: list[JSON]) -> str:
    """Show the items that share most, and the documents that have them; folded away."""
    parts = []
    for one in examples:
        where = "; ".join(
            f"{place['source']} ({', '.join(place['stages'])}): {100 * place['fraction']:.0f} % of its n-grams in "
            f"{amount(place['documents'], 'document')}, such as {', '.join(raw for _, raw in place['examples'])}"
            for place in one["found"]
        )
        parts.append(quote(one["text"], f"{one['task']} item {one['doc_id']} — {where}"))
    return fold(f"The {amount(len(parts), 'item')} that share most", *parts) if parts else ""


def searched(sources: JSON) -> str:
    """Write what was searched, folded away."""
    rows: list[list[Cell]] = [
        [name, one["documents"], one["characters"], right(f"{count(one['matching'])} ({share(one['matching'], one['documents'])})")]
        for name, one in sources.items()
    ]
    columns = ["source", "documents", "characters", "documents that share an n-gram with an item"]
    return fold("What was searched", table("Data that was searched", columns, rows))
