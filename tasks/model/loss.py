"""Hidden states, the output matrix and targets to the summed loss, with the logits of only a few tokens in memory at any time.

The forward pass computes the gradients too, chunk by chunk, as Liger (arXiv 2410.10989) does: each chunk's logits turn into their own
gradient in place and are gone before the next chunk comes. The backward pass only multiplies by the scale it receives.
Shapes: N tokens, V vocabulary, D hidden.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # the label of a token that does not count
CHUNK_BYTES = 1 << 30  # of one chunk's logits in float32


def chunk_rows(vocabulary_size: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Return how many tokens' float32 logits fit into a chunk: a multiple of 128, which matrix kernels like, and at least that."""
    return max(chunk_bytes // (4 * vocabulary_size) // 128 * 128, 128)


def summed_loss(hidden: Tensor, weight: Tensor, targets: Tensor, chunk_bytes: int = CHUNK_BYTES) -> Tensor:
    """Sum the negative log-likelihood in nats of targets (N) given hidden states (N, D) and the output matrix (V, D).

    Logits are in the inputs' type, everything after them in float32, in which the weight's gradient is summed too. Targets of -100 do
    not count. The backward pass can run once.
    """
    return SummedLoss.apply(hidden, weight, targets, chunk_rows(len(weight), chunk_bytes), torch.is_grad_enabled())


def surprise(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss of a chunk's logits (N, V), and its gradient by them in their type; the logits are overwritten."""
    counted = (targets != IGNORED).unsqueeze(1)
    places = targets.clamp_min(0).unsqueeze(1)
    wide = logits.to(wide_type(logits))
    peak = wide.amax(1, keepdim=True)
    chosen = wide.gather(1, places) - peak
    wide.sub_(peak).exp_()
    total = wide.sum(1, keepdim=True)
    chosen = chosen - total.log()
    gradient = wide.mul_(counted / total).to(logits.dtype)
    gradient.scatter_(1, places, (chosen.expm1() * counted).to(logits.dtype))  # probability - 1
    return -(chosen * counted).sum(), gradient


@cache
def fused_surprise() -> Any:
    """Return `surprise` as one or two GPU kernels that hold no float32 logits."""
    return torch.compile(surprise, dynamic=True)


def wide_type(tensor: Tensor) -> torch.dtype:
    """Return float32, or float64 for a tensor that has it."""
    return torch.promote_types(tensor.dtype, torch.float32)


def add_product(total: Tensor, left: Tensor, right: Tensor, first: bool) -> None:
    """Add a matrix product to a total in float32, or set it where it is the first."""
    beta = 0 if first else 1
    if left.dtype == total.dtype:
        torch.addmm(total, left, right, beta=beta, out=total)
    elif left.is_cuda:
        torch.addmm(total, left, right, beta=beta, out_dtype=total.dtype, out=total)
    elif first:
        total.copy_(left @ right)
    else:
        total.add_(left @ right)


class SummedLoss(torch.autograd.Function):
    """`summed_loss` with its gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, rows: int, differentiate: bool) -> Tensor:
        """Sum over chunks of rows; keep the gradients in float32."""
        wide = wide_type(hidden)
        by_hidden = torch.empty_like(hidden, dtype=wide) if differentiate and ctx.needs_input_grad[0] else None
        by_weight = torch.empty_like(weight, dtype=wide) if differentiate and ctx.needs_input_grad[1] else None
        losses = []
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            logits = hidden[part] @ weight.T
            loss, gradient = (fused_surprise() if logits.is_cuda else surprise)(logits, targets[part])
            del logits
            losses.append(loss)
            if by_hidden is not None:
                add_product(by_hidden[part], gradient, weight, first=True)
            if by_weight is not None:
                add_product(by_weight, gradient.T, hidden[part], first=start == 0)
            del gradient
        ctx.gradients, ctx.types = (by_hidden, by_weight), (hidden.dtype, weight.dtype)
        return torch.stack(losses).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients in float32, in place, and round them once to the types of what they belong to."""
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the summed loss was differentiated twice: its gradients are scaled in place, so compute it again")
        scaled = [None if one is None else one.mul_(scale).to(kind) for one, kind in zip(gradients, ctx.types, strict=True)]
        return *scaled, None, None, None
