"""Raw sources to documents worth training on, with every removal counted by reason and traceable to what it duplicates.

Order of the rules: unreadable, too short, low quality, exact duplicate, near duplicate. Documents meet the duplicate rules in
order of preference (source as listed in the recipe, quality, length, id), so the survivor never depends on the order of files.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recipes.errors import BadInput
from recipes.schema import Curation, Source
from tasks.artifacts.documents import document_id, write_lines, write_shards
from tasks.artifacts.manifest import JSON
from tasks.curation.duplicates import ExactFilter, NearIndex
from tasks.curation.plants import plant
from tasks.curation.rules import is_too_short, normalize, prose_quality
from tasks.runtime.progress import Progress
from tasks.sources.files import find_files
from tasks.sources.records import Record, read_records, split_long

REASONS = ("unreadable", "too_short", "low_quality", "exact_duplicate", "near_duplicate")
EXAMPLES = 10
QUALITY_EDGES = [round(0.05 * i, 2) for i in range(21)]


@dataclass
class Document:
    """A record on its way through the rules."""

    source: str
    priority: int
    text: str
    raw: str
    quality: float
    id: str = ""

    def preference(self) -> tuple[int, float, int, str, str]:
        """Sort key: what is preferred comes first."""
        return (self.priority, -self.quality, -len(self.text), self.id, self.raw)


@dataclass
class Tally:
    """What happened, counted."""

    sources: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    removed: list[JSON] = field(default_factory=list)
    across: Counter = field(default_factory=Counter)
    quality_kept: Counter = field(default_factory=Counter)
    quality_removed: Counter = field(default_factory=Counter)
    examples: dict[str, list[JSON]] = field(default_factory=lambda: defaultdict(list))

    def remove(self, reason: str, document: Document, duplicate_of: str | None = None, similarity: float | None = None) -> None:
        """Record a removal."""
        row = {
            "id": document.id, "source": document.source, "raw": document.raw, "reason": reason,
            "duplicate_of": duplicate_of, "similarity": similarity, "quality": document.quality,
        }  # fmt: skip
        self.removed.append(row)
        self.sources[document.source][f"removed:{reason}"] += 1
        if len(self.examples[reason]) < EXAMPLES:
            self.examples[reason].append(row | {"text": document.text[:200]})


def curate(section: Curation, scratch: Path, add: Callable[[Path, str], None]) -> tuple[JSON, JSON]:
    """Curate all sources of a recipe; files go out through `add`. Return the artifact's counts and details.

    BadInput if a source is empty or has more unreadable records than the recipe allows.
    """
    tally = Tally()
    candidates = _read_all(section, tally)
    kept = _deduplicate(section, candidates, tally)
    by_source: dict[str, list[Document]] = {source.name: [] for source in section.sources}
    for document in kept:
        by_source[document.source].append(document)
    for name, documents in by_source.items():
        rows = ({"id": d.id, "text": d.text, "raw": d.raw, "quality": d.quality} for d in sorted(documents, key=lambda d: d.id))
        write_shards(rows, scratch, f"documents/{name}", add)
        tally.sources[name]["documents_kept"] = len(documents)
        tally.sources[name]["characters_kept"] = sum(len(d.text) for d in documents)
    removed = scratch / "removed.jsonl.zst"
    write_lines(removed, sorted(tally.removed, key=lambda row: (row["source"], row["raw"], row["reason"])))
    add(removed, "removed.jsonl.zst")
    return _report(section, tally)


def _read_all(section: Curation, tally: Tally) -> list[Document]:
    candidates: list[Document] = []
    originals: dict[str, list[tuple[str, str]]] = {}
    copied_from = {name for source in section.sources if source.plants for name in source.plants.of}
    ordered = sorted(enumerate(section.sources), key=lambda pair: pair[1].format == "planted")  # plants need their origins
    for priority, source in ordered:
        records = (
            plant(source.plants, [pair for name in source.plants.of for pair in originals[name]]) if source.plants else _records(source)
        )
        counts = tally.sources[source.name]
        for record in records:
            counts["documents_in"] += 1
            if record.text is None:
                tally.remove("unreadable", Document(source.name, priority, "", record.address, 0.0))
                continue
            text = normalize(record.text)
            counts["characters_in"] += len(text)
            if source.name in copied_from:
                originals.setdefault(source.name, []).append((record.address, text))
            document = Document(
                source.name, priority, text, record.address, prose_quality(text) if source.quality == "prose" else 1.0, document_id(text)
            )
            if is_too_short(text, section.min_characters if source.min_characters is None else source.min_characters):
                tally.remove("too_short", document)
            elif document.quality < section.min_quality:
                tally.remove("low_quality", document)
                tally.quality_removed[_bin(document.quality)] += source.quality == "prose"
            else:
                tally.quality_kept[_bin(document.quality)] += source.quality == "prose"
                candidates.append(document)
        _check_source(section, source, counts)
    return candidates


def _records(source: Source) -> list[Record]:
    records: list[Record] = []
    files = find_files(source.location, f"source {source.name!r}")
    with Progress(f"read {source.name}", len(files), "files") as progress:
        for file in files:
            for record in read_records(source.format, file, source.text_field):
                records += split_long(record, source.split_above_characters)
            progress.advance(1)
    return records


def _check_source(section: Curation, source: Source, counts: Counter) -> None:
    read, unreadable = counts["documents_in"], counts["removed:unreadable"]
    if read == unreadable:
        raise BadInput(
            f"source {source.name!r} has no readable record in {source.location!r} ({unreadable} unreadable): "
            f"check its format ({source.format}) and text_field ({source.text_field!r})"
        )
    if unreadable > section.max_unreadable_fraction * read:
        raise BadInput(
            f"source {source.name!r}: {unreadable} of {read} records are unreadable, more than max_unreadable_fraction "
            f"{section.max_unreadable_fraction} allows: mend the source or raise the limit in the recipe"
        )


def _deduplicate(section: Curation, candidates: list[Document], tally: Tally) -> list[Document]:
    exact = ExactFilter(section.exact_duplicates, len(candidates))
    near = NearIndex(section.near_duplicates) if section.near_duplicates else None
    candidates.sort(key=Document.preference)
    kept: list[Document] = []
    ids: dict[str, str] = {}
    with Progress("deduplicate", sum(len(d.text) for d in candidates), "characters") as progress:
        for document in candidates:
            if exact.is_copy(document.source, document.text):
                tally.remove("exact_duplicate", document, duplicate_of=document.id, similarity=1.0)
                tally.across[document.source, ids.get(document.id, document.source)] += 1
            elif near is not None and (match := near.find_or_keep(len(kept), document.source, document.text)) is not None:
                survivor = kept[match.kept]
                tally.remove("near_duplicate", document, duplicate_of=survivor.id, similarity=match.similarity)
                tally.across[document.source, survivor.source] += 1
            else:
                kept.append(document)
                ids[document.id] = document.source
            progress.advance(len(document.text))
    return kept


def _bin(quality: float) -> int:
    return int(np.clip(quality * 20, 0, 19))


def _report(section: Curation, tally: Tally) -> tuple[JSON, JSON]:
    sources = {}
    for source in section.sources:
        counts = tally.sources[source.name]
        sources[source.name] = {
            "documents_in": counts["documents_in"], "documents_kept": counts["documents_kept"],
            "characters_in": counts["characters_in"], "characters_kept": counts["characters_kept"],
            "unreadable": counts["removed:unreadable"], "licence": source.licence, "kind": source.kind,
            "removed": {reason: counts[f"removed:{reason}"] for reason in REASONS if counts[f"removed:{reason}"]},
        }  # fmt: skip
    total = {
        key: sum(row[key] for row in sources.values()) for key in ("documents_in", "documents_kept", "characters_in", "characters_kept")
    }
    details = {
        "sources": sources,
        "across_sources": [[removed, kept, n] for (removed, kept), n in sorted(tally.across.items())],
        "quality_histogram": {
            "edges": QUALITY_EDGES,
            "kept": [tally.quality_kept[i] for i in range(20)],
            "removed": [tally.quality_removed[i] for i in range(20)],
        },
        "examples": {reason: rows for reason, rows in sorted(tally.examples.items())},
    }
    return total, details
