"""This project's decoder, its loss alone, and a float64 reference of both, for the training benchmark."""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.training_steps import KINDS, Contestant, Spec
from recipes.schema import Model
from tasks.model.decoder import Decoder, Group
from tasks.model.loss import CHUNK_BYTES, summed_loss


def decoder(spec: Spec) -> Contestant:
    """The decoder; `options`: compile, checkpoint, documents (their number in a sequence), float8."""
    options = spec["options"]
    network = Decoder(Model(**spec["model"]))
    network.load_state_dict(load_file(spec["weights"]))
    network.to(spec["device"], KINDS[spec["precision"]])
    if options.get("float8"):
        from torchao.float8 import convert_to_float8_training

        convert_to_float8_training(network.model.layers)
    network.prepare(options.get("compile", False), options.get("checkpoint", False))
    positions = None
    if documents := options.get("documents"):
        length = spec["tokens"] // documents
        positions = torch.arange(length).repeat(spec["sequences"], documents).to(spec["device"])
    return Contestant(network, lambda ids, labels: network([Group(ids, labels, positions)]) / labels.numel())


class Output(nn.Module):
    """Hidden states and an output matrix, both trained: what a loss alone needs."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        model, kind = spec["model"], KINDS[spec["precision"]]
        self.hidden = nn.Parameter(torch.randn(spec["sequences"] * spec["tokens"], model["hidden_size"]).to(spec["device"], kind))
        weight = torch.randn(model["vocabulary_size"], model["hidden_size"]) / math.sqrt(model["hidden_size"])
        self.weight = nn.Parameter(weight.to(spec["device"], kind))


def loss_alone(spec: Spec) -> Contestant:
    """Hidden states to gradients by the chunked loss; `options`: chunk_bytes, where the shape is a reduced one."""
    output, chunk = Output(spec), spec["options"].get("chunk_bytes", CHUNK_BYTES)
    return Contestant(output, lambda _, labels: summed_loss(output.hidden, output.weight, labels.flatten(), chunk) / labels.numel())


def plain_loss_alone(spec: Spec) -> Contestant:
    """The same by PyTorch's cross-entropy on all logits in float32."""
    output = Output(spec)

    def loss(_: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(output.hidden, output.weight).float(), labels.flatten())

    return Contestant(output, loss)


def reference_loss(weights: dict[str, Tensor], model: Model, ids: Tensor, labels: Tensor) -> Tensor:
    """Compute the summed loss of one decoder with nothing but float64 arithmetic, written down a second time."""
    w = weights
    x = w["model.embed_tokens.weight"][ids]
    tokens, half = ids.shape[1], model.head_size // 2
    place = torch.arange(tokens, dtype=torch.float64, device=ids.device)
    angle = place[:, None] * model.rope_theta ** (-torch.arange(half, dtype=torch.float64, device=ids.device) / half)
    turn = torch.polar(torch.ones_like(angle), angle)
    distance = place[:, None] - place[None, :]
    seen = (distance >= 0) & (distance < (model.sliding_window or tokens))

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + model.norm_eps).sqrt() * w[name]

    def heads(x: Tensor, name: str, rotate: bool) -> Tensor:
        y = (x @ w[name].T).unflatten(-1, (-1, model.head_size)).transpose(1, 2)
        if rotate:
            z = torch.complex(y[..., :half].contiguous(), y[..., half:].contiguous()) * turn
            y = torch.cat([z.real, z.imag], dim=-1)
        return y.repeat_interleave(model.heads // y.shape[1], dim=1)

    for number in range(model.layers):
        at = f"model.layers.{number}."
        y = norm(x, at + "input_layernorm.weight")
        q, k, v = (heads(y, f"{at}self_attn.{name}_proj.weight", name != "v") for name in "qkv")
        scores = (q @ k.transpose(-1, -2) / math.sqrt(model.head_size)).masked_fill(~seen, -math.inf)
        x = x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ w[at + "self_attn.o_proj.weight"].T
        y = norm(x, at + "post_attention_layernorm.weight")
        gate = F.silu(y @ w[at + "mlp.gate_proj.weight"].T)
        x = x + (gate * (y @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
    logits = norm(x, "model.norm.weight") @ w["model.embed_tokens.weight" if model.tied_embeddings else "lm_head.weight"].T
    return -logits.log_softmax(-1).gather(-1, labels[..., None]).sum()


def against_float64(model: Model, tokens: int, device: str, precision: str) -> dict[str, float]:
    """Return the relative errors of the decoder's loss and of its gradients (the worst parameter's) against the reference."""
    network = Decoder(model)
    network.initialize(1)
    network.to(device, KINDS[precision])
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in network.state_dict().items()}
    ids = torch.randint(0, model.vocabulary_size, (2, tokens + 1), generator=torch.Generator().manual_seed(2)).to(device)
    loss = network([Group(ids[:, :-1], ids[:, 1:])])
    expected = reference_loss(exact, model, ids[:, :-1], ids[:, 1:])
    loss.backward()
    expected.backward()
    errors = [
        float((parameter.grad.double() - exact[name].grad).norm() / exact[name].grad.norm())
        for name, parameter in network.named_parameters()
    ]
    return {"loss": abs(loss.item() - expected.item()) / expected.item(), "gradient": max(errors)}
