"""A checkpoint of a few thousand random parameters with a real tokenizer, as a stage of training lays it down, for tests."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tasks.model.decoder import Decoder
from tasks.model.template import TEMPLATES
from tasks.sft.template import Renderer, open_tokenizer
from tests.sft.rendered import chat
from tests.sft.sections import MODEL
from tests.sft.tokenizers import small_tokenizer

TEMPLATE = "tulu_bos"


def write_checkpoint(folder: Path, tied: bool = True, context_tokens: int = 64) -> Path:
    """Write weights, probe, tokenizer and template; the probe's logits are the decoder's."""
    model = MODEL.model_copy(update={"tied_embeddings": tied, "context_tokens": context_tokens})
    decoder = Decoder(model)
    decoder.initialize(7)
    small_tokenizer(folder / "tokenizer")
    ids = torch.arange(3, 35).reshape(1, 32)
    with torch.no_grad():
        save_file({"ids": ids, "logits": decoder.logits(ids).contiguous()}, folder / "probe.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in decoder.state_dict().items()}, folder / "model-00001-of-00001.safetensors")
    (folder / "model.json").write_text(model.model_dump_json())
    (folder / "template.json").write_text(json.dumps({"template": TEMPLATE}))
    return folder


def conversations(checkpoint: Path, template: str = TEMPLATE) -> list[dict]:
    """Return three conversations as fine-tuning renders them."""
    messages = [chat(number)["messages"] for number in range(3)]
    made = Renderer(open_tokenizer(checkpoint / "tokenizer", template)).render(messages)
    return [
        {"messages": one, "ids": ids.tolist(), "trained": trained.astype(int).tolist()}
        for one, (ids, trained) in zip(messages, made, strict=True)
    ]


def template_text(name: str = TEMPLATE) -> str:
    """Return a chat template by name."""
    return TEMPLATES[name]
