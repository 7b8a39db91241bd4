"""A chat model to which conversations it learnt from at which step, and back: computed from its manifests, read from the store alone."""

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

import numpy as np
import orjson

from recipes.errors import BadInput
from tasks.artifacts.documents import read_lines
from tasks.artifacts.lineage import ancestors
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.artifacts.token_streams import STREAMS
from tasks.runtime.production import Reader
from tasks.sft.conversations import ChatBatches, open_conversations
from tasks.sft.rendering import rows_file

SHARDS_HELD = 64


@dataclass
class ChatTrace:
    """All that a chat model learnt from. Steps count from 1 in fine-tuning, conversations from 0 in their artifact."""

    store: Store
    model: Manifest
    checkpoint: Manifest = field(init=False)
    conversations: Reader = field(init=False)
    batches: ChatBatches = field(init=False)

    def __post_init__(self) -> None:
        every = ancestors(self.store, self.model)
        found = [one for one in every if one.kind == "checkpoint" and "conversations" in one.identity.get("parent_artifacts", {})]
        if not found:
            raise BadInput(
                f"{self.model.name}@{self.model.version[:8]} is no chat model: it was never fine-tuned, so trace it without --sft"
            )
        self.checkpoint = found[0]
        version = self.checkpoint.identity["parent_artifacts"]["conversations"]["version"]
        self.conversations = Reader(self.store, next(one for one in every if one.kind == "conversations" and one.version == version))
        self.batches = self._batches()
        self.shards = list(read_lines(self.conversations.path(STREAMS)))
        self.ends = list(accumulate(shard["conversations"] for shard in self.shards))
        self.rows = lru_cache(SHARDS_HELD)(lambda shard: list(read_lines(self.conversations.path(rows_file(shard)))))

    def _batches(self) -> ChatBatches:
        """Return the batches that were trained on; LookupError if this code takes them in another order."""
        section, details, made = self.checkpoint.identity["section"], self.checkpoint.details, self.conversations.manifest
        sha256 = {entry.path: entry.sha256 for entry in made.files}
        opened = open_conversations(self.store.root, self.conversations.folder, self.conversations.path(STREAMS), sha256)
        stream, lengths, targets = opened
        batches = ChatBatches(
            seed=section["seed"], batch_conversations=section["sft"]["batch_conversations"], steps=details["stage_steps"],
            max_tokens=section["sft"]["max_tokens"], workers=details["world_size"], rows_at_once=1, stream=stream, lengths=lengths,
            targets_of=targets,
        )  # fmt: skip
        if batches.fingerprint() != details.get("order"):
            raise LookupError(
                f"{self.checkpoint.name}@{self.checkpoint.version[:8]} was trained by a version of this code that took conversations in another "
                f"order: trace it with commit {self.checkpoint.recorded.get('commit', 'unknown')}"
            )
        return batches

    def conversation(self, number: int) -> JSON:
        """Return what is known of a conversation, and the steps that took it; LookupError if there is none of that number."""
        if not 0 <= number < self.batches.conversations:
            raise LookupError(f"there is no conversation {number}: they count from 0 to {self.batches.conversations - 1:,}")
        return self._told(number) | {"steps": [step + 1 for step in self.batches.visits(number)]}

    def find(self, raw: str) -> list[int]:
        """Return the conversations whose raw row has an address that ends with `raw`; LookupError if none has."""
        first = np.concatenate([[0], self.ends]).tolist()
        found = [
            first[shard] + n for shard in range(len(self.shards)) for n, row in enumerate(self.rows(shard)) if row["raw"].endswith(raw)
        ]
        if not found:
            raise LookupError(f"no conversation was read from {raw!r}, or it was left out: the conversations' panel counts these by reason")
        return found

    def step(self, step: int) -> JSON:
        """Return a step's conversations and its row of the journal; LookupError if there is no such step.

        It is `verified` if the hash that the journal took of the trained tokens is that of the tokens told here.
        """
        if not 1 <= step <= self.batches.steps:
            raise LookupError(f"there is no step {step} of fine-tuning: it has steps 1 to {self.batches.steps:,}")
        lines = self.store.read(f"checkpoint/{self.checkpoint.version}/journal.jsonl").splitlines()
        journal = next((row for row in map(orjson.loads, lines) if int(row["step"]) == step), {})
        numbers = self.batches.numbers(step - 1).tolist()
        return {
            "step": step, "steps": self.batches.steps, "verified": f"{self.batches.targets_hash(step - 1):016x}" == journal.get("targets"),
            "checkpoint": f"{self.checkpoint.name}@{self.checkpoint.version[:8]}", "journal": journal,
            "conversations": [self._told(number) for number in numbers],
        }  # fmt: skip

    def _told(self, number: int) -> JSON:
        shard = bisect_right(self.ends, number)
        row = self.rows(shard)[number - (self.ends[shard - 1] if shard else 0)]
        return {"conversation": number, "source": self.shards[shard]["from"]} | row
