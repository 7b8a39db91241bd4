"""Token ids to next-token loss: the one decoder of both reports (Llama/Mistral family).

Parameter names are those of `transformers`' LlamaForCausalLM and MistralForCausalLM, so that an export renames nothing.
Shapes: B sequences, T tokens, V vocabulary, D hidden.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recipes.schema import Model
from tasks.model.attention import Attention, Mask, attention_mask, rotary_tables
from tasks.model.loss import summed_loss


class Group(NamedTuple):
    """Sequences of one length: ids and labels (B, T) int64. `labels[:, t]` is the token that follows `ids[:, t]`; -100 does not count.

    With positions (B, T), which restart from 0 at each document, attention stops at the borders of documents.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor | None = None

    def to(self, device: torch.device) -> "Group":
        """Move to a device; from pinned memory without waiting."""
        return Group(*(None if tensor is None else tensor.to(device, non_blocking=True) for tensor in self))


class RMSNorm(nn.Module):
    """Scale to unit root mean square in float32, then by a learned weight (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype)


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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Mask) -> Tensor:
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
        self.checkpoint_blocks = False
        self.blocks_draw = False  # random numbers, which a block that is computed again has to draw again: adapters with dropout

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        tokens = ids.shape[1]
        cos, sin = rotary_tables(tokens, self.head_size, self.theta, ids.device)
        if positions is not None:
            cos, sin = cos[positions].unsqueeze(1), sin[positions].unsqueeze(1)
        mask = attention_mask(tokens, self.window, positions, ids.device)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            if self.checkpoint_blocks and torch.is_grad_enabled():
                x = checkpoint(layer, x, cos, sin, mask, use_reentrant=False, preserve_rng_state=self.blocks_draw)
            else:
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

    def prepare(self, compile_blocks: bool, checkpoint_blocks: bool) -> None:
        """Choose how blocks run: compiled, and keeping only their inputs for the backward pass. No weight or name depends on it."""
        self.model.checkpoint_blocks = checkpoint_blocks
        if compile_blocks:
            for layer in self.model.layers:
                layer.compile()

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
        groups = [Group(*group) for group in groups]
        hidden = torch.cat([self.model(group.ids, group.positions).flatten(0, 1) for group in groups])
        return summed_loss(hidden, self.output_weight, torch.cat([group.labels.flatten() for group in groups]))
