"""A chat checkpoint and the scores of both checkpoints to the contamination artifact and the scores without overlapping items."""

from dataclasses import dataclass

from recipes.schema import Contamination, Pretraining
from tasks.artifacts.documents import read_lines, write_lines
from tasks.artifacts.handles import Checkpoint, Handle, Run, Scores
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON, Manifest, canonical
from tasks.artifacts.store import Store, open_store
from tasks.contamination.clean import clean_scores
from tasks.contamination.items import BenchmarkItem, cards_of, items_digest, read_items
from tasks.contamination.overlap import SFT, Drawn, index_items, overlaps, scan_chats, scan_sources
from tasks.contamination.scan import WHOLE
from tasks.runtime.production import Production, Reader, handle_of, load_manifest
from tasks.runtime.steps import Steps

ITEMS, FOLDER, CODE = "items.jsonl.zst", "working/contamination", "tasks.contamination"
EXAMPLES = 20  # of overlapping items that a report shows


@dataclass(frozen=True)
class TrainedOn:
    """The artifacts that a chat checkpoint was made from, as far as they hold text."""

    documents: Manifest
    tokens: Manifest
    conversations: Manifest
    chat: Manifest

    @classmethod
    def of(cls, store: Store, chat: Manifest) -> "TrainedOn":
        """Find them in the checkpoint's lineage."""
        nearest: dict[str, Manifest] = {}
        for manifest in ancestors(store, chat):
            nearest.setdefault(manifest.kind, manifest)
        return cls(nearest["documents"], nearest["tokens"], nearest["conversations"], chat)


def drawn_by(pretraining: Pretraining) -> list[Drawn]:
    """Return what each stage draws from which source."""
    return [
        Drawn(stage.name, entry.source, (entry.portion[0], entry.portion[1]) if entry.portion else WHOLE)
        for stage in pretraining.stages
        for entry in stage.mixture
    ]


def overlap_identity(words: int, items: list[BenchmarkItem], drawn: list[Drawn]) -> JSON:
    """Return what decides the contamination artifact besides its parents."""
    return {"ngram_words": words, "items": items_digest(items), "drawn": [[one.stage, one.source, list(one.portion)] for one in drawn]}


def clean_identity(section: Contamination) -> JSON:
    """Return what decides the scores without overlapping items besides their parents."""
    return {"declared": [use.model_dump() for use in section.declared]}


def find_overlap(run: Run, words: int, items: list[BenchmarkItem], drawn: list[Drawn], data: TrainedOn, workers: int) -> Production:
    """Return the contamination artifact, found or made: a row for each benchmark item with where it overlaps."""
    store = open_store(run.store)
    section = overlap_identity(words, items, drawn)
    parents = {"tokens": handle_of(store, data.tokens, Handle), "conversations": handle_of(store, data.conversations, Handle)}
    with Production(run, "contamination", "contamination", section, parents, CODE) as made:
        if made.needed:
            steps = Steps(store, FOLDER, workers)
            index = index_items(steps, items, words)
            parts = scan_sources(steps, index, data.documents, data.tokens, drawn)
            chats = scan_chats(steps, index, data.conversations, data.chat)
            every = [*drawn, *(Drawn(SFT, part.source, WHOLE) for part in chats)]
            rows, counts, details = overlaps(store, items, index, [*parts, *chats], every)
            write_lines(made.scratch / ITEMS, rows)
            made.add_file(made.scratch / ITEMS, ITEMS)
            made.seal(counts, details | {"ngram_words": words}, {"step_seconds": steps.seconds})
            steps.forget(keep=())
    return made


def find_clean_scores(
    run: Run, section: Contamination, pretraining: Pretraining, chat: Checkpoint, scores: list[Scores], workers: int
) -> Production:  # fmt: skip
    """Return the scores with and without overlapping items, found or made, and before them the contamination artifact."""
    store = open_store(run.store)
    scored = [load_manifest(run, one) for one in scores]
    items = read_items(store, cards_of(store, scored))
    data = TrainedOn.of(store, load_manifest(run, chat))
    found = find_overlap(run, section.ngram_words, items, drawn_by(pretraining), data, workers)
    parents = {"contamination": found.handle(Handle)} | {one.checkpoint: one for one in scores}
    with Production(run, "clean_scores", "clean-scores", clean_identity(section), parents, CODE) as made:
        if made.needed:
            assert found.manifest is not None
            rows = list(read_lines(Reader(store, found.manifest).path(ITEMS)))
            seen = {(row["task"], row["doc_id"]): list(row["stages"]) for row in rows if row["stages"]}
            benchmarks = [row for manifest in scored for row in clean_scores(store, manifest, seen, section.declared)]
            made.add_text("benchmarks.json", canonical({"benchmarks": benchmarks}))
            made.seal(found.manifest.counts, found.manifest.details | {"benchmarks": benchmarks, "examples": examples(rows, items)})
    return made


def examples(rows: list[JSON], items: list[BenchmarkItem]) -> list[JSON]:
    """Return the overlapping items that share most, with the beginning of their text and the documents that have it."""
    pairs = [(row, item) for row, item in zip(rows, items, strict=True) if row["stages"]]
    pairs.sort(key=lambda pair: (-max(pair[0]["stages"].values()), pair[1].key))
    return [row | {"text": max(item.texts, key=len)[:600]} for row, item in pairs[:EXAMPLES]]
