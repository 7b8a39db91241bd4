"""The manifest of tokens to the panel that says how much text there is to train on, how dense, and how long its documents are."""

from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import bars, histogram, stacked_bars
from tasks.panels.drawing import SMALL_WIDTH
from tasks.panels.formats import amount, count, escaped, share
from tasks.panels.markup import figure, legend, multiples, panel, right, table

HISTOGRAMS_SHOWN = 12
LONG = ("2048", "4096", "8192")  # the chunk lengths of the reports


def tokens(manifest: Manifest) -> str:
    """Show tokens of each source, tokens per byte, lengths of documents and the tokenizer."""
    counts, details = manifest.counts, manifest.details
    sources = sorted((details.get("sources") or {}).items(), key=lambda item: -item[1].get("tokens", 0))
    total, held_out = counts.get("tokens", 0), counts.get("held_out_tokens", 0)
    lead = f"{count(total)} tokens to train on and {count(held_out)} held out, from {amount(counts.get('documents', 0), 'document')}; "
    lead += f"a vocabulary of {count(counts.get('vocabulary_size', 0))} pieces."
    parts = ["training", "held out"]
    rows = [(name, {"training": source.get("tokens", 0), "held out": source.get("held_out_tokens", 0)}) for name, source in sources]
    return panel(
        "Tokens", lead,
        figure("Tokens of each source", stacked_bars(rows, parts, "Tokens of each source"), legend=legend(parts)) if rows else "",
        density(sources),
        source_table(sources),
        lengths(sources),
        tokenizer(details.get("tokenizer") or {}),
    )  # fmt: skip


def density(sources: list[tuple[str, Any]]) -> str:
    """Draw how many tokens a byte of text takes: fewer means the vocabulary fits the source better."""
    rows = [(name, density_of(source)) for name, source in sources if density_of(source)]
    if not rows:
        return ""
    rows.sort(key=lambda row: -row[1])
    note = "Fewer tokens per byte: the vocabulary fits this source better."
    return figure("Tokens per byte of text", bars(rows, "Tokens per byte", lambda value: f"{value:.3f}"), note)


def density_of(source: dict[str, Any]) -> float:
    """Return tokens per byte over training and held-out documents, which a source's bytes are counted over; 0 if it is empty."""
    size = source.get("bytes") or 0
    return (source.get("tokens", 0) + source.get("held_out_tokens", 0)) / size if size else 0.0


def source_table(sources: list[tuple[str, Any]]) -> str:
    """Write the numbers behind the charts."""
    if not sources:
        return '<p class="note">No source has tokens.</p>'
    total = sum(source.get("tokens", 0) for _, source in sources)
    rows = []
    for name, source in sources:
        documents, size, text = source.get("documents", 0), source.get("tokens", 0), source.get("bytes", 0)
        mean = size / documents if documents else None
        share_written = right(share(size, total))
        ratio = right(f"{density_of(source):.3f}") if text else None
        every, longer = documents + source.get("held_out_documents", 0), source.get("longer_than") or {}
        cut = [right(share(longer[length], every)) if every and length in longer else None for length in LONG]
        held_out, mean = source.get("held_out_tokens", 0), round(mean) if mean is not None else None
        rows.append([name, documents, size, share_written, held_out, text, ratio, mean, *cut])
    columns = ["source", "documents", "tokens", "share", "held-out tokens", "bytes", "tokens per byte", "tokens a document"]
    columns += [f"longer than {int(length):,}" for length in LONG]
    return table("The same in numbers", columns, rows)


def lengths(sources: list[tuple[str, Any]]) -> str:
    """Draw a small histogram of document lengths for each source, all over the same range."""
    found = [
        (name, source["length_histogram"]) for name, source in sources if sum((source.get("length_histogram") or {}).get("counts") or [0])
    ]
    if not found:
        return ""
    same = all(data["edges"] == found[0][1]["edges"] for _, data in found)
    used = [index for _, data in found for index, number in enumerate(data["counts"]) if number]
    first, last = (min(used), max(used) + 1) if same else (0, None)
    figures = []
    for name, data in found[:HISTOGRAMS_SHOWN]:
        counts = data["counts"][first:last]
        chart = histogram(
            data["edges"][first:][: len(counts) + 1], {"": counts}, f"Lengths of documents in {name}", "tokens", SMALL_WIDTH, 130
        )
        figures.append(figure(name, chart))
    left_out = f" The {HISTOGRAMS_SHOWN} sources with most tokens." if len(found) > HISTOGRAMS_SHOWN else ""
    note = f"Documents by their number of tokens. Intervals are drawn equally wide, whatever they span.{left_out}"
    return f'<p class="caption">Lengths of documents</p><p class="note">{note}</p>' + multiples(figures)


def tokenizer(data: dict[str, Any]) -> str:
    """Say which tokenizer cut the text."""
    if not data:
        return ""
    pieces = data.get("pieces")
    written = f"{count(pieces)} pieces" if isinstance(pieces, int | float) else ""
    said = [str(data.get("type", "")), written, str(data.get("licence") or ""), f"sha256 {str(data.get('sha256', ''))[:16]}"]
    return f'<p class="note">Tokenizer: {escaped(" · ".join(part for part in said if part))}</p>'
