"""The counts that every unit and every bin returned, to what the report shows. Sums only: no order of adding changes them."""

from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import numpy as np

from recipes.curation import Curation, Source
from tasks.artifacts.manifest import JSON
from tasks.curation.emit import EXAMPLES
from tasks.curation.rules import REASONS
from tasks.runtime.steps import Done

BYTES_PER_TOKEN = 4.0  # of English prose under the reports' tokenizers; an estimate until the tokenizer has counted
CLUSTER_EDGES = [2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025, 2**31]


def curation_details(
    section: Curation, tagged: dict[str, list[Done]], emitted: dict[str, list[Done]], shared: dict[str, list[Done]], threshold: float | None
) -> JSON:  # fmt: skip
    """Add up what happened, for the manifest."""
    verified = shared.get("verify", [])
    emits = [done.counts for dones in emitted.values() for done in dones]
    across: Counter = Counter()
    for name, dones in emitted.items():
        for done in dones:
            across.update({(name, kept): n for kept, n in done.counts["across"]})
    for done in verified:
        across.update({(dropped, kept): n for dropped, kept, n in done.counts["across"]})
    crashed = [row for dones in tagged.values() for done in dones for row in done.counts["crashed"]]
    return {
        "reasons": list(REASONS[1:]),
        "sources": {
            s.name: source_row(s, tagged.get(s.name, []), emitted.get(s.name, [])) | {"preference": place} for place, s in enumerate(section.sources)
        },
        "across_sources": [[dropped, kept, n] for (dropped, kept), n in sorted(across.items())],
        "examples": examples(emits),
        "clusters": clusters(verified),
        "similarity": similarity(section, verified),
        "quality": {
            "edges": [round(0.05 * place, 2) for place in range(21)], "kept": added(emits, "quality_kept"), "removed": added(emits, "quality_removed"),
            "threshold": threshold, "keep_fraction": section.quality.keep_fraction if section.quality else None,
            "model": quality_model(section), "trained_on": shared["classifier"][0].counts if "classifier" in shared else {},
        },
        "languages": languages(emits),
        "bloom": {
            kind: bloom(shared[step], rule.false_positive_rate)
            for step, kind, rule in (("copies", "documents", section.exact_duplicates), ("repeats", "paragraphs", section.duplicate_paragraphs))
            if shared.get(step) and rule
        },
        "work": {"units": sum(len(dones) for dones in tagged.values()), "quarantined": crashed},
    }  # fmt: skip


def curation_counts(details: JSON) -> JSON:
    """Return the artifact's counts: sums over the sources of the corpus."""
    rows = [row for row in details["sources"].values() if row["role"] == "corpus"]
    return {key: sum(row[key] for row in rows) for key in ("documents_in", "documents_kept", "characters_in", "characters_kept")}


def source_row(source: Source, tagged: list[Done], emitted: list[Done]) -> JSON:
    """Add up a source."""
    removed: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    edits: Counter = Counter()
    for done in emitted:
        for reason, (documents, characters) in done.counts["removed"].items():
            removed[reason] = [removed[reason][0] + documents, removed[reason][1] + characters]
        edits.update(done.counts["edits"])
    counts = [done.counts for done in emitted]
    ordered = [reason for reason in REASONS if reason in removed]
    bytes_kept = sum(row["bytes_kept"] for row in counts)
    return {
        "kind": source.kind, "licence": source.licence, "role": source.role, "rules": source.rules,
        "documents_in": sum(done.counts["documents"] for done in tagged), "characters_in": sum(done.counts["characters"] for done in tagged),
        "documents_kept": sum(row["documents_kept"] for row in counts), "characters_kept": sum(row["characters_kept"] for row in counts),
        "bytes_kept": bytes_kept, "tokens_estimated": int(bytes_kept / BYTES_PER_TOKEN), "skipped": sum(done.counts["skipped"] for done in tagged),
        "skipped_by": dict(sorted(sum((Counter(done.counts["skipped_by"]) for done in tagged), Counter()).items())),
        "unreadable": sum(done.counts["faults"].get("unreadable", 0) for done in tagged),
        "removed": {reason: removed[reason][0] for reason in ordered}, "removed_characters": {reason: removed[reason][1] for reason in ordered},
        "edits": dict(sorted(edits.items())),
    }  # fmt: skip


def examples(emits: list[JSON]) -> JSON:
    """Choose examples of each reason among those of all units: the smallest ids, as in each unit."""
    found: dict[str, list[JSON]] = defaultdict(list)
    for counts in emits:
        for reason, rows in counts["examples"].items():
            found[reason] += rows
    return {reason: sorted(found[reason], key=lambda row: (row["id"], row["raw"]))[:EXAMPLES] for reason in REASONS if reason in found}


def clusters(verified: list[Done]) -> JSON:
    """Count near-duplicate clusters by size: a kept document and those dropped in its favour."""
    sizes = Counter({})
    for done in verified:
        for size, n in done.counts["clusters"]:
            sizes[size] += n
    counts = [sum(n for size, n in sizes.items() if low <= size < high) for low, high in pairwise(CLUSTER_EDGES)]
    return {
        "edges": CLUSTER_EDGES,
        "counts": counts,
        "largest": max(sizes, default=0),
        "documents": sum(size * n for size, n in sizes.items()),
    }


def similarity(section: Curation, verified: list[Done]) -> JSON:
    """Add up the similarities of all candidate pairs, accepted and refused."""
    rows = [done.counts for done in verified]
    thresholds = {name: rule.jaccard_threshold for name, rule in section.near_duplicates.items()}
    edges = [round(0.05 * place, 2) for place in range(21)]
    return {"edges": edges, "removed": added(rows, "removed"), "rejected": added(rows, "rejected"), "thresholds": thresholds}


def languages(emits: list[JSON]) -> list[JSON]:
    """Add up documents by language, the most frequent first."""
    total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3, np.int64))
    for counts in emits:
        for language, row in counts["languages"].items():
            total[language] += row
    rows = [{"language": name, "documents": int(n[0]), "kept": int(n[1]), "characters": int(n[2])} for name, n in total.items()]
    return sorted(rows, key=lambda row: (-row["documents"], row["language"]))


def bloom(dones: list[Done], false_positive_rate: float) -> JSON:
    """Add up the parts of a Bloom filter."""
    counts: dict[str, Any] = {
        key: sum(done.counts.get(key, 0) for done in dones) for key in ("capacity", "added", "bytes", "false_positives")
    }
    return counts | {"false_positive_rate": false_positive_rate, "parts": len(dones)}


def added(rows: list[JSON], name: str) -> list[int]:
    """Add up lists of 20 counts."""
    return np.sum([np.zeros(20, np.int64), *(np.array(row[name]) for row in rows)], axis=0).tolist()


def quality_model(section: Curation) -> str | None:
    """Say which classifier scored."""
    if section.quality is None:
        return None
    if section.quality.load is not None:
        return section.quality.load.location
    assert section.quality.train is not None
    return f"trained here: {', '.join(section.quality.train.positive)} against {', '.join(section.quality.train.negative)}"
