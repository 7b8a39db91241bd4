"""A source, documents or conversations to what each checkpoint's own stage took of them: tokens, first and last step.

Exact: batches are functions of the step, so every visit is computed and nothing is estimated. Steps are counted as `reynard trace` does:
of pre-training through all stages, of fine-tuning from 1.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import documents_file, read_documents, shard_of_id
from tasks.lineage.graph import Graph, parents_of
from tasks.runtime.production import Reader
from tasks.sft.trace import ChatTrace
from tasks.training.trace import TrainedStage, batches_of


@dataclass(frozen=True)
class Seen:
    """What a stage took: input tokens, counted each time, and the steps of the first and the last of them."""

    tokens: int
    first_step: int
    last_step: int

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(self.tokens + other.tokens, min(self.first_step, other.first_step), max(self.last_step, other.last_step))


def total(parts: list[Seen]) -> Seen | None:
    """Add up what was taken; None if nothing was."""
    return sum(parts[1:], parts[0]) if parts else None


class Training:
    """The finished stages of a store, opened as they are asked for. LookupError if this code takes a stage's batches in another order."""

    def __init__(self, store: Store, graph: Graph) -> None:
        self.store, self.graph = store, graph
        self.stage, self.chat = lru_cache(None)(self._stage), lru_cache(None)(self._chat)

    def is_pretraining(self, manifest: Manifest) -> bool:
        """Tell whether a checkpoint is of a stage of pre-training."""
        return manifest.kind == "checkpoint" and "stage" in (manifest.identity.get("section") or {}) and "tokens" in parents_of(manifest)

    def is_chat(self, manifest: Manifest) -> bool:
        """Tell whether a checkpoint was fine-tuned."""
        return manifest.kind == "checkpoint" and "conversations" in parents_of(manifest)

    def _stage(self, place: str) -> TrainedStage:
        manifest = self.graph.manifests[place]
        tokens = Reader(self.store, self.graph.manifests[parents_of(manifest)["tokens"]])
        return TrainedStage(manifest, batches_of(manifest, tokens), tokens)

    def _chat(self, place: str) -> ChatTrace:
        return ChatTrace(self.store, self.graph.manifests[place])

    def of_sources(self, place: str, names: Collection[str]) -> Seen | None:
        """Return what a checkpoint's own stage took of some sources."""
        manifest = self.graph.manifests[place]
        if self.is_chat(manifest):
            chat = self.chat(place)
            first = [0, *chat.ends]
            numbers = [n for shard, row in enumerate(chat.shards) if row["from"] in names for n in range(first[shard], first[shard + 1])]
            return chat_seen(chat, numbers)
        if not self.is_pretraining(manifest):
            return None
        stage = self.stage(place)
        batches, found = stage.batches, []
        for number, entry in enumerate(batches.stage.mixture):
            if entry.source in names and (units := int(batches.order.counts[number])):
                first, last = (batches.order.number(number, at) // batches.units + stage.first_step + 1 for at in (0, units - 1))
                found.append(Seen(units * batches.unit_tokens, first, last))
        return total(found)

    def of_document(self, place: str, id: str) -> Seen | None:
        """Return what a checkpoint's own stage of pre-training took of a document."""
        if not self.is_pretraining(self.graph.manifests[place]):
            return None
        stage, found = self.stage(place), []
        for source, stream in stage.batches.streams.items():
            if (row := _document(stage.tokens, source, stream, id)) is None:
                continue
            shard, row = row
            start = stream.begin(shard) + row["start"]
            end = start + row["tokens"]
            for step, _, sequence in stage.batches.visits(source, start, end):
                tokens = min(sequence.start + sequence.tokens, end) - max(sequence.start, start)
                found.append(Seen(tokens, stage.first_step + step + 1, stage.first_step + step + 1))
        return total(found)

    def of_conversations(self, place: str, address: str) -> Seen | None:
        """Return what fine-tuning took of the conversations whose raw row has an address, or an address that ends so."""
        if not self.is_chat(self.graph.manifests[place]):
            return None
        chat = self.chat(place)
        try:
            return chat_seen(chat, chat.find(address))
        except LookupError:
            return None


def chat_seen(chat: ChatTrace, numbers: list[int]) -> Seen | None:
    """Return what fine-tuning took of some conversations: inputs, trained on or only shown."""
    batches, wanted = chat.batches, np.array(numbers, dtype=np.int64)
    taken, found = batches.steps * batches.batch_conversations, []
    for epoch in range(-(-taken // batches.conversations)) if numbers else ():
        places = epoch * batches.conversations + batches.epoch(epoch).place(wanted)
        inside = places < taken
        if inside.any():
            steps = places[inside] // batches.batch_conversations + 1
            found.append(Seen(int(batches.places[wanted[inside]].sum()), int(steps.min()), int(steps.max())))
    return total(found)


def _document(tokens: Reader, source: str, stream, id: str) -> tuple[int, JSON] | None:
    """Return the shard of a source's stream that holds a document, and its row there."""
    if not stream.first_ids:
        return None
    shard = shard_of_id(stream, id)
    rows = read_documents(tokens.path(documents_file(source, shard))) if stream.first_ids[shard] else []
    return next(((shard, row) for row in rows if row["id"] == id), None)
