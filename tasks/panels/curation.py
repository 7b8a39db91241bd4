"""The manifest of curated documents to the panel that says what was kept, what was dropped, and why."""

from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import funnel, histogram
from tasks.panels.formats import amount, count, escaped, is_number, share, words
from tasks.panels.markup import Markup, figure, fold, heat_table, legend, panel, quote, right, table

RULES_IN_ORDER = ("unreadable", "too_short", "low_quality", "exact_duplicate", "near_duplicate")  # the order in which they are applied
EXAMPLES_SHOWN = 4


def curation(manifest: Manifest) -> str:
    """Show the funnel of documents, drops by source and reason, duplicates across sources, quality and examples."""
    counts, details = manifest.counts, manifest.details
    documents_in, kept = counts.get("documents_in", 0), counts.get("documents_kept", 0)
    sources: dict[str, Any] = details.get("sources") or {}
    removed = removed_by_reason(sources, documents_in - kept)
    characters = share(counts.get("characters_kept", 0), counts.get("characters_in", 0))
    lead = f"Kept {count(kept)} of {amount(documents_in, 'document')} ({share(kept, documents_in)}) with {characters} of all characters."
    if removed:
        most = max(removed, key=lambda reason: removed[reason])
        lead += f" The most frequent reason to drop one: {words(most)} ({count(removed[most])})."
    rows = [("documents in", documents_in), *((words(reason), number) for reason, number in removed.items())]
    return panel(
        "Curation", lead,
        figure("Documents left after each rule", funnel(rows, "Curation funnel", "documents in", "kept")),
        source_table(sources, list(removed)),
        duplicate_matrix(details.get("across_sources") or []),
        quality(details.get("quality_histogram") or {}),
        *examples(details.get("examples") or {}, removed),
    )  # fmt: skip


def removed_by_reason(sources: dict[str, Any], difference: int) -> dict[str, int]:
    """Add up drops by reason, in the order of the rules; what no reason explains of the `difference` is called `unexplained`.

    Unreadable records count as a rule of their own only where they are part of the documents that came in.
    """
    total: dict[str, int] = {}
    for source in sources.values():
        for reason, number in (source.get("removed") or {}).items():
            total[reason] = total.get(reason, 0) + number
    unreadable = sum(source.get("unreadable", 0) or 0 for source in sources.values())
    missing = difference - sum(total.values())
    if "unreadable" not in total and 0 < unreadable <= missing:
        total["unreadable"], missing = unreadable, missing - unreadable
    if missing > 0:
        total["unexplained"] = missing
    order = {reason: place for place, reason in enumerate(RULES_IN_ORDER)}
    return {reason: total[reason] for reason in sorted(total, key=lambda reason: (order.get(reason, len(order)), reason)) if total[reason]}


def source_table(sources: dict[str, Any], reasons: list[str]) -> str:
    """Write one row a source: documents in, kept, and dropped by each reason."""
    if not sources:
        return '<p class="note">No source was read.</p>'
    shown = [reason for reason in reasons if reason not in ("unreadable", "unexplained")]
    unreadable = any(source.get("unreadable") or (source.get("removed") or {}).get("unreadable") for source in sources.values())
    rows = []
    for name, source in sorted(sources.items(), key=lambda item: -item[1].get("documents_in", 0)):
        removed = source.get("removed") or {}
        documents_in, kept = source.get("documents_in", 0), source.get("documents_kept", 0)
        named = Markup(f"{escaped(name)}<small>{escaped(source.get('licence') or 'licence not recorded')}</small>")
        row = [
            named,
            documents_in,
            kept,
            right(share(kept, documents_in)),
            right(share(source.get("characters_kept", 0), source.get("characters_in", 0))),
        ]
        row += [removed.get(reason) or None for reason in shown]
        rows.append([*row, source.get("unreadable") or removed.get("unreadable") or None] if unreadable else row)
    columns = [
        "source",
        "in",
        "kept",
        "of documents",
        "of characters",
        *(words(reason) for reason in shown),
        *(["unreadable"] if unreadable else []),
    ]
    return table("Documents of each source: kept, and dropped by reason", columns, rows)


def duplicate_matrix(pairs: list[Any]) -> str:
    """Write how many documents of one source were dropped as duplicates of the same or another source's."""
    values: dict[tuple[str, str], int] = {}
    for removed, kept, number in pairs:
        values[removed, kept] = values.get((removed, kept), 0) + number
    values = {pair: number for pair, number in values.items() if number}
    if not values:
        return '<p class="note">No document was a duplicate of another.</p>'
    rows = sorted({removed for removed, _ in values}, key=lambda name: -sum(n for (removed, _), n in values.items() if removed == name))
    columns = sorted({kept for _, kept in values}, key=lambda name: -sum(n for (_, kept), n in values.items() if kept == name))
    note = "Rows: the source whose document was dropped. Columns: the source whose document was kept in its place."
    return heat_table("Duplicates within and across sources", "dropped from ↓  kept in →", rows, columns, values, note)


def quality(data: dict[str, Any]) -> str:
    """Draw the quality scores of kept and removed documents."""
    if len(data.get("edges") or []) < 2:
        return ""
    series = {name: data[name] for name in ("kept", "removed") if data.get(name)}
    chart = histogram(data["edges"], series, "Histogram of quality scores", "quality score")
    return figure(
        "Quality scores",
        chart,
        "Scored documents in each interval: those that the quality rule kept and removed, stacked.",
        legend(list(series)),
    )


def examples(by_reason: dict[str, Any], removed: dict[str, int]) -> list[str]:
    """Show the beginning of a few dropped documents for each reason, folded away."""
    folds = []
    for reason in [*(reason for reason in removed if reason in by_reason), *sorted(set(by_reason) - set(removed))]:
        found = by_reason[reason] or []
        if not found:
            continue
        quotes = [quote(str(one.get("text", "")), provenance(one)) for one in found[:EXAMPLES_SHOWN]]
        folds.append(fold(f"Dropped as {words(reason)}: {len(quotes)} of {count(max(removed.get(reason, 0), len(found)))}", *quotes))
    return ["<h3>Examples of what was dropped</h3>", *folds] if folds else []


def provenance(example: dict[str, Any]) -> str:
    """Say where a dropped document is from, and of what it is a copy."""
    address = example.get("raw") or example.get("id") or "no address"
    said = f"{example.get('source', 'unknown source')} · {address}"
    copied = example.get("duplicate_of")
    if copied:
        said += " · copy of the same text" if copied == example.get("id") else f" · duplicate of {copied}"
    if is_number(example.get("similarity")):
        said += f" · similarity {example['similarity']:.2f}"
    if example.get("reason") == "low_quality" and is_number(example.get("quality")):
        said += f" · quality {example['quality']:.2f}"
    return said
