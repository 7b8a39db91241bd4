"""A DeepSpeed engine's state to this worker's part of a checkpoint, in the host's memory, while training stands still.

ZeRO divides the flat float32 state among the workers; a parameter belongs to the one that holds most of it. Each worker copies what it
holds of its own parameters, and gets the pieces of those that lie across a border from the workers that hold them: few, so that the
time is that of a copy. The memory is taken once and touched then (and pinned where there is a GPU): a copy into new pages takes five
times as long as one into pages that were used before.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from tasks.artifacts.tensors import shard_name

MOMENTS = ("exp_avg", "exp_avg_sq")
STATES = (None, *MOMENTS)  # DeepSpeed's keys: None is the float32 weights

Files = dict[str, dict[str, Tensor]]  # by name, the tensors of a file
Held = dict[str, tuple[int, int]]  # of a worker: by parameter, the first element that it holds, and how many


class Piece(NamedTuple):
    """Elements of a parameter that one worker holds."""

    name: str
    rank: int
    start: int
    elements: int


def trainable(engine) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the model's parameters that are trained, by name, in a fixed order."""
    return sorted((name, parameter) for name, parameter in engine.module.named_parameters() if parameter.requires_grad)


def held_here(engine) -> Held:
    """Return what this worker holds of every parameter's state (ZeRO 1 and 2)."""
    found = {}
    for name, parameter in trainable(engine):
        if parameter._hp_mapping is not None:
            address = parameter._hp_mapping.lp_fragment_address
            found[name] = (address.start, address.numel)
    return found


def owners(held: list[Held]) -> dict[str, int]:
    """Return the worker that each parameter belongs to: the one that holds most of it, the first of equals."""
    most: dict[str, Piece] = {}
    for piece in pieces(held):
        if piece.name not in most or piece.elements > most[piece.name].elements:
            most[piece.name] = piece
    return {name: piece.rank for name, piece in most.items()}


def pieces(held: list[Held]) -> Iterator[Piece]:
    """Go through what all workers hold, in an order that is the same on all of them."""
    for rank, own in enumerate(held):
        for name in sorted(own):
            yield Piece(name, rank, *own[name])


class Snapshot:
    """This worker's part of the state. Every rank makes one, and they take it together; until the next one the tensors stay as they are."""

    def __init__(self, engine, weights_kind: str) -> None:
        self.engine, self.rank, self.world = engine, distributed.get_rank(), distributed.get_world_size()
        self.weights_kind = weights_kind
        held: list[Held] = [{} for _ in range(self.world)]
        distributed.all_gather_object(held, held_here(engine))
        self.owner = owners(held)
        self.kept = [piece for piece in pieces(held) if piece.rank == self.rank == self.owner[piece.name]]
        self.crossing = [piece for piece in pieces(held) if piece.rank != self.owner[piece.name]]
        self.host = {key: self._memory(parameter) for key, parameter in self._mine()}

    def _mine(self) -> Iterator[tuple[tuple[str | None, str], torch.nn.Parameter]]:
        for state in STATES:
            for name, parameter in trainable(self.engine):
                if self.owner[name] == self.rank:
                    yield (state, name), parameter

    def _memory(self, parameter: torch.nn.Parameter) -> Tensor:
        pinned = self.engine.device.type == "cuda"
        return torch.empty(parameter.shape, dtype=torch.float32, device="cpu", pin_memory=pinned).zero_()

    def take(self) -> Files:
        """Copy the state as it is now; return this worker's files."""
        fragments = {name: parameter._hp_mapping for name, parameter in trainable(self.engine)}
        for state in STATES:
            for piece in self.kept:
                self._put(state, piece, fragments[piece.name].get_hp_fragment(state))
            self._exchange(state, fragments)
        if self.engine.device.type == "cuda":
            torch.cuda.current_stream(self.engine.device).synchronize()
        weights = {name: tensor for (state, name), tensor in self.host.items() if state is None}
        moments = {f"{state}/{name}": tensor for (state, name), tensor in self.host.items() if state is not None}
        return {shard_name(self.weights_kind, self.rank, self.world): weights, shard_name("optimizer", self.rank, self.world): moments}

    def _exchange(self, state: str | None, fragments: dict) -> None:
        """Send the pieces whose parameters belong to others, and receive those of this worker's."""
        sent = [piece for piece in self.crossing if piece.rank == self.rank]
        received = {
            piece: torch.empty(piece.elements, dtype=torch.float32, device=self.engine.device)
            for piece in self.crossing
            if self.owner[piece.name] == self.rank
        }
        operations = [
            distributed.P2POp(distributed.isend, fragments[piece.name].get_hp_fragment(state).detach(), self.owner[piece.name])
            for piece in sent
        ]
        operations += [distributed.P2POp(distributed.irecv, tensor, piece.rank) for piece, tensor in received.items()]
        for request in distributed.batch_isend_irecv(operations) if operations else []:
            request.wait()
        for piece, tensor in received.items():
            self._put(state, piece, tensor)

    def _put(self, state: str | None, piece: Piece, values: Tensor) -> None:
        target = self.host[state, piece.name].view(-1)[piece.start : piece.start + piece.elements]
        target.copy_(values.detach().view(-1), non_blocking=True)
