"""A manifest to what a person reads of it: one line, and rows on its parts (sources with licences, what was removed, mixtures, scores)."""

from tasks.artifacts.manifest import JSON, Manifest
from tasks.lineage.graph import Graph
from tasks.panels.formats import compact, count, words


def headline(one: Manifest) -> str:
    """Say in a few words what an artifact holds."""
    counts = one.counts
    told = {
        "raw": lambda: f"{count(counts['files'])} files, {compact(counts['bytes'])}B",
        "documents": lambda: f"{count(counts['documents_kept'])} of {count(counts['documents_in'])} documents kept",
        "tokens": lambda: f"{compact(counts['tokens'])} tokens, {count(counts['vocabulary_size'])} pieces",
        "conversations": lambda: f"{count(counts['conversations'])} conversations, {compact(counts['tokens'])} tokens",
        "checkpoint": lambda: f"{count(one.details['stage_steps'])} steps, {compact(one.details['stage_tokens'])} tokens",
        "published": lambda: f"step {count(counts['steps'])}, {compact(counts['tokens'])} tokens",
        "export": lambda: f"{compact(counts['parameters'])} parameters",
        "card": lambda: f"{count(counts['items'])} items",
        "scores": lambda: f"{counts['bits_per_byte']:.3f} bits per byte",
        "contamination": lambda: f"{count(counts['items'])} items searched",
        "clean_scores": lambda: f"{count(counts['overlapping'])} of {count(counts['items'])} items overlap",
        "release": lambda: str(counts["repository"]),
        "publication": lambda: f"{count(counts['revisions'])} revisions on the Hub",
    }.get(one.kind)
    try:
        return told() if told else ""
    except KeyError:  # an artifact of an older version counts other things
        return ""


def declared_sources(graph: Graph) -> dict[str, JSON]:
    """Return what recipes declare of sources by name: licence, revision, location; of two artifacts that declare one, the later made."""
    found: dict[str, JSON] = {}
    for place in graph.made:
        one = graph.manifests[place]
        if one.kind in ("documents", "conversations"):
            told = one.details.get("sources") or {}
            for row in (one.identity.get("section") or {}).get("sources") or []:
                found[row["name"]] = row
            for name, row in told.items():
                found.setdefault(name, {"name": name} | {key: row.get(key) for key in ("licence", "revision")})
    return found


def sources_read(graph: Graph, one: Manifest) -> list[JSON]:
    """Return the sources of a raw artifact: name, licence, revision, files and bytes."""
    declared = declared_sources(graph)
    rows = []
    for name, places in (one.details.get("places") or {}).items():
        known = declared.get(name, {})
        rows.append({
            "name": name, "licence": known.get("licence") or "unknown", "revision": known.get("revision"), "files": len(places),
            "bytes": sum(place["bytes"] for place in places),
        })  # fmt: skip
    return rows


def parts(graph: Graph, place: str) -> list[tuple[str, str, str]]:
    """Return rows on an artifact's parts, as (name, value, note): what a box of the graph and the tree list below it."""
    one = graph.manifests[place]
    if one.kind == "raw":
        return [(row["name"], f"{compact(row['bytes'])}B", row["licence"]) for row in sources_read(graph, one)]
    if one.kind == "documents":
        reasons: dict[str, int] = {}
        for row in (one.details.get("sources") or {}).values():
            for reason, number in (row.get("removed") or {}).items():
                reasons[reason] = reasons.get(reason, 0) + number
        return [(words(reason), f"−{count(number)}", "") for reason, number in sorted(reasons.items(), key=lambda pair: -pair[1])]
    if one.kind == "checkpoint":
        return [(name, compact(tokens), "tokens") for name, tokens in sorted((one.details.get("mixture") or {}).items()) if tokens]
    if one.kind == "scores":
        return [(f"{task}", f"{score:.1f}", "") for task, score in sorted((one.counts.get("scores") or {}).items())]
    return []


def tokens_seen(graph: Graph) -> dict[str, dict[str, int]]:
    """Return the tokens that each checkpoint's own stage took, by source; conversations by their share of all conversations' tokens."""
    found: dict[str, dict[str, int]] = {}
    for place in graph.made:
        one = graph.manifests[place]
        if one.kind == "checkpoint":
            mixture = dict(one.details.get("mixture") or {})
            chats = graph.manifests.get(graph.parents[place].get("conversations", ""))
            if chats is not None and (whole := mixture.pop("conversations", 0)):
                rows = chats.details.get("sources") or {}
                total = sum(row.get("tokens", 0) for row in rows.values()) or 1
                mixture |= {name: round(whole * row.get("tokens", 0) / total) for name, row in rows.items()}
            found[place] = {name: tokens for name, tokens in mixture.items() if tokens}
    return found
