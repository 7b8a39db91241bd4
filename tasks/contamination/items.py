"""Cards of answered benchmarks to the items they consist of: what training data is searched for.

An item is a document of a benchmark as lm-evaluation-harness reads it; it is taken from a card's own rows, so that its number there and
here is the same. Every string in it counts, as in curation's decontamination.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.artifacts.documents import read_lines
from tasks.artifacts.manifest import JSON, Manifest, digest_of, read_manifest
from tasks.artifacts.store import Store
from tasks.curation.decontamination import strings_of
from tasks.runtime.production import Reader

CARD, SAMPLES = "card", "samples.jsonl.zst"


@dataclass(frozen=True)
class BenchmarkItem:
    """An item by its task and number there; `doc_hash` is the harness's own."""

    task: str
    doc_id: int
    doc_hash: str
    texts: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int]:
        """What names the item in a task's rows."""
        return self.task, self.doc_id


def cards_of(store: Store, scores: Iterable[Manifest]) -> list[Manifest]:
    """Return the cards behind scores, each once; OSError if one is not in the store any more."""
    names = dict.fromkeys(row["card"] for manifest in scores for row in manifest.details["benchmarks"])
    found = {name: read_manifest(store, f"{CARD}/{name.rpartition('@')[2]}") for name in names}
    for name, card in found.items():
        if card is None:
            raise OSError(f"{name} is not (or no longer) in the artifact store {store.root}: evaluate again to make it")
    return [card for card in found.values() if card is not None]


def rows_of(store: Store, card: Manifest) -> Iterable[JSON]:
    """Read a card's rows: one for each item, with its document, prompts, answers and metrics."""
    return read_lines(Reader(store, card).path(SAMPLES))


def read_items(store: Store, cards: Iterable[Manifest]) -> list[BenchmarkItem]:
    """Return the items of all cards, each once, in order of task and number; ValueError if two cards disagree on one."""
    found: dict[tuple[str, int], BenchmarkItem] = {}
    for card in cards:
        for row in rows_of(store, card):
            item = BenchmarkItem(row["task"], row["doc_id"], row["doc_hash"], tuple(strings_of(row["doc"])))
            if found.setdefault(item.key, item).doc_hash != item.doc_hash:
                raise ValueError(
                    f"item {item.doc_id} of {item.task} has two texts among the cards: they were made from different data sets"
                )
    return [found[key] for key in sorted(found)]


def items_digest(items: Iterable[BenchmarkItem]) -> str:
    """Return the hex sha256 of which items there are, and of their texts."""
    return digest_of([[item.task, item.doc_id, item.doc_hash, list(item.texts)] for item in items])
