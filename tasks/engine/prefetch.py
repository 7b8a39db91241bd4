"""A worker's micro-batches, read, checked and hashed by a thread while the one before is computed on."""

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from types import TracebackType
from typing import NamedTuple

import numpy as np

from tasks.artifacts.token_streams import targets_hash
from tasks.engine.background import persist
from tasks.engine.job import Batches
from tasks.model.decoder import Group

NOT_A_TARGET = -100
AHEAD = 2  # micro-batches


class MicroBatch(NamedTuple):
    """Groups of sequences, and a hash of their target tokens."""

    groups: list[Group]
    targets: int


def target_pieces(group: Group) -> Iterator[np.ndarray]:
    """Cut a group's targets into what is hashed: rows, or documents where attention stops at their borders, however these are packed."""
    for number, row in enumerate(group.labels.numpy()):
        borders = [] if group.positions is None else np.flatnonzero(group.positions[number].numpy()[1:] == 0) + 1
        for piece in np.split(row, borders):
            if len(wanted := piece[piece != NOT_A_TARGET]):
                yield wanted


class Prefetch:
    """Loads the micro-batches of steps in order. A store that does not answer is waited for; what else loading raises is raised by `take`."""

    def __init__(self, batches: Batches, steps: Sequence[int], parts: list[list[int]], pinned: bool) -> None:
        """Load the `parts` (units of a micro-batch) of every one of the steps; `pinned` memory is copied to a GPU without waiting."""
        self.batches, self.steps, self.parts, self.pinned = batches, steps, parts, pinned
        self.loaded: queue.Queue[MicroBatch | BaseException] = queue.Queue(AHEAD)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._load_all, daemon=True)

    def take(self) -> MicroBatch:
        """Return the next micro-batch."""
        item = self.loaded.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _load_all(self) -> None:
        try:
            for step, units in product(self.steps, self.parts):
                groups = persist(partial(self.batches.load, step, units))
                targets = targets_hash(piece for group in groups for piece in target_pieces(group))
                self._put(MicroBatch([self._pin(group) for group in groups], targets))
                if self.ended.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: MicroBatch | BaseException) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(queue.Full):
                return self.loaded.put(item, timeout=0.5)

    def _pin(self, group: Group) -> Group:
        return Group(*(tensor if tensor is None or not self.pinned else tensor.pin_memory() for tensor in group))

    def __enter__(self) -> "Prefetch":
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended.set()
        self.thread.join()
