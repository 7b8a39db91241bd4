"""Rendered conversations to files and to batches: one conversation is one unit, padded to the longest of its micro-batch."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from recipes.schema import SFT
from tasks.artifacts.manifest import JSON
from tasks.artifacts.token_streams import FlatFile
from tasks.model.decoder import Group
from tasks.runtime.progress import Progress
from tasks.sft.chats import read_chats
from tasks.sft.template import NOT_TRAINED, open_tokenizer, render

GROUPED_BATCHES = 16


def prepare(section: SFT, tokenizer_folder: Path, scratch: Path, add) -> tuple[JSON, JSON]:
    """Read, check and render all conversations into `ids.bin`, `labels.bin` (int32) and `starts.bin` (int64); return counts and details."""
    chats, read = read_chats(section)
    tokenizer = open_tokenizer(tokenizer_folder, section.template)
    ids: list[int] = []
    labels: list[int] = []
    starts = [0]
    cut = untrained = 0
    with Progress("render conversations", len(chats), "conversations") as progress:
        for messages in chats:
            row_ids, row_labels, was_cut = render(tokenizer, messages, section.max_tokens)
            progress.advance(1)
            cut += was_cut
            if all(label == NOT_TRAINED for label in row_labels):
                untrained += 1  # cut before the assistant spoke
                continue
            ids += row_ids
            labels += row_labels
            starts.append(len(ids))
    for name, values, kind in (("ids", ids, np.int32), ("labels", labels, np.int32), ("starts", starts, np.int64)):
        (scratch / name).write_bytes(np.asarray(values, dtype=kind).tobytes())
        add(scratch / name, f"{name}.bin")
    counts = {
        "conversations": len(starts) - 1, "tokens": len(ids), "trained_tokens": sum(label != NOT_TRAINED for label in labels),
        "cut": cut, "dropped_untrained": untrained,
    }  # fmt: skip
    return counts, {"read": dict(read), "template": section.template}


@dataclass(frozen=True)
class ChatBatches:
    """Batches of conversations, shuffled anew in each epoch by the seed."""

    seed: int
    conversations: int
    batch_conversations: int
    steps: int
    ids: FlatFile
    labels: FlatFile
    starts: FlatFile
    pad_id: int
    _open: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "_open"} | {"_open": {}}

    @property
    def units(self) -> int:
        """Conversations in a batch."""
        return self.batch_conversations

    @cached_property
    def order(self) -> np.ndarray:
        """Return the conversations of all steps, in order.

        Each epoch is shuffled; then, among GROUPED_BATCHES batches at a time, conversations of similar length go together, so that
        little of a batch is padding, and the batches are shuffled again.
        """
        lengths = np.diff(self._array("starts"))
        batch, epochs = self.batch_conversations, -(-self.steps * self.batch_conversations // self.conversations)
        shuffled = [np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(self.conversations) for epoch in range(epochs)]
        order = np.concatenate(shuffled)[: self.steps * batch]
        chance = np.random.Generator(np.random.PCG64([self.seed, epochs]))
        groups = []
        for start in range(0, len(order), GROUPED_BATCHES * batch):
            group = order[start : start + GROUPED_BATCHES * batch]
            batches = group[np.argsort(lengths[group], kind="stable")].reshape(-1, batch)
            groups.append(batches[chance.permutation(len(batches))].ravel())
        return np.concatenate(groups)

    def _array(self, name: str) -> np.ndarray:
        if name not in self._open:
            self._open[name] = getattr(self, name).numbers()
        return self._open[name]

    def _rows(self, step: int, units: list[int]) -> list[slice]:
        starts = self._array("starts")
        numbers = self.order[step * self.units : (step + 1) * self.units][units]
        return [slice(int(starts[number]), int(starts[number + 1])) for number in numbers]

    def describe(self, step: int, units: list[int]) -> list[JSON]:
        """Say which conversations some units of a batch are, by their place in the artifact."""
        return [{"unit": unit, "conversation": int(self.order[step * self.units + unit])} for unit in units]

    def targets(self, step: int) -> int:
        """Count the assistant tokens of a batch."""
        labels = self._array("labels")
        return int(sum((labels[row] != NOT_TRAINED).sum() for row in self._rows(step, list(range(self.units)))))

    def load(self, step: int, units: list[int]) -> list[Group]:
        """Load conversations as one group, padded."""
        rows = self._rows(step, units)
        longest = max(row.stop - row.start for row in rows)
        ids = torch.full((len(rows), longest), self.pad_id, dtype=torch.long)
        labels = torch.full((len(rows), longest), NOT_TRAINED, dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : row.stop - row.start] = torch.from_numpy(self._array("ids")[row].astype(np.int64))
            labels[number, : row.stop - row.start] = torch.from_numpy(self._array("labels")[row].astype(np.int64))
        return [Group(ids, labels)]
