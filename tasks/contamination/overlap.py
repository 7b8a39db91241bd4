"""Benchmark items and everything that was trained on, to the items that it contains: per item which stage, source and documents, and how much.

A stage's data is what it may draw from: the documents of its sources, within its portions of them, that tokenization did not hold out.
An item overlaps with it if one n-gram is shared; its fraction is the share of its n-grams that some document there has.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON, FileEntry, Manifest
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import STREAMS, documents_file
from tasks.contamination.items import BenchmarkItem, items_digest
from tasks.contamination.scan import (
    EXAMPLES,
    MATCHES,
    WHOLE,
    ChatWork,
    Portion,
    ShardWork,
    StoredFile,
    build_index,
    scan_conversations,
    scan_shard,
)
from tasks.runtime.code import code_digest
from tasks.runtime.production import Reader
from tasks.runtime.steps import Done, Item, Steps

SFT = "sft"


@dataclass(frozen=True)
class Drawn:
    """What a stage draws from a source."""

    stage: str
    source: str
    portion: Portion


@dataclass
class Found:
    """What an item shares with a part of the data: its n-grams there, how many documents have some, and the first of them."""

    ngrams: set[int]
    documents: int
    examples: list[list[str]]


@dataclass(frozen=True)
class Part:
    """The finished shards of a source, and the portions that were counted apart in them."""

    source: str
    portions: tuple[Portion, ...]
    shards: list[Done]

    def found(self, store: Store, portion: Portion) -> dict[int, Found]:
        """Return what the items share with a portion of the source."""
        number, items = self.portions.index(portion), dict[int, Found]()
        for shard in self.shards:
            for row in read_lines(shard.path(store, MATCHES)):
                if row["portion"] == number:
                    one = items.setdefault(row["item"], Found(set(), 0, []))
                    one.ngrams.update(row["ngrams"])
                    one.documents += row["documents"]
                    one.examples = sorted([*one.examples, *row["examples"]])[:EXAMPLES]
        return items


def index_items(steps: Steps, items: list[BenchmarkItem], words: int) -> Done:
    """Make the index of the items, unless it is there."""
    key = {"items": items_digest(items), "words": words}
    return steps.run("index", build_index, [Item(key, (items, words))], code_digest("tasks.contamination.index"))[0]


def scan_sources(steps: Steps, index: Done, documents: Manifest, tokens: Manifest, drawn: Iterable[Drawn]) -> list[Part]:
    """Compare every shard of the sources that stages draw from with the items."""
    portions: dict[str, dict[Portion, None]] = {}
    for one in drawn:
        portions.setdefault(one.source, {})[one.portion] = None
    work, sizes = [], []
    for source, own in portions.items():
        for entry in documents.matching(f"documents/{source}/"):
            listed = tokens.file(documents_file(source, int(entry.path.rpartition("/")[2].partition(".")[0])))
            work.append((source, ShardWork(index, stored(documents, entry), stored(tokens, listed), tuple(own))))
            sizes.append(float(max(entry.bytes, 1)))
    items = [Item(one.key(), one, size) for (_, one), size in zip(work, sizes, strict=True)]
    done = steps.run("scan", scan_shard, items, code_digest("tasks.contamination.scan"), "bytes")
    shards = list(zip(work, done, strict=True))
    return [Part(source, tuple(own), [one for (name, _), one in shards if name == source]) for source, own in portions.items()]


def scan_chats(steps: Steps, index: Done, conversations: Manifest, chat: Manifest) -> list[Part]:
    """Compare the conversations that a chat checkpoint was trained on with the items, source by source."""
    tokenizer = stored(chat, chat.file("tokenizer/tokenizer.json"))
    work = []
    for number, row in enumerate(read_lines(Reader(steps.store, conversations).path(STREAMS))):
        ids, rows = (conversations.file(name) for name in (f"tokens/conversations/{number:05d}.bin", f"rows/{number:05d}.jsonl.zst"))
        work.append((row["from"], ChatWork(index, stored(conversations, ids), stored(conversations, rows), tokenizer)))
    items = [Item(one.key(), one) for _, one in work]
    done = steps.run("scan", scan_conversations, items, code_digest("tasks.contamination.scan"), "shards of conversations")
    names = dict.fromkeys(name for name, _ in work)
    return [Part(name, (WHOLE,), [one for (mine, _), one in zip(work, done, strict=True) if mine == name]) for name in names]


def stored(manifest: Manifest, entry: FileEntry) -> StoredFile:
    """Return where a file of an artifact lies in its store."""
    return StoredFile(f"{manifest.kind}/{manifest.version}/{entry.path}", entry.sha256)


def overlaps(store: Store, items: list[BenchmarkItem], index: Done, parts: list[Part], drawn: list[Drawn]) -> tuple[list[JSON], JSON, JSON]:
    """Return a row for each item, the artifact's counts, and its details by task, stage and source."""
    sizes = index.counts["sizes"]
    by_stage: dict[str, dict[int, set[int]]] = {one.stage: {} for one in drawn}
    rows: list[JSON] = [
        {"task": item.task, "doc_id": item.doc_id, "doc_hash": item.doc_hash, "ngrams": size, "stages": {}, "found": []}
        for item, size in zip(items, sizes, strict=True)
    ]
    for part in parts:
        for portion in part.portions:
            stages = [one.stage for one in drawn if (one.source, one.portion) == (part.source, portion)]
            for number, one in part.found(store, portion).items():
                for stage in stages:
                    by_stage[stage].setdefault(number, set()).update(one.ngrams)
                rows[number]["found"].append({
                    "source": part.source, "stages": stages, "fraction": round(len(one.ngrams) / sizes[number], 6),
                    "documents": one.documents, "examples": one.examples,
                })  # fmt: skip
    for stage, own in by_stage.items():
        for number, shared in own.items():
            rows[number]["stages"][stage] = round(len(shared) / sizes[number], 6)
    searched = {
        part.source: {key: sum(shard.counts[key] for shard in part.shards) for key in ("documents", "characters", "matching")}
        for part in parts
    }
    details = {"tasks": by_task(rows), "stages": list(by_stage), "sources": searched, "ngrams": index.counts["ngrams"]}
    counts = {
        "items": len(rows),
        "overlapping": sum(bool(row["stages"]) for row in rows),
        "too_short": sum(not row["ngrams"] for row in rows),
    }
    return rows, counts, details


def by_task(rows: list[JSON]) -> JSON:
    """Count each task's items, those of them that are too short to be found, and those that overlap, in all and by stage."""
    tasks: dict[str, Any] = {}
    for row in rows:
        one = tasks.setdefault(row["task"], {"items": 0, "too_short": 0, "overlapping": 0, "stages": {}, "fractions": []})
        one["items"] += 1
        one["too_short"] += not row["ngrams"]
        one["overlapping"] += bool(row["stages"])
        if row["stages"]:
            one["fractions"].append(max(row["stages"].values()))
        for stage in row["stages"]:
            one["stages"][stage] = one["stages"].get(stage, 0) + 1
    for one in tasks.values():
        one["median_fraction"] = round(float(np.median(one["fractions"])), 4) if one["fractions"] else None
        del one["fractions"]
    return tasks
