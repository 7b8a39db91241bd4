"""What deduplication recorded to the part of the curation panel that shows it: between sources, clusters, similarity, Bloom filters."""

from typing import Any

from tasks.panels.charts import bars, histogram
from tasks.panels.formats import amount, compact, count, decimal, is_number, scientific, share
from tasks.panels.markup import Cell, Markup, figure, heat_table, legend, right, table


def duplicates(details: dict[str, Any]) -> str:
    """Show which sources duplicate which, how large clusters are, how similar candidates were, and the filters' error."""
    return "\n".join(
        part
        for part in (
            duplicate_matrix(details.get("across_sources") or []),
            clusters(details.get("clusters") or {}),
            similarity(details.get("similarity") or {}),
            bloom(details.get("bloom") or {}),
        )
        if part
    )


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


def clusters(data: dict[str, Any]) -> Markup:
    """Draw how many clusters of near-duplicates have which number of documents."""
    edges, counts = data.get("edges") or [], data.get("counts") or []
    found = list(zip(edges, edges[1:], counts, strict=False))
    while found and not found[-1][2]:
        found.pop()
    if not found:
        return Markup("")
    rows = [(size_range(low, high, edges[-1]), number) for low, high, number in found]
    total = sum(number for _, number in rows)
    note = f"{amount(total, 'cluster')}"
    if is_number(data.get("documents")):
        note += f" of {amount(data['documents'], 'document')} together"
    note += f"; the largest has {count(data['largest'])}." if is_number(data.get("largest")) else "."
    note += " A cluster is a kept document and all that were dropped as near duplicates of it."
    chart = bars(rows, "Clusters by their number of documents", width=520)
    return figure("Near-duplicate clusters by their number of documents", Markup(f'<div style="max-width:520px">{chart}</div>'), note)


def size_range(low: int, high: int, last: int) -> str:
    """Write the cluster sizes from `low` to below `high`; the last interval has no end that says anything."""
    if high == last:
        return f"{count(low)} or more"
    return f"{low} documents" if high == low + 1 else f"{count(low)} to {count(high - 1)}"


def similarity(data: dict[str, Any]) -> Markup:
    """Draw the verified similarity of candidate pairs: dropped at or above the threshold, and refused below it."""
    names = {"removed": "dropped", "rejected": "refused"}
    series = {name: data[key] for key, name in names.items() if any(data.get(key) or [])}
    edges = data.get("edges") or []
    if len(edges) < 2 or not series:
        return Markup("")
    thresholds = {name: value for name, value in (data.get("thresholds") or {}).items() if is_number(value)}
    low = min([edges[place] for counts in series.values() for place, number in enumerate(counts) if number] + list(thresholds.values()))
    first = max((place for place, edge in enumerate(edges[:-1]) if edge <= low), default=0)
    marks = [(value, f"{name} {value:g}" if len(thresholds) > 1 else f"threshold {value:g}") for name, value in thresholds.items()]
    shown = {name: counts[first:] for name, counts in series.items()}
    chart = histogram(edges[first:], shown, "Histogram of similarity", "Jaccard similarity", unit="pairs", marks=marks)
    pairs, refused = sum(sum(counts) for counts in series.values()), sum(series.get("refused", []))
    note = f"Pairs that share a band of MinHash values ({count(pairs)}), by the Jaccard similarity of all their shingles."
    note += f" Without this verification {count(refused)} of them ({share(refused, pairs)}) would have been taken for duplicates."
    return figure("Similarity of candidate pairs", chart, note, legend(list(series)))


def bloom(data: dict[str, Any]) -> Markup:
    """Write each filter's capacity, filling, error and size, and how many wrong drops that error lets expect."""
    filters = {name: filter for name, filter in data.items() if filter and is_number(filter.get("capacity"))}
    if not filters:
        return Markup("")
    looked_up = any(filter.get("false_positives") is not None for filter in filters.values())
    rows: list[list[Cell]] = []
    for name, filter in filters.items():
        added, rate, held = filter.get("added", 0), filter.get("false_positive_rate"), filter.get("bytes")
        row = [name, filter["capacity"], added, right(share(added, filter["capacity"])), right(small(rate))]
        row += [right(at_most(added * rate) if is_number(rate) else "–"), *([filter.get("false_positives")] if looked_up else [])]
        rows.append([*row, right(size(held) if is_number(held) else "–")])
    note = "A false positive is something new that the filter takes for a copy. "
    note += "Every suspected copy is looked up, so none is dropped wrongly. " if looked_up else ""
    note += "A filter refuses more than its capacity."
    columns = [
        "filter of",
        "capacity",
        "added",
        "filled",
        "false-positive rate",
        "false positives expected",
        *(["found"] * looked_up),
        "size",
    ]
    return table("Bloom filters of exact deduplication", columns, rows, note)


def small(rate: object) -> str:
    """Write a false-positive rate: 1e-09 as 1e-9."""
    return scientific(float(rate)).replace(".0e", "e") if is_number(rate) else "–"


def at_most(expected: float) -> str:
    """Write an upper bound of an expected number: a filter that is not full errs less than its rate says."""
    return f"below {decimal(expected) if expected < 10 else count(expected)}"


def size(number: float) -> str:
    """Write a number of bytes with three significant digits: 3240000000 becomes 3.24GB."""
    return f"{compact(number).replace('B', 'G')}B"
