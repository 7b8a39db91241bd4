"""Token ids to next-token loss: the one decoder of both reports (Llama/Mistral family).

Parameter names are those of `transformers`' LlamaForCausalLM and MistralForCausalLM, so that an export renames nothing.
Shapes: B sequences, T tokens, V vocabulary, D hidden, H query heads, K key/value heads, S head size.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recipes.schema import Model

LOSS_CHUNK_TOKENS = 4096


class Group(NamedTuple):
    """Sequences of one length: ids and labels (B, T) int64. `labels[:, t]` is the token that follows `ids[:, t]`; -100 does not count.

    With positions (B, T), which restart from 0 at each document, attention stops at the borders of documents.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor | None = None

    def to(self, device: torch.device) -> "Group":
        """Move to a device."""
        return Group(*(None if tensor is None else tensor.to(device) for tensor in self))


class RMSNorm(nn.Module):
    """Scale to unit root mean square in float32, then by a learned weight (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


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


def attention_mask(tokens: int, window: int | None, positions: Tensor | None, device: torch.device) -> Tensor | None:
    """Make the mask of causal attention over the last `window` tokens (T, T), within documents (B, 1, T, T) if positions restart.

    None where plain causality says the same.
    """
    if positions is None and (window is None or window >= tokens):
        return None
    distance = torch.arange(tokens, device=device)[:, None] - torch.arange(tokens, device=device)[None, :]
    seen = (distance >= 0) & (distance < (window or tokens))
    if positions is None:
        return seen
    document = (positions == 0).cumsum(-1)
    return (seen & (document[:, :, None] == document[:, None, :])).unsqueeze(1)


class Attention(nn.Module):
    """Grouped-query causal attention, optionally over a sliding window."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = model.heads, model.kv_heads, model.head_size
        self.q_proj = nn.Linear(model.hidden_size, model.heads * model.head_size, bias=False)
        self.k_proj = nn.Linear(model.hidden_size, model.kv_heads * model.head_size, bias=False)
        self.v_proj = nn.Linear(model.hidden_size, model.kv_heads * model.head_size, bias=False)
        self.o_proj = nn.Linear(model.heads * model.head_size, model.hidden_size, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        sequences, tokens, _ = x.shape
        q = self.q_proj(x).view(sequences, tokens, self.heads, self.head_size).transpose(1, 2)
        k = self.k_proj(x).view(sequences, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        v = self.v_proj(x).view(sequences, tokens, self.kv_heads, self.head_size).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        shared = self.heads != self.kv_heads
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=shared)
        return self.o_proj(y.transpose(1, 2).reshape(sequences, tokens, -1))


class SwiGLU(nn.Module):
    """Gated feed-forward block (arXiv 2002.05202)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(model.hidden_size, model.intermediate_size, bias=False)
        self.up_proj = nn.Linear(model.hidden_size, model.intermediate_size, bias=False)
        self.down_proj = nn.Linear(model.intermediate_size, model.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and feed-forward, each on a normalised input and added to the residual stream."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(model.hidden_size, model.norm_eps)
        self.self_attn = Attention(model)
        self.post_attention_layernorm = RMSNorm(model.hidden_size, model.norm_eps)
        self.mlp = SwiGLU(model)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, blocks and final norm: ids (B, T), and positions where they restart, to hidden states (B, T, D)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(model.vocabulary_size, model.hidden_size)
        self.layers = nn.ModuleList(Block(model) for _ in range(model.layers))
        self.norm = RMSNorm(model.hidden_size, model.norm_eps)
        self.head_size, self.theta, self.window = model.head_size, model.rope_theta, model.sliding_window

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        tokens = ids.shape[1]
        cos, sin = rotary_tables(tokens, self.head_size, self.theta, ids.device)
        if positions is not None:
            cos, sin = cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)
        mask = attention_mask(tokens, self.window, positions, ids.device)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.norm(x)


class Decoder(nn.Module):
    """The language model. `lm_head` exists only where embeddings are not tied."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = Trunk(model)
        self.lm_head = None if model.tied_embeddings else nn.Linear(model.hidden_size, model.vocabulary_size, bias=False)
        self.initializer_range = model.initializer_range

    @property
    def output_weight(self) -> Tensor:
        """The (V, D) matrix from hidden states to logits."""
        return self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def initialize(self, seed: int) -> None:
        """Fill all matrices from N(0, initializer_range^2), in order of their names, from one generator."""
        generator = torch.Generator().manual_seed(seed)
        for _, parameter in sorted(self.named_parameters()):
            if parameter.ndim == 2:
                nn.init.normal_(parameter, 0.0, self.initializer_range, generator=generator)

    def logits(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for ids (B, T)."""
        return F.linear(self.model(ids), self.output_weight)

    def forward(self, groups: list[Group]) -> Tensor:
        """Sum the negative log-likelihood in nats over all labels that count."""
        return torch.stack([self._group_loss(*group) for group in groups]).sum()

    def _group_loss(self, ids: Tensor, labels: Tensor, positions: Tensor | None = None) -> Tensor:
        hidden = self.model(ids, positions).flatten(0, 1)
        total = hidden.new_zeros((), dtype=torch.float32)
        for rows, targets in zip(hidden.split(LOSS_CHUNK_TOKENS), labels.flatten().split(LOSS_CHUNK_TOKENS), strict=True):
            if len(hidden) > LOSS_CHUNK_TOKENS:  # never hold more than one chunk of logits, forward or backward
                total = total + checkpoint(chunk_loss, rows, self.output_weight, targets, use_reentrant=False)
            else:
                total = total + chunk_loss(rows, self.output_weight, targets)
        return total


def chunk_loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum cross-entropy in float32 over rows of hidden states (N, D) with targets (N)."""
    return F.cross_entropy(F.linear(hidden, weight).float(), targets, ignore_index=-100, reduction="sum")
