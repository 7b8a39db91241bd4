"""The most memory that a computation takes: of tensors at any size, without computing them, and of a process."""

import sys
import time
import weakref
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from benchmarks.machine import peak_bytes
from tasks.model.loss import summed_loss

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """All logits at once, then PyTorch's cross-entropy in float32."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=-100, reduction="sum")


class Live(TorchDispatchMode):
    """Counts the bytes of all storages that operations made and that are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak, self.known = 0, 0, weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {id(t.untyped_storage()) for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and id(tensor.untyped_storage()) not in given:
                storage = tensor.untyped_storage()
                if storage not in self.known:
                    self.known[storage] = size = storage.nbytes()
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, size)
        return result

    def _gone(self, size: int) -> None:
        self.now -= size


def tensor_peak(loss: Loss, tokens: int, vocabulary: int, hidden: int, dtype: torch.dtype) -> int:
    """Return the most bytes that a loss's forward and backward passes make beside their inputs."""
    with FakeTensorMode():
        states = torch.empty(tokens, hidden, dtype=dtype, requires_grad=True)
        weight = torch.empty(vocabulary, hidden, dtype=dtype, requires_grad=True)
        targets = torch.empty(tokens, dtype=torch.int64)
        with Live() as live:
            (loss(states, weight, targets) / 1000).backward()
    return live.peak


def main(name: str, tokens: int, vocabulary: int, hidden: int, chunk_bytes: int) -> None:
    """Print the megabytes that this process's peak grew by, and the seconds taken."""
    states = torch.randn(tokens, hidden, requires_grad=True)
    weight = torch.randn(vocabulary, hidden).mul_(0.05).requires_grad_()
    targets = torch.randint(0, vocabulary, (tokens,))
    before, begun = peak_bytes(), time.perf_counter()
    (plain(states, weight, targets) if name == "plain" else summed_loss(states, weight, targets, chunk_bytes)).backward()
    grown = (peak_bytes() - before) / 1e6
    print(grown, time.perf_counter() - begun)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
