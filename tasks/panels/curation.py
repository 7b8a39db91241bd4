"""The manifest of curated documents to the panel that says what was kept, what was dropped, and why."""

from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import funnel, histogram
from tasks.panels.duplicates import duplicates, size
from tasks.panels.formats import amount, compact, count, decimal, escaped, is_number, share, words
from tasks.panels.markup import Cell, Markup, figure, fold, heat_table, legend, panel, quote, right, table

Sources = dict[str, dict[str, Any]]
RULES_IN_ORDER = (  # the order of precedence; the manifest's own order is preferred
    "unreadable", "too_long", "crashed", "not_sampled", "blocked_url", "too_short", "language", "c4_lines", "gopher_quality",
    "gopher_repetition", "fineweb_quality", "code", "contaminated", "low_quality", "exact_duplicate", "near_duplicate", "emptied",
)  # fmt: skip
EXAMPLES_SHOWN, EXAMPLE_CHARACTERS, LANGUAGES_SHOWN, QUARANTINED_SHOWN = 10, 200, 12, 20


def curation(manifest: Manifest) -> str:
    """Show the funnel, sources, drops with examples, edits, duplicates, quality, languages and quarantined records."""
    counts, details = manifest.counts, manifest.details
    documents_in, kept = counts.get("documents_in", 0), counts.get("documents_kept", 0)
    every: Sources = dict(sorted((details.get("sources") or {}).items(), key=lambda item: item[1].get("preference", 0)))
    sources = {name: source for name, source in every.items() if source.get("role", "corpus") == "corpus"}
    apart = {name: source for name, source in every.items() if name not in sources}
    order = details.get("reasons") or RULES_IN_ORDER
    removed = removed_by_reason(sources, documents_in - kept, order)
    characters = share(counts.get("characters_kept", 0), counts.get("characters_in", 0))
    lead = f"Kept {count(kept)} of {amount(documents_in, 'document')} ({share(kept, documents_in)}) with {characters} of all characters."
    if tokens := sum(source.get("tokens_estimated") or 0 for source in sources.values()):
        lead += f" That is about {compact(tokens)} tokens."
    if removed:
        most = max(removed, key=lambda reason: removed[reason])
        lead += f" The most frequent reason to drop one: {words(most)} ({count(removed[most])})."
    rows = [("documents in", documents_in), *((words(reason), number) for reason, number in removed.items())]
    return panel(
        "Curation", lead,
        figure("Documents left after each rule", funnel(rows, "Curation funnel", "documents in", "kept")),
        characters_by_rule(sources, counts, list(removed)),
        source_table(sources), apart_table(apart),
        drops(sources, [reason for reason in removed if reason != "unexplained"]),
        *examples(details.get("examples") or {}, removed),
        edits(sources),
        duplicates(details),
        quality(details.get("quality") or {}), languages(details.get("languages") or []),
        work(details.get("work") or {}),
    )  # fmt: skip


def removed_by_reason(sources: Sources, difference: int, order: Any) -> dict[str, int]:
    """Add up drops by reason, in the order of precedence; what no reason explains of the `difference` is called `unexplained`."""
    total = added(sources, "removed")
    missing = difference - sum(total.values())
    if missing > 0:
        total["unexplained"] = missing
    places = {reason: place for place, reason in enumerate(order)}
    return {
        reason: total[reason] for reason in sorted(total, key=lambda reason: (places.get(reason, len(places)), reason)) if total[reason]
    }


def added(sources: Sources, what: str) -> dict[str, int]:
    """Add up a count by name, such as `removed` by reason, over all sources."""
    total: dict[str, int] = {}
    for source in sources.values():
        for name, number in (source.get(what) or {}).items():
            total[name] = total.get(name, 0) + number
    return total


def characters_by_rule(sources: Sources, counts: dict[str, Any], reasons: list[str]) -> str:
    """Draw the same funnel in characters, folded away; what is neither dropped nor kept was taken out of kept documents."""
    removed = added(sources, "removed_characters")
    whole, kept = counts.get("characters_in", 0), counts.get("characters_kept", 0)
    if not whole or not any(removed.values()):
        return ""
    rows = [("characters in", whole), *((words(reason), removed[reason]) for reason in reasons if removed.get(reason))]
    edited = whole - kept - sum(number for _, number in rows[1:])
    if edited > 0:
        rows.append(("edited out of kept documents", edited))
    chart = funnel(rows, "Curation funnel in characters", "characters in", "kept")
    return fold("The same in characters", figure("Characters left after each rule", chart))


def source_table(sources: Sources) -> str:
    """Write one row a source: documents, characters, bytes and tokens, what came in and what was kept."""
    if not sources:
        return '<p class="note">No source was read.</p>'
    skipped = any(source.get("skipped") for source in sources.values())
    rows = [source_row(described(name, source), source, skipped) for name, source in sources.items()]
    if len(sources) > 1:
        keys = ("documents_in", "documents_kept", "characters_in", "characters_kept", "bytes_kept", "tokens_estimated", "skipped")
        whole = {key: sum(source.get(key) or 0 for source in sources.values()) for key in keys}
        rows.append(source_row(Markup("<strong>all sources</strong>"), whole, skipped))
    columns = ["source", "documents in", "kept", "of documents", "characters kept", "of characters", "bytes kept", "tokens, about"]
    note = "In the order of preference: of two duplicates, the document of the upper source is kept. Tokens are estimated."
    if skipped:
        columns.append("rows skipped")
        note += " Rows skipped: of the same files, but not of this source."
    return table("What each source gives", columns, rows, note)


def source_row(name: Markup, source: dict[str, Any], skipped: bool) -> list[Cell]:
    """Write the numbers of one source."""
    documents_in, kept = source.get("documents_in", 0), source.get("documents_kept", 0)
    held, tokens = source.get("bytes_kept"), source.get("tokens_estimated")
    row: list[Cell] = [name, documents_in, kept, right(share(kept, documents_in)), source.get("characters_kept", 0)]
    row += [right(share(source.get("characters_kept", 0), source.get("characters_in", 0)))]
    row += [right(size(held) if is_number(held) else "–"), right(compact(tokens) if is_number(tokens) else "–")]
    return [*row, source.get("skipped") or None] if skipped else row


def described(name: str, source: dict[str, Any]) -> Markup:
    """Write a source's name above its kind, its rules and its licence."""
    said = [words(str(source.get("kind") or "")), f"rules {source['rules']}" if source.get("rules") else ""]
    lines = [" · ".join(part for part in said if part), source.get("licence") or "licence not recorded"]
    return Markup(escaped(name) + "".join(f"<small>{escaped(line)}</small>" for line in lines if line))


def apart_table(sources: Sources) -> str:
    """Write the sources that are read but never trained on: they are in no total."""
    if not sources:
        return ""
    purposes = {"reference": "what duplicates it is dropped", "classifier": "teaches the quality classifier"}
    rows: list[list[Cell]] = []
    for name, source in sources.items():
        role = str(source.get("role"))
        rows.append([described(name, source), role, purposes.get(role), source.get("documents_in", 0), source.get("characters_in", 0)])
    columns = ["source", "role", "what for", "documents read", "characters read"]
    return table("Read beside the corpus", columns, rows, "Never trained on, and in none of the totals.")


def drops(sources: Sources, reasons: list[str]) -> str:
    """Write how many documents each rule dropped of each source; the longer of the two lists goes down the page."""
    names = [name for name, source in sources.items() if any((source.get("removed") or {}).values())]
    values = {(name, reason): (sources[name].get("removed") or {}).get(reason, 0) for name in names for reason in reasons}
    if not any(values.values()):
        return ""
    shown = {reason: words(reason) for reason in reasons}
    note = "A document is counted once, under the first rule that drops it; the stronger its colour, the larger a cell's number."
    if len(names) > len(reasons):
        turned = {(name, shown[reason]): number for (name, reason), number in values.items()}
        return heat_table("Documents dropped, by source and rule", "source ↓  rule →", names, list(shown.values()), turned, note)
    turned = {(shown[reason], name): number for (name, reason), number in values.items()}
    return heat_table("Documents dropped, by rule and source", "rule ↓  source →", list(shown.values()), names, turned, note)


def examples(by_reason: dict[str, Any], removed: dict[str, int]) -> list[str]:
    """Show the beginning of a few dropped documents for each reason, folded away."""
    folds = []
    for reason in [*(reason for reason in removed if reason in by_reason), *sorted(set(by_reason) - set(removed))]:
        found = by_reason[reason] or []
        if not found:
            continue
        quotes = [quote(begun(one), provenance(one, reason)) for one in found[:EXAMPLES_SHOWN]]
        folds.append(fold(f"Dropped as {words(reason)}: {len(quotes)} of {count(max(removed.get(reason, 0), len(found)))}", *quotes))
    return ["<h3>Examples of what was dropped, taken at random</h3>", *folds] if folds else []


def begun(example: dict[str, Any]) -> str:
    """Return the beginning of an example's text, with an ellipsis where the manifest holds no more of it."""
    text = str(example.get("text") or "")
    return text if len(text) < EXAMPLE_CHARACTERS else f"{text}…"


def provenance(example: dict[str, Any], reason: str) -> str:
    """Say where a dropped document is from, and of what it is a copy; its id is what `reynard explain` takes."""
    said = [str(example.get("source", "unknown source"))]
    said += [str(example[key]) for key in ("raw", "id") if example.get(key)] or ["no address"]
    copied = example.get("duplicate_of")
    if copied:
        said.append("copy of the same text" if copied == example.get("id") else f"duplicate of {copied}")
        if is_number(example.get("similarity")) and reason == "near_duplicate":
            said.append(f"similarity {example['similarity']:.2f}")
    if reason == "low_quality" and is_number(example.get("quality")):
        said.append(f"quality {example['quality']:.2f}")
    return " · ".join(said)


def edits(sources: Sources) -> str:
    """Write what was changed inside documents: masked, and removed lines and paragraphs."""
    total = {name: number for name, number in added(sources, "edits").items() if number}
    if not total:
        return ""
    names = [name for name, source in sources.items() if any((source.get("edits") or {}).values())]
    rows: list[list[Cell]] = [[name, *((sources[name].get("edits") or {}).get(edit) or None for edit in total)] for name in names]
    if len(names) > 1:
        rows.append([Markup("<strong>all sources</strong>"), *total.values()])
    return table("Changed inside documents", ["source", *(words(edit) for edit in total)], rows)


def quality(data: dict[str, Any]) -> str:
    """Draw the quality scores of documents that stay and go, with the threshold between them."""
    series = {name: data[name] for name in ("kept", "removed") if any(data.get(name) or [])}
    if len(data.get("edges") or []) < 2 or not series:
        return ""
    threshold, fraction = data.get("threshold"), data.get("keep_fraction")
    marks = [(threshold, f"threshold {decimal(threshold)}")] if is_number(threshold) else []
    chart = histogram(data["edges"], series, "Histogram of quality scores", "quality score", marks=marks)
    scored = {name: sum(numbers) for name, numbers in series.items()}
    note = "Scored documents in each interval, stacked: " + ", ".join(f"{count(number)} {name}" for name, number in scored.items()) + "."
    note += f" Scores by {data['model']}." if data.get("model") else ""
    if taught := data.get("trained_on"):
        note += " Trained on " + " and ".join(f"{count(number)} {side}" for side, number in taught.items()) + " documents."
    if is_number(fraction) and is_number(threshold):
        note += f" The best {100 * fraction:g} % are kept, by one threshold for the whole corpus: {threshold:.4f}."
    return figure("Quality scores", chart, note, legend(list(series)))


def languages(rows: list[dict[str, Any]]) -> str:
    """Write how many documents were recognised as each language, and how many of them were kept."""
    if not rows:
        return ""
    ordered = sorted(rows, key=lambda row: (-row.get("documents", 0), str(row.get("language"))))
    shown, rest = ordered[:LANGUAGES_SHOWN], ordered[LANGUAGES_SHOWN:]
    if rest:
        keys = ("documents", "kept", "characters")
        shown.append({"language": f"{amount(len(rest), 'other')}"} | {key: sum(row.get(key, 0) for row in rest) for key in keys})
    whole = sum(row.get("documents", 0) for row in rows)
    written: list[list[Cell]] = []
    for row in shown:
        documents, kept = row.get("documents", 0), row.get("kept", 0)
        name = str(row.get("language") or "not recognised")
        written.append([name, documents, right(share(documents, whole)), kept, right(share(kept, documents)), row.get("characters", 0)])
    columns = ["language", "documents", "of all", "kept", "of its documents", "characters"]
    return table("Languages", columns, written, "As the language model recognises them; documents may have been dropped by any rule.")


def work(data: dict[str, Any]) -> str:
    """List the records whose reading or measuring killed or stalled its process."""
    found = data.get("quarantined") or []
    units = f"The work was done in {amount(data['units'], 'unit')}. " if is_number(data.get("units")) else ""
    if not found:
        return f'<p class="note">{units}No record was quarantined.</p>' if data else ""
    rows: list[list[Cell]] = [[str(one.get("address", "no address")), str(one.get("why", ""))] for one in found[:QUARANTINED_SHOWN]]
    note = f"{units}These records crashed or stalled the process that worked on them; they were dropped, everything else was done."
    if len(found) > QUARANTINED_SHOWN:
        note += f" {QUARANTINED_SHOWN} of {count(len(found))} are shown."
    return table("Quarantined records", ["record", "what happened"], rows, note)
