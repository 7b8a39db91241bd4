"""A checkpoint's files to what a folder made from them has to do: logits, tokens and greedy answers, by this project's own decoder.

The trainer saved its logits on a probe. What it would say to the fixed prompts is computed here from the checkpoint's weights by the decoder
that was trained, in float32, without any of `transformers`' models.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.artifacts.tensors import read_tensors
from tasks.model.decoder import Decoder
from tasks.model.template import TURN_END
from tasks.release.gate import LOGIT_TOLERANCE

NEW_TOKENS = 40
PROMPTS = ("The capital of France is", "Once upon a time", "def add(a, b):\n", "Water boils at", "In the beginning")
QUESTIONS = (
    "Who are you?",
    "What is the capital of France?",
    "What does json.dumps do?",
    "Write a function that adds two numbers.",
    "Tell me a short story.",
)


def write_expected(source: Path, target: Path, template: str | None, conversations: Sequence[JSON]) -> None:
    """Write what `verify_export.py` compares a folder with; `conversations` are rows of messages, ids and trained."""
    from transformers import AutoTokenizer

    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "probe.safetensors", target / "probe.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(str(source / "tokenizer"), local_files_only=True)
    tokenizer.chat_template = template
    decoder = Decoder(Model.model_validate_json((source / "model.json").read_bytes())).eval()
    decoder.load_state_dict(read_tensors(sorted(source.glob("model-*.safetensors"))), strict=True)
    ends = [tokenizer.eos_token_id] + ([tokenizer.convert_tokens_to_ids(TURN_END)] if TURN_END in (template or "") else [])
    with torch.no_grad():
        logits = decoder.logits(load_file(source / "probe.safetensors")["ids"]).float()
        prompts = [asked | answer(decoder, asked["expected_ids"], ends) for asked in ask(tokenizer, template)]
    save_file({"logits": logits.contiguous()}, target / "decoder.safetensors")
    told = {"prompts": prompts, "new_tokens": NEW_TOKENS, "stops": ends, "conversations": list(conversations)}
    (target / "expected.json").write_text(json.dumps(told))


def ask(tokenizer, template: str | None) -> list[JSON]:
    """Return the fixed prompts with their ids: beginnings for a base model, questions for a chat model."""
    if template is None:
        return [{"text": text, "expected_ids": tokenizer(text)["input_ids"]} for text in PROMPTS]
    asked = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
        asked.append({"messages": messages, "text": text, "expected_ids": list(ids)})
    return asked


def answer(decoder: Decoder, ids: list[int], ends: list[int]) -> JSON:
    """Go on greedily until an end, for at most NEW_TOKENS. `expected_output_ids` stop before the first tie, `leads` tell how far ahead each was.

    Two tokens tie if their logits are closer than twice the tolerance: then another computation may rightly choose the other.
    """
    output, leads = [], []
    while len(output) < NEW_TOKENS and not (output and output[-1] in ends):
        best = decoder.logits(torch.tensor([ids + output]))[0, -1].float().topk(2)
        lead = float(best.values[0] - best.values[1])
        if lead < 2 * LOGIT_TOLERANCE:
            break
        output.append(int(best.indices[0]))
        leads.append(round(lead, 3))
    return {"expected_output_ids": output, "leads": leads}
