"""Rendered conversations to the batches of fine-tuning: the conversations of any step, packed into rows, a pure function of the step.

A step has `batch_conversations` of them, by a permutation that is another one in each epoch: there is no position to lose. They are
packed into rows (`packing.py`), and rows are what is dealt to workers; a row is several documents, at whose borders attention stops and
positions begin again, so that a conversation's loss is the same as alone. How many rows there are depends on the workers that share
them; which conversations a step has, and its loss, do not.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from tasks.artifacts.manifest import JSON, digest_of
from tasks.artifacts.token_streams import FlatFile, Stream, targets_hash
from tasks.curriculum.permutation import Permutation
from tasks.model.decoder import Group
from tasks.sft.packing import Packing, alike, pack
from tasks.sft.rendering import TRAINED
from tasks.sft.template import NOT_TRAINED

PACKINGS_HELD = 8
EFFICIENCY_STEPS = 1000
FINGERPRINT_STEPS = 16


@dataclass(frozen=True)
class ChatBatches:
    """Batches of conversations. Picklable: files are opened where they are used."""

    seed: int
    batch_conversations: int
    steps: int
    max_tokens: int  # of a row
    workers: int  # that share a step's rows equally
    rows_at_once: int  # that a worker takes, if it has as many
    stream: Stream  # of ids, whose top bit says that they are trained on
    lengths: FlatFile  # tokens of each conversation, one more than it has places: the last is only a target
    targets_of: FlatFile  # trained tokens of each

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"units": self.units}

    @cached_property
    def units(self) -> int:
        """Rows in every batch, empty ones included: as many as the fullest step needs, dealt to workers in equal parts."""
        share = max(len(self.packing(step).tokens) for step in range(self.steps)) // self.workers
        if share > self.rows_at_once:
            share = -(-share // self.rows_at_once) * self.rows_at_once
        return share * self.workers

    @property
    def unit_tokens(self) -> int:
        """The most tokens of a row."""
        return self.max_tokens

    # --- which conversations ---

    @property
    def conversations(self) -> int:
        """Conversations there are; each comes once in an epoch."""
        return len(self.places)

    @cached_property
    def places(self) -> np.ndarray:
        """The places that each conversation takes in a row: inputs, each with the next token as its target."""
        return self.lengths.numbers().astype(np.int64) - 1

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each conversation begins in the stream, and at last its end."""
        return np.concatenate([[0], np.cumsum(self.places + 1)])

    def epoch(self, number: int) -> Permutation:
        """Return the order of an epoch (from 0)."""
        return Permutation(self.conversations, f"{self.seed}/sft/{number}")

    def numbers(self, step: int) -> np.ndarray:
        """Return the conversations of a step, by their place in the artifact."""
        epochs, within = np.divmod(np.arange(step * self.batch_conversations, (step + 1) * self.batch_conversations), self.conversations)
        return np.concatenate([self.epoch(one).take(within[epochs == one]) for one in np.unique(epochs).tolist()])

    def visits(self, conversation: int) -> list[int]:
        """Return the steps (from 0) that take a conversation."""
        epochs = -(-self.steps * self.batch_conversations // self.conversations)
        places = [one * self.conversations + int(self.epoch(one).place(np.array([conversation]))[0]) for one in range(epochs)]
        return [place // self.batch_conversations for place in places if place < self.steps * self.batch_conversations]

    def packing(self, step: int) -> Packing:
        """Return the rows of a step's conversations."""
        return pack(self.places[self.numbers(step)], self.max_tokens, self.workers)

    def efficiency(self) -> float:
        """Return the share of the computed places that conversations fill; the rest pads rows. Of long stages a sample is looked at."""
        filled = computed = 0
        share = self.units // self.workers
        for step in np.unique(np.linspace(0, self.steps - 1, EFFICIENCY_STEPS).astype(np.int64)).tolist():
            tokens = self.packing(step).tokens
            filled += int(tokens.sum())
            for rank in range(self.workers):
                for first in range(0, share, min(share, self.rows_at_once)):
                    mine = [size for size in tokens[rank :: self.workers][first : first + self.rows_at_once].tolist() if size]
                    computed += sum(len(group) * mine[group[0]] for group in alike(mine)) or 1
        return filled / computed

    def row(self, step: int, unit: int) -> list[int]:
        """Return the conversations of a row, in order."""
        numbers, packing = self._held(step)
        return numbers[packing.row_of == unit].tolist()

    @cached_property
    def _held(self):
        return lru_cache(PACKINGS_HELD)(lambda step: (self.numbers(step), self.packing(step)))

    def fingerprint(self) -> str:
        """Hash the conversations of FINGERPRINT_STEPS batches: whoever computes the order again can tell if it is the same."""
        steps = np.unique(np.linspace(0, self.steps - 1, FINGERPRINT_STEPS).astype(np.int64)).tolist()
        return digest_of([[step, self.numbers(step).tolist()] for step in steps])

    def targets(self, step: int) -> int:
        """Count the assistant tokens of a batch."""
        return int(self._targets[self.numbers(step)].sum())

    @cached_property
    def _targets(self) -> np.ndarray:
        return self.targets_of.numbers()

    def describe(self, step: int, units: list[int]) -> list[JSON]:
        """Say which conversations some rows of a batch hold, by their place in the artifact."""
        return [{"unit": unit, "conversations": self.row(step, unit)} for unit in units]

    # --- the tokens themselves ---

    def tokens(self, conversations: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return ids and labels (int64) of conversations; OSError if tokens are not what was sealed."""
        found = []
        for told in self.stream.read((int(self.starts[n]), int(self.starts[n + 1])) for n in conversations):
            ids = (told & ~TRAINED).astype(np.int64)
            found.append((ids[:-1], np.where(told[1:] & TRAINED, ids[1:], NOT_TRAINED)))
        return found

    def targets_hash(self, step: int) -> int:
        """Hash the trained tokens of a batch, as the journal does when it has trained on them."""
        return targets_hash(np.ascontiguousarray(labels[labels != NOT_TRAINED]) for _, labels in self.tokens(self.numbers(step).tolist()))

    def load(self, step: int, units: list[int]) -> list[Group]:
        """Load rows in groups of nearly one length; a token of padding stands for rows without a conversation, if there are no others."""
        rows = sorted((row for row in (self.row(step, unit) for unit in units) if row), key=lambda row: -self.places[row].sum())
        flat = [number for row in rows for number in row]
        tokens = dict(zip(flat, self.tokens(flat), strict=True))
        together = alike([int(self.places[row].sum()) for row in rows]) or [[]]
        return [padded([[tokens[number] for number in rows[place]] for place in group]) for group in together]


def padded(rows: list[list[tuple[np.ndarray, np.ndarray]]]) -> Group:
    """Lay conversations (ids, labels) end to end in their rows. Each token of padding is a document of its own, and no target."""
    import torch

    longest = max((sum(len(ids) for ids, _ in row) for row in rows), default=1)
    ids = np.zeros((max(len(rows), 1), longest), dtype=np.int64)
    labels, positions = np.full_like(ids, NOT_TRAINED), np.zeros_like(ids)
    for place, row in enumerate(rows):
        end = 0
        for own, wanted in row:
            here = slice(end, end + len(own))
            ids[place, here], labels[place, here], positions[place, here] = own, wanted, np.arange(len(own))
            end += len(own)
    return Group(torch.from_numpy(ids), torch.from_numpy(labels), torch.from_numpy(positions))


def open_conversations(store: str, folder: str, table: Path, sha256: dict[str, str]) -> tuple[Stream, FlatFile, FlatFile]:
    """Open a conversations artifact: its stream of ids, from a local copy of `streams.jsonl.zst`, and lengths and targets."""
    from tasks.artifacts.token_streams import open_streams
    from tasks.sft.rendering import SOURCE

    stream = open_streams(store, folder, table, np.dtype(np.uint32), [SOURCE])[SOURCE]
    lengths, targets = (FlatFile(store, f"{folder}/{name}.bin", sha256[f"{name}.bin"], "uint32") for name in ("lengths", "targets"))
    return stream, lengths, targets
