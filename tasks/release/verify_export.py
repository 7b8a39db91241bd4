"""A release folder to proof, in a clean process with `transformers` alone: it loads, and does what was trained.

Run as `python verify_export.py FOLDER EXPECTED`; prints one JSON object with the fields of `Loaded` (facts.py). EXPECTED is a folder with
`probe.safetensors` (ids, the trainer's logits), `decoder.safetensors` (this project's decoder's), and `expected.json`: prompts with ids and
output, the tokens that end what the model says, and rendered conversations. This file imports nothing of this project, so that what it
proves holds for any user of the folder.
"""

import json
import os
import sys
from pathlib import Path

import torch


def look(folder: str, expected: str) -> dict:
    """Load the folder and compare it with what is expected."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    wanted = json.loads((Path(expected) / "expected.json").read_bytes())
    trainer, decoder = (load_file(Path(expected) / f"{name}.safetensors") for name in ("probe", "decoder"))
    with torch.no_grad():
        logits = model(trainer["ids"]).logits.float()
        prompts = [answer(model, tokenizer, prompt, wanted["new_tokens"]) for prompt in wanted["prompts"]]
        stops = {str(end): stops_at(model, trainer["ids"][:, :8], end, wanted["stops"]) for end in wanted["stops"]}
    return {
        "trainer_difference": float((logits - trainer["logits"]).abs().max()), "trainer_largest": float(trainer["logits"].abs().max()),
        "decoder_difference": float((logits - decoder["logits"]).abs().max()), "prompts": prompts,
        "missing_weights": sorted(map(str, info["missing_keys"])), "unexpected_weights": sorted(map(str, info["unexpected_keys"])),
        "parameters": sum(p.numel() for p in model.parameters()), "ids": special_ids(model, tokenizer),
        "tokenizer_size": len(tokenizer), "embedding_rows": model.get_input_embeddings().weight.shape[0],
        "config_vocabulary": model.config.vocab_size, "stops": stops, "has_chat_template": tokenizer.chat_template is not None,
    } | rendered(tokenizer, wanted["conversations"]) | types_and_ties(model, Path(folder))  # fmt: skip


def special_ids(model, tokenizer) -> dict:
    """Return bos, eos and pad in the tokenizer, the config and the generation config; the first of several: what follows ends turns."""
    found = {}
    for role in ("bos", "eos", "pad"):
        key = f"{role}_token_id"
        stop = getattr(model.generation_config, key, None)
        found[role] = [getattr(tokenizer, key), getattr(model.config, key, None), stop[0] if isinstance(stop, list) else stop]
    return found


def answer(model, tokenizer, prompt: dict, new_tokens: int) -> dict:
    """Tokenize a prompt and go on greedily from the expected ids of it, with the folder's own settings."""
    if "messages" in prompt and tokenizer.chat_template is not None:
        ids = tokenizer.apply_chat_template(prompt["messages"], add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    elif "messages" in prompt:
        ids = prompt["expected_ids"]  # without a template there is nothing to compare: another rule says that it is missing
    else:
        ids = tokenizer(prompt["text"])["input_ids"]
    given = torch.tensor([prompt["expected_ids"]])
    made = model.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=new_tokens, do_sample=False)
    output = made[0, given.shape[1] :].tolist()
    return prompt | {"ids": list(ids), "output_ids": output, "output": tokenizer.decode(output, skip_special_tokens=True)}


def stops_at(model, prompt, end: int, ends: list) -> bool:
    """Tell whether generation stops when the model says `end` as its third token: nothing else is changed in how it generates."""
    from transformers import LogitsProcessor, LogitsProcessorList

    class Says(LogitsProcessor):
        def __call__(self, input_ids, scores):
            if input_ids.shape[1] < prompt.shape[1] + 2:
                return scores.index_fill(1, torch.tensor(ends), float("-inf"))  # not yet
            if input_ids.shape[1] > prompt.shape[1] + 2:
                return scores.index_fill(1, torch.tensor(ends), float("-inf"))  # too late
            return torch.full_like(scores, float("-inf")).index_fill(1, torch.tensor([end]), 0.0)

    mask = torch.ones_like(prompt)
    made = model.generate(prompt, attention_mask=mask, logits_processor=LogitsProcessorList([Says()]), max_new_tokens=8, do_sample=False)
    return made.shape[1] == prompt.shape[1] + 3 and int(made[0, -1]) == end


def rendered(tokenizer, conversations: list) -> dict:
    """Render conversations by the folder's own template, and tell which come out as other ids or targets than were trained on."""
    if tokenizer.chat_template is None:
        return {"conversations": 0, "different_conversations": []}
    other = []
    for number, row in enumerate(conversations):
        made = tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        own = [list(made[key][: len(row["ids"])]) for key in ("input_ids", "assistant_masks")]
        if own != [row["ids"], row["trained"]]:
            other.append(number)
    return {"conversations": len(conversations), "different_conversations": other}


def types_and_ties(model, folder: Path) -> dict:
    """Return the types of the tensors in the files, and whether the two embeddings are one."""
    from safetensors import safe_open

    config, dtypes, names = json.loads((folder / "config.json").read_bytes()), set(), set()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            names |= set(tensors.keys())
            dtypes |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 - it is no dict
    is_tied = model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    return {
        "declared_dtype": str(config.get("dtype") or config.get("torch_dtype")), "dtypes": sorted(dtypes),
        "config_tied": bool(model.config.tie_word_embeddings), "loaded_tied": is_tied, "files_have_head": "lm_head.weight" in names,
    }  # fmt: skip


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(json.dumps(look(*sys.argv[1:])))
