"""Hidden states and a mask to attention's output: rotary positions, what each token may see, and the kernel that computes it.

A mask is made once for all blocks: None for plain causality, a dense tensor, or on a GPU a BlockMask, for which FlexAttention
(arXiv 2412.05496) skips blocks of tokens that see nothing of each other. Shapes: B sequences, T tokens, H query heads, K key/value
heads, S head size.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from recipes.schema import Model

Mask = Tensor | BlockMask | None


def rotary_tables(tokens: int, head_size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make cosines and sines of shape (T, S) in float32 (arXiv 2104.09864, half-rotation layout)."""
    frequency = theta ** -(torch.arange(0, head_size, 2, dtype=torch.float32, device=device) / head_size)
    angle = torch.outer(torch.arange(tokens, dtype=torch.float32, device=device), frequency)
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate heads (B, H, T, S) by position."""
    left, right = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-right, left], dim=-1) * sin).to(x.dtype)


def attention_mask(tokens: int, window: int | None, positions: Tensor | None, device: torch.device) -> Mask:
    """Make the mask of causal attention over the last `window` tokens, within documents if there are positions (B, T) that restart.

    None where plain causality says the same.
    """
    if positions is None and (window is None or window >= tokens):
        return None
    return (block_mask if device.type == "cuda" else dense_mask)(tokens, window, positions, device)


def dense_mask(tokens: int, window: int | None, positions: Tensor | None, device: torch.device) -> Tensor:
    """Make the mask as a tensor: (T, T), or (B, 1, T, T) within documents."""
    distance = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens, device=device)[None, :]
    seen = (distance >= 0) & (distance < (window or tokens))
    if positions is None:
        return seen
    document = (positions == 0).cumsum(-1)
    return (seen & (document[:, :, None] == document[:, None, :])).unsqueeze(1)


def block_mask(tokens: int, window: int | None, positions: Tensor | None, device: torch.device) -> BlockMask:
    """Make the same mask as blocks of 128 x 128 tokens: memory grows with (T / 128)^2."""
    reach = window or tokens
    document = None if positions is None else (positions == 0).cumsum(-1)

    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = (query >= key) & (query - key < reach)
        return near if document is None else near & (document[b, query] == document[b, key])

    make = compiled(create_block_mask) if device.type == "cuda" else create_block_mask
    return make(seen, None if document is None else len(document), None, tokens, tokens, device=device)


@cache
def compiled(function: Any) -> Any:
    """Compile a function, once a process."""
    return torch.compile(function)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Attend with queries (B, H, T, S) to keys and values (B, K, T, S), which equal groups of heads share."""
    shared = q.shape[1] != k.shape[1]
    if isinstance(mask, BlockMask):
        return (compiled(flex_attention) if q.is_cuda else flex_attention)(q, k, v, block_mask=mask, enable_gqa=shared)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=shared)


class Attention(nn.Module):
    """Grouped-query causal attention, optionally over a sliding window."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = model.heads, model.kv_heads, model.head_size
        self.q_proj = nn.Linear(model.hidden_size, model.heads * model.head_size, bias=False)
        self.k_proj = nn.Linear(model.hidden_size, model.kv_heads * model.head_size, bias=False)
        self.v_proj = nn.Linear(model.hidden_size, model.kv_heads * model.head_size, bias=False)
        self.o_proj = nn.Linear(model.heads * model.head_size, model.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask) -> Tensor:
        sequences, tokens, _ = x.shape
        q = self.q_proj(x).view(sequences, tokens, self.heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(sequences, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(sequences, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        y = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
        return self.o_proj(y.transpose(1, 2).reshape(sequences, tokens, -1))
