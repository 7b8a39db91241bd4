"""A shard of training texts to the benchmark items that it shares n-grams with: the step that reads the data, shard by shard, on Ray.

A shard of documents lies beside the tokens made from it: what tokenization held out is not trained on, and is left out here. Where
stages draw from different portions of a source (ranges of document ids), each portion is counted by itself. Conversations are decoded
from their tokens: what was cut off is not there, and what a template adds stands between the turns.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.artifacts.documents import document_id, read_lines, write_lines
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store, open_store
from tasks.contamination.index import ItemIndex
from tasks.runtime.steps import Done, Output

EXAMPLES = 3  # documents that are named for an item: the first by id
MATCHES = "matches.jsonl.zst"
ID_DIGITS = 13  # of a document's id: what a portion is a range of (`tasks/curriculum/batches.py`)

ID_BITS = np.uint32((1 << 31) - 1)  # of a conversation's token; the bit above says that it is a target

Portion = tuple[float, float]
WHOLE: Portion = (0.0, 1.0)
Text = tuple[str, str, str]  # id, address, text


@dataclass(frozen=True)
class StoredFile:
    """A file of an artifact, for whoever has the store's address."""

    key: str
    sha256: str


@dataclass(frozen=True)
class ShardWork:
    """A shard of documents, the list of those of them that are trained on, and the portions that stages draw from."""

    index: Done
    documents: StoredFile
    trained: StoredFile
    portions: tuple[Portion, ...]

    def key(self) -> JSON:
        """What decides the matches."""
        files = [self.documents.sha256, self.trained.sha256]
        return {"index": self.index.digest, "files": files, "portions": [list(portion) for portion in self.portions]}


def scan_shard(store: Store, work: ShardWork, output: Output) -> JSON:
    """Compare the trained documents of a shard with all items; return counts of documents and of those that share something."""
    trained = {row["id"] for row in read_lines(store.local_copy(work.trained.key, work.trained.sha256))}
    rows = read_lines(store.local_copy(work.documents.key, work.documents.sha256))
    texts = ((row["id"], row["raw"], row["text"]) for row in rows if row["id"] in trained)
    return match_texts(store, work.index, texts, work.portions, output)


@dataclass(frozen=True)
class ChatWork:
    """A shard of rendered conversations, the list of them, and the tokenizer that turns them back into text."""

    index: Done
    ids: StoredFile
    rows: StoredFile
    tokenizer: StoredFile

    def key(self) -> JSON:
        """What decides the matches."""
        return {"index": self.index.digest, "files": [self.ids.sha256, self.rows.sha256, self.tokenizer.sha256]}


def scan_conversations(store: Store, work: ChatWork, output: Output) -> JSON:
    """Compare the conversations of a shard, decoded from the very tokens that are trained on, with all items."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(store.local_copy(work.tokenizer.key, work.tokenizer.sha256)))
    ids = np.fromfile(store.local_copy(work.ids.key, work.ids.sha256), dtype=np.uint32) & ID_BITS

    def texts() -> Iterator[Text]:
        start = 0
        for row in read_lines(store.local_copy(work.rows.key, work.rows.sha256)):
            text = tokenizer.decode(ids[start : start + row["tokens"]].tolist(), skip_special_tokens=False)
            start += row["tokens"]
            yield document_id(text), row["raw"], text
        if start != len(ids):
            raise OSError(f"{work.ids.key} has {len(ids):,} tokens, its list of conversations {start:,}: fine-tune again")

    return match_texts(store, work.index, texts(), (WHOLE,), output)


def match_texts(store: Store, index: Done, texts: Iterable[Text], portions: tuple[Portion, ...], output: Output) -> JSON:
    """Write a row for each (item, portion) that shares n-grams with the texts: which n-grams, how many texts, and the first of them."""
    known = open_index(store.root, index)
    counts = {"documents": 0, "characters": 0, "matching": 0}
    found: dict[tuple[int, int], JSON] = {}
    for id, raw, text in texts:
        counts["documents"] += 1
        counts["characters"] += len(text)
        places = known.shared(text)
        if not len(places):
            continue
        counts["matching"] += 1
        own: dict[int, list[int]] = {}
        for place in places.tolist():
            for item in known.items_with(place).tolist():
                own.setdefault(item, []).append(place)
        for portion in (number for number, one in enumerate(portions) if is_within(id, one)):
            for item, shared in own.items():
                row = found.setdefault((item, portion), {"item": item, "portion": portion, "ngrams": set(), "documents": 0, "examples": []})
                row["ngrams"].update(shared)
                row["documents"] += 1
                row["examples"] = sorted([*row["examples"], [id, raw]])[:EXAMPLES]
    write_lines(output.scratch / MATCHES, (found[key] | {"ngrams": sorted(found[key]["ngrams"])} for key in sorted(found)))
    output.add(output.scratch / MATCHES, MATCHES)
    return counts


def is_within(id: str, portion: Portion) -> bool:
    """Tell whether a document's id lies in a portion [from, to) of the range of all ids, as batches are drawn."""
    low, high = portion
    return (low <= 0.0 or id >= f"{int(low * 16**ID_DIGITS):013x}") and (high >= 1.0 or id < f"{int(high * 16**ID_DIGITS):013x}")


def build_index(store: Store, work: tuple[list, int], output: Output) -> JSON:
    """Make the index of all items: the step's function. Return counts of n-grams and of items without one."""
    items, words = work
    index = ItemIndex.build(items, words)
    index.save(output.scratch / "index.npz")
    output.add(output.scratch / "index.npz", "index.npz")
    return {"ngrams": len(index.hashes), "sizes": index.sizes.tolist()}


_open: dict[str, Any] = {}  # the index that this process used last, by its digest


def open_index(root: str, index: Done) -> ItemIndex:
    """Open the index, once in a process."""
    if index.digest not in _open:
        _open.clear()
        _open[index.digest] = ItemIndex.load(index.path(open_store(root), "index.npz"))
    return _open[index.digest]
