"""The manifest of rendered conversations to the panel that says what is learnt from: how many, what was left out, how long, one to read."""

from typing import Any

from tasks.artifacts.manifest import Manifest
from tasks.panels.charts import bars, histogram
from tasks.panels.formats import amount, count, escaped, share, words
from tasks.panels.markup import Markup, figure, panel, table

TRAINED_STYLE = "color:inherit;background:color-mix(in srgb, currentColor 14%, transparent);border-radius:2px;font-weight:600"
NOTED = {
    "names_other_assistant": "the assistant names another one",
    "control_token": "a content spells out a control token",
    "cut_before_assistant": "cut before the assistant speaks",
}


def conversations(manifest: Manifest) -> str:
    """Show conversations by source, rows left out by reason, lengths, and one conversation with what is trained on."""
    counts, details = manifest.counts, manifest.details
    trained, tokens = counts.get("trained_tokens", 0), counts.get("tokens", 0)
    lead = (
        f"{amount(counts.get('conversations', 0), 'conversation')} of {count(tokens)} tokens, {share(trained, tokens)} of them trained on "
    )
    lead += f"(the assistant's); {count(counts.get('cut', 0))} were cut at {count(details.get('max_tokens') or 0)} tokens, and "
    lead += f"{count(counts.get('dropped', 0))} of {count(counts.get('rows', 0))} rows left out."
    sources = details.get("sources") or {}
    return panel("Conversations", lead, left_out(details.get("reasons") or {}), source_table(sources), lengths(sources), example(details))


def left_out(reasons: dict[str, int]) -> str:
    """Draw why rows were left out."""
    rows = [(NOTED.get(name, words(name)), number) for name, number in reasons.items() if name not in ("rows", "kept") and number]
    if not rows:
        return ""
    rows.sort(key=lambda row: -row[1])
    return figure("Rows left out, by reason", bars(rows, "Rows left out", lambda value: count(value)))


def source_table(sources: dict[str, Any]) -> str:
    """Write each source in numbers."""
    rows = []
    for name, one in sources.items():
        size = one.get("conversations", 0)
        mean = round(one.get("tokens", 0) / size) if size else None
        rows.append([name, one.get("reasons", {}).get("rows"), size, one.get("tokens"), one.get("trained_tokens"), one.get("cut"), mean])
    columns = ["source", "rows", "conversations", "tokens", "trained on", "cut", "tokens a conversation"]
    return table("Sources", columns, rows) if rows else ""


def lengths(sources: dict[str, Any]) -> str:
    """Draw how long conversations are, all sources together."""
    found = [one["length_histogram"] for one in sources.values() if sum((one.get("length_histogram") or {}).get("counts") or [0])]
    if not found:
        return ""
    edges = found[0]["edges"]
    total = [sum(column) for column in zip(*(one["counts"] for one in found), strict=True)]
    last = max(index for index, number in enumerate(total) if number) + 1
    note = "Conversations by their number of tokens. Intervals are drawn equally wide, whatever they span."
    return figure(
        "Lengths", histogram(edges[: last + 1], {"": total[:last]}, "Lengths of conversations", "tokens", unit="conversations"), note
    )


def example(details: dict[str, Any]) -> str:
    """Write a conversation as the model reads it; what it is trained on is marked."""
    parts = (details.get("example") or {}).get("parts") or []
    if not parts:
        return ""
    marked = "".join(f'<mark style="{TRAINED_STYLE}">{visible(text)}</mark>' if trained else visible(text) for text, trained in parts)
    text = Markup(f'<pre style="white-space:pre-wrap;overflow-wrap:anywhere">{marked}</pre>')
    note = f"Template {details.get('template', '')}; what is marked is trained on. A line break is written ⏎."
    return figure("The first conversation, as it is trained on", text, note)


def visible(text: str) -> str:
    """Escape a text and show its line breaks, which are tokens."""
    return escaped(text).replace("\n", "⏎\n")
