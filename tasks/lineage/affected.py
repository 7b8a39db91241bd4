"""Something that has to go (a source, a document, a conversation) to the artifacts and models that it is in, and where to start again.

What holds it follows from manifests and verdicts, what was trained on it from the batches themselves (`seen.py`). A model is affected if
one of its checkpoints saw it, and starts again from the last checkpoint before the first step that did. Other traces it may have left (in
the tokenizer's sample, in a classifier's training, by deciding which duplicates were kept) are told as notes: they touch no weight
directly, and only a run from curation on removes them too.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import STREAMS, documents_file, open_streams, read_documents, shard_of_id, token_type
from tasks.artifacts.verdicts import Verdicts
from tasks.lineage.graph import Graph, label_of, parents_of
from tasks.lineage.seen import Seen, Training, total
from tasks.lineage.words import tokens_seen
from tasks.runtime.production import Reader

HOLDERS = ("raw", "documents", "tokens", "conversations")


@dataclass
class Target:
    """What has to go: how to tell that a data artifact holds it, and what a checkpoint's own stage took of it."""

    title: str
    holds: Callable[[str, Manifest], str]  # why a data artifact holds it; empty if it does not
    seen: Callable[[str], Seen | None]
    notes: list[str] = field(default_factory=list)


# --- a source ----------------------------------------------------------------------------------------------------------------


def sources_of(manifest: Manifest) -> set[str]:
    """Return the names of the sources that a data artifact has something of."""
    if manifest.kind == "raw":
        return set(manifest.details.get("places") or {})
    rows = manifest.details.get("sources") or {}
    if manifest.kind == "tokens":
        return {name for name, row in rows.items() if row.get("tokens") or row.get("held_out_tokens")}
    return set(rows)


def derived_from(section: JSON, names: set[str]) -> set[str]:
    """Return the sources of a curation section that are made from some others, directly or not, and these themselves."""
    known = set(names)
    for _ in section.get("sources") or []:
        for row in section["sources"]:
            made_from = (row.get("plants") or {}).get("of", []) + (row.get("rewriting") or {}).get("of", [])
            if known & set(made_from):
                known.add(row["name"])
    return known


def source_target(graph: Graph, training: Training, name: str) -> Target:
    """Describe the removal of a source, with what was made from it; BadInput if no artifact knows it."""
    known = {one for manifest in graph.manifests.values() if manifest.kind in HOLDERS for one in sources_of(manifest)}
    if name not in known:
        raise BadInput(f"no artifact of {training.store.root} has a source {name!r}: it has {', '.join(sorted(known)) or 'none'}")
    names, notes = {name}, []
    for manifest in graph.manifests.values():
        if manifest.kind == "documents":
            section = manifest.identity.get("section") or {}
            names |= derived_from(section, {name})
            taught = (section.get("quality") or {}).get("train") or {}
            if name in taught.get("positive", []) + taught.get("negative", []):
                notes.append(
                    f"{label_of(manifest)}: its quality classifier learnt from {name}, and decided what was kept of every other source"
                )
        if manifest.kind == "tokens" and name in sources_of(manifest) and (manifest.identity.get("section") or {}).get("train"):
            notes.append(f"{label_of(manifest)}: the tokenizer's vocabulary was learnt from a sample of all sources")
    if len(names) > 1:
        notes.insert(0, f"made from {name}, and to be removed with it: {', '.join(sorted(names - {name}))}")

    def holds(place: str, manifest: Manifest) -> str:
        mine = sorted(sources_of(manifest) & names)
        rows = manifest.details.get("sources") or {}
        held_out = sum(rows[one].get("held_out_tokens", 0) for one in mine if one in rows)
        return f"holds {', '.join(mine)}" + (f", {held_out:,} tokens of it held out" if held_out else "") if mine else ""

    return Target(f"source {name}", holds, lambda place: training.of_sources(place, names), sorted(set(notes), key=notes.index))


def reached_by(graph: Graph, source: str) -> Graph:
    """Return the part of a graph that a source reached, as manifests count tokens: no checkpoint that saw nothing of it, and nothing made from it."""
    names = {source}
    for one in graph.manifests.values():
        names |= derived_from(one.identity.get("section") or {}, names) if one.kind == "documents" else set()
    taken, reached = tokens_seen(graph), {}
    for place in graph.made:
        one, parents = graph.manifests[place], graph.parents[place]
        if one.kind in HOLDERS:
            inside = bool(names & sources_of(one))
        elif one.kind == "checkpoint":
            inside = bool(names & set(taken[place])) or parents.get("parent", "") in reached
        else:
            inside = bool(reached.keys() & parents.values())
        if inside:
            reached[place] = one
    return Graph(reached)


# --- a document --------------------------------------------------------------------------------------------------------------


@dataclass
class Family:
    """A document's id in the store, and the documents that hold its text as well: each kept one with how it is related."""

    kept: dict[str, str] = field(default_factory=dict)  # id to relation
    read_in: dict[str, str] = field(default_factory=dict)  # documents artifact to what became of it there
    sources: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def family_of(store: Store, graph: Graph, id: str) -> Family:
    """Find a document, what was made from it and what was kept in its place, in the verdicts of all documents artifacts."""
    family = Family()
    for place, manifest in graph.manifests.items():
        if manifest.kind == "documents":
            verdicts = Verdicts(store, manifest)
            for where, row in verdicts.find("id", id, ("raw", "reason", "duplicate_of")):
                family.sources.add(where.source)
                fate = "holds it" if row["reason"] == "" else f"read it, dropped as {row['reason'].replace('_', ' ')}"
                if family.read_in.get(place) != "holds it":
                    family.read_in[place] = fate
                if row["reason"] == "":
                    family.kept[id] = "itself"
                    _note_duplicates(verdicts, manifest, id, family)
                elif row["duplicate_of"] and row["duplicate_of"] != id:
                    family.kept.setdefault(row["duplicate_of"], f"kept in its place ({row['reason'].replace('_', ' ')})")
                for made in (f"rewritten:{id}", f"planted:exact:{row['raw']}", f"planted:near:{row['raw']}"):
                    for _, copy in verdicts.find("raw", made, ("id", "reason"), prefix=made.startswith("rewritten:")):
                        if copy["reason"] == "":
                            family.kept.setdefault(copy["id"], "made from it")
    return family


def _note_duplicates(verdicts: Verdicts, manifest: Manifest, id: str, family: Family) -> None:
    others = sum(1 for _ in verdicts.find("duplicate_of", id, ("reason",)))
    if others:
        family.notes.append(
            f"{label_of(manifest)}: {others:,} documents were dropped as its duplicates: they have to go as well, or curation keeps one of them"
        )


def document_target(store: Store, graph: Graph, training: Training, id: str) -> Target:
    """Describe the removal of a document, by its whole id; BadInput if no documents artifact of the store has read it."""
    family = family_of(store, graph, id)
    if not family.read_in:
        raise BadInput(
            f"no documents artifact of {store.root} has read a document {id!r}: `reynard explain --document` finds a document's id"
        )
    ids = list(family.kept)
    notes = [f"{other}: {relation}" for other, relation in family.kept.items() if relation != "itself"] + family.notes

    def holds(place: str, manifest: Manifest) -> str:
        if manifest.kind == "documents":
            kept = [other for other in ids if other != id and _kept_there(store, manifest, other)]
            return family.read_in.get(place, "") or (f"holds {kept[0]}" if kept else "")
        if manifest.kind == "raw":
            mine = sorted(sources_of(manifest) & family.sources)
            return f"holds the raw file, of {', '.join(mine)}" if mine else ""
        return _where_in_tokens(store, manifest, ids) if manifest.kind == "tokens" else ""

    def seen(place: str) -> Seen | None:
        return total([one for other in ids if (one := training.of_document(place, other))])

    return Target(f"document {id}", holds, seen, notes)


def _kept_there(store: Store, manifest: Manifest, id: str) -> bool:
    return any(row["reason"] == "" for _, row in Verdicts(store, manifest).find("id", id, ("reason",)))


def _where_in_tokens(store: Store, manifest: Manifest, ids: Collection[str]) -> str:
    """Say whether the training or the held-out part of a tokens artifact holds one of some documents."""
    tokens = Reader(store, manifest)
    streams = open_streams(store.root, tokens.folder, tokens.path(STREAMS), token_type(manifest.counts["vocabulary_size"]))
    for id in ids:
        for source, stream in streams.items():
            shard = shard_of_id(stream, id) if stream.first_ids else 0
            rows = read_documents(tokens.path(documents_file(source, shard))) if stream.first_ids and stream.first_ids[shard] else []
            if any(row["id"] == id for row in rows):
                return "holds its tokens"
        for entry in manifest.matching("held_out/"):
            if entry.path.endswith(".documents.jsonl.zst") and any(row["id"] == id for row in read_documents(tokens.path(entry.path))):
                return "holds its tokens, held out: no step sees them, bits per byte are measured on them"
    return ""


def conversation_target(graph: Graph, training: Training, address: str) -> Target:
    """Describe the removal of a conversation, by the address of its raw row or the end of it; BadInput if no fine-tuning has it."""
    chats = [place for place, one in graph.manifests.items() if training.is_chat(one)]
    found = {place: seen for place in chats if (seen := training.of_conversations(place, address))}
    if not found:
        raise BadInput(
            f"{address!r} is neither the id of a document (32 hex digits) nor the address of a conversation that was trained on: "
            "`reynard explain --document` finds a document's id by its address"
        )
    holding = {parents_of(graph.manifests[place])["conversations"] for place in found}
    raw = {at for place in holding for at in parents_of(graph.manifests[place]).values()}
    return Target(
        f"conversation {address}", lambda place, one: "holds it" if place in holding | raw else "", found.get,
        [] if len(chats) == len(found) else ["some fine-tuned checkpoints of the store did not take it"],
    )  # fmt: skip


# --- what follows ------------------------------------------------------------------------------------------------------------


def affected(graph: Graph, training: Training, target: Target) -> JSON:
    """Return the artifacts that something is in, what each stage took of it, and for every model where to start again."""
    why: dict[str, str] = {}
    seen: dict[str, Seen] = {}
    unknown: dict[str, str] = {}
    for place in graph.made:
        one, parents = graph.manifests[place], graph.parents[place]
        if one.kind == "checkpoint":
            try:
                if taken := target.seen(place):
                    seen[place] = taken
                    why[place] = f"trained on {taken.tokens:,} tokens of it, in steps {taken.first_step:,} to {taken.last_step:,}"
            except LookupError as error:
                unknown[place] = str(error)
                why[place] = f"cannot be told: {error}"
            if place not in why and why.get(parents.get("parent", "")):
                why[place] = f"continues {label_of(graph.manifests[parents['parent']])}"
        elif one.kind in HOLDERS:
            why[place] = target.holds(place, one)
        elif one.kind == "published":
            why[place] = _of_published(graph, one, seen, why)
        else:
            why[place] = _of_what_follows(graph, one, parents, why)
    tokens = {place: graph.manifests[place].details.get("stage_tokens") for place in seen}
    return {
        "removed": target.title, "notes": target.notes,
        "artifacts": [{"place": place, "artifact": label_of(graph.manifests[place]), "kind": graph.manifests[place].kind, "why": why[place]}
                      for place in graph.made if why.get(place)],
        "stages": [{"checkpoint": label_of(graph.manifests[place]), "stage_tokens": tokens[place]} | one.__dict__ for place, one in seen.items()],
        "unknown": [{"checkpoint": label_of(graph.manifests[place]), "why": said} for place, said in unknown.items()],
        "published": [f"{row['address']} ({row['kind']}) at {row['revision']}" for place in graph.made
                      if why.get(place) and graph.manifests[place].kind == "publication"
                      for row in sorted(graph.manifests[place].details.get("published") or [], key=lambda row: row["kind"])],
        "models": [model(graph, place, seen, unknown) for place in models_of(graph)],
    }  # fmt: skip


def _of_published(graph: Graph, one: Manifest, seen: dict[str, Seen], why: dict[str, str]) -> str:
    """Tell whether a checkpoint from inside a stage is affected: if its stage saw something by its step, or an earlier stage did."""
    section = dict(one.identity.get("section") or {})
    step = section.pop("step", 0)
    for place, stage in graph.manifests.items():
        if (
            stage.kind == "checkpoint"
            and stage.identity.get("section") == section
            and stage.identity.get("parents") == one.identity.get("parents")
        ):
            if place in seen:
                first = seen[place].first_step
                return f"trained on it from step {first:,} on" if first <= step else why.get(graph.parents[place].get("parent", ""), "")
            return why.get(place, "")
    held = [at for at in parents_of(one).values() if why.get(at)]
    return "its stage is not finished: it may have been trained on it" if held else ""


def _of_what_follows(graph: Graph, one: Manifest, parents: dict[str, str], why: dict[str, str]) -> str:
    hit = [place for place in parents.values() if why.get(place)]
    if one.kind == "scores":  # of tokens they read the held-out part alone
        hit = [place for place in hit if graph.manifests[place].kind != "tokens" or "held out" in why[place]]
    return f"made from {label_of(graph.manifests[min(hit, key=lambda at: graph.manifests[at].kind in HOLDERS)])}" if hit else ""


def models_of(graph: Graph) -> list[str]:
    """Return the places of the models of a store: releases, and checkpoints that nothing was released from or trained on."""
    used = {at for place, one in graph.manifests.items() if one.kind in ("release", "checkpoint") for at in graph.parents[place].values()}
    return [
        place
        for place in graph.made
        if (one := graph.manifests[place]).kind == "release" or (one.kind == "checkpoint" and place not in used)
    ]


def chain(graph: Graph, place: str) -> list[str]:
    """Return the checkpoints that led to a model, first to last."""
    at = graph.parents[place].get("checkpoint", place) if graph.manifests[place].kind == "release" else place
    found = [at] if at in graph.manifests else []
    while found and (parent := graph.parents[found[0]].get("parent")):
        found.insert(0, parent)
    return [at for at in found if graph.manifests[at].kind == "checkpoint"]


def model(graph: Graph, place: str, seen: dict[str, Seen], unknown: dict[str, str]) -> JSON:
    """Say what a model saw, and the cheapest place to start again: the last checkpoint before the first step that saw it."""
    stages = chain(graph, place)
    told: JSON = {
        "model": label_of(graph.manifests[place]), "repository": graph.manifests[place].counts.get("repository"),
        "tokens": sum(seen[at].tokens for at in stages if at in seen), "unknown": any(at in unknown for at in stages), "restart": None,
    }  # fmt: skip
    first = next((number for number, at in enumerate(stages) if at in seen or at in unknown), None)
    if first is not None:
        again = stages[first:]
        told["restart"] = {
            "stage": graph.manifests[stages[first]].name, "from": label_of(graph.manifests[stages[first - 1]]) if first else None,
            "first_step": seen[stages[first]].first_step if stages[first] in seen else None,
            "stages_again": [graph.manifests[at].name for at in again],
            "tokens_again": sum(int(graph.manifests[at].details.get("stage_tokens") or 0) for at in again),
            "tokens_all": sum(int(graph.manifests[at].details.get("stage_tokens") or 0) for at in stages),
            "published_before": _published_before(graph, stages[first], seen.get(stages[first])),
        }  # fmt: skip
    return told


def _published_before(graph: Graph, stage: str, seen: Seen | None) -> str | None:
    """Return the last published checkpoint of a stage before a step: it has the weights, and not AdamW's moments."""
    section = graph.manifests[stage].identity.get("section") or {}
    inside = [
        (own["step"], label_of(one)) for one in graph.manifests.values() if one.kind == "published" and (own := dict(one.identity["section"]))
        and {k: v for k, v in own.items() if k != "step"} == section and seen is not None and own["step"] < seen.first_step
    ]  # fmt: skip
    return max(inside)[1] if inside else None
