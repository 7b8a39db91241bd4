"""One implementation of a model in a process of its own, to the row that its training steps give: the child side of the benchmark.

    python -m benchmarks.training_steps benchmarks.peers.training:litgpt SPEC.json

Needs torch, numpy and safetensors alone. All contenders get the same first weights, batches, optimizer (AdamW with float32 weights and
moments, gradients clipped at norm 1) and clock. Data: every second token is a random one of 4,096, the next follows from it, so that a
model can learn half of them.
"""

import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import peak_bytes

Spec = dict[str, Any]
KINDS = {"bfloat16": torch.bfloat16, "float32": torch.float32}
SYMBOLS = 4096
LEARNING_RATE, WARM_UP_STEPS = 3e-4, 50


@dataclass
class Contestant:
    """A network on its device, and how it turns ids and labels (B, T) into the mean loss."""

    network: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]


def batch(spec: Spec, step: int) -> tuple[Tensor, Tensor]:
    """Return ids and labels (B, T) of a step: the same for all contenders."""
    generator = torch.Generator().manual_seed(step)
    symbols = min(SYMBOLS, spec["model"]["vocabulary_size"])
    chosen = torch.randint(0, symbols, (spec["sequences"], spec["tokens"] // 2 + 1), generator=generator)
    ids = torch.stack([chosen, (chosen * 31 + 7) % symbols], dim=-1).flatten(1)
    return ids[:, : spec["tokens"]].to(spec["device"]), ids[:, 1 : spec["tokens"] + 1].contiguous().to(spec["device"])


class Updates:
    """AdamW on float32 copies of the parameters, which get the rounded result."""

    def __init__(self, network: nn.Module, device: str) -> None:
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.wide = [parameter.detach().clone().float() for parameter in self.parameters]
        if self.parameters[0].dtype == torch.float32:
            self.wide = self.parameters
        self.optimizer = torch.optim.AdamW(
            self.wide, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=device == "cuda", foreach=False if device == "cpu" else None
        )  # fmt: skip

    def apply(self, step: int) -> None:
        """Take one optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / WARM_UP_STEPS, 1.0)
        if self.wide is not self.parameters:
            for wide, parameter in zip(self.wide, self.parameters, strict=True):
                wide.grad, parameter.grad = parameter.grad.float(), None
        nn.utils.clip_grad_norm_(self.wide, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.wide is not self.parameters:
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.wide)


def forget_peak(device: str) -> float:
    """Start to watch the peak memory anew; return the megabytes that are not to count."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return 0.0
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak of resident memory becomes what is resident now
    return peak_megabytes(device)


def peak_megabytes(device: str) -> float:
    """Return the most memory that tensors took on a GPU, or this process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_bytes() / 1e6


def measure(contestant: Contestant, spec: Spec) -> dict[str, Any]:
    """Train for `warm_up` + `steps` steps; time the latter. On a CPU memory is what the process grew by, without the first weights."""
    device = spec["device"]
    before = forget_peak(device)
    updates = Updates(contestant.network, device) if spec["update"] else None
    now = time.process_time if device == "cpu" else time.perf_counter  # one thread's CPU time: what else runs there does not count
    losses, seconds, begun = [], [], time.perf_counter()
    for step in range(spec["warm_up"] + spec["steps"]):
        if step == spec["warm_up"]:
            start = time.perf_counter() - begun
        given = batch(spec, step)
        clock = now()
        loss = contestant.loss(*given)
        loss.backward()
        if updates:
            updates.apply(step)
        else:
            contestant.network.zero_grad(set_to_none=True)
        losses.append(loss.item())  # waits for the device
        if device == "cuda":
            torch.cuda.synchronize()
        if step >= spec["warm_up"]:
            seconds.append(now() - clock)
    middle = statistics.median(seconds)
    return {
        "seconds_per_step": middle, "seconds_per_step_least": min(seconds), "seconds_per_step_most": max(seconds),
        "tokens_per_second": spec["sequences"] * spec["tokens"] / middle, "peak_megabytes": peak_megabytes(device) - before, "start_seconds": start,
        "losses": losses if len(losses) <= 50 else losses[:: len(losses) // 50] + losses[-1:], "torch": torch.__version__,
    }  # fmt: skip


def main(target: str, spec_file: str) -> None:
    """Build a contender (`module:function`), measure it, and write its row beside the spec file, as `row.json`."""
    path = Path(spec_file)
    spec = json.loads(path.read_text())
    torch.manual_seed(0)
    if spec["device"] == "cpu":
        torch.set_num_threads(1)
    module, function = target.split(":")
    contestant = getattr(importlib.import_module(module), function)(spec)
    (path.parent / "row.json").write_text(json.dumps(measure(contestant, spec)))


if __name__ == "__main__":
    main(*sys.argv[1:])
