"""A release folder to proof, in a clean process with `transformers` alone: it loads, and gives the trainer's own logits.

Run as `python verify_export.py FOLDER PROBE.safetensors`; prints one JSON object. This file imports nothing of this project, so
that what it proves holds for any user of the folder.
"""

import json
import os
import sys


def main(folder: str, probe: str) -> None:
    """Load the folder, compare logits on the probe, and look at the tokenizer and generation."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    expected = load_file(probe)
    with torch.no_grad():
        logits = model(expected["ids"]).logits.float()
        prompt = expected["ids"][:, :8]
        generated = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)
    config, generation = model.config, model.generation_config
    ids = {}
    for role in ("bos", "eos", "pad"):
        key = f"{role}_token_id"
        stops = getattr(generation, key, None)
        stop = stops[0] if isinstance(stops, list) else stops  # what follows is what ends turns
        ids[role] = [getattr(tokenizer, key), getattr(config, key, None), stop]
    print(json.dumps({
        "parameters": sum(p.numel() for p in model.parameters()),
        "missing_weights": sorted(map(str, info["missing_keys"])), "unexpected_weights": sorted(map(str, info["unexpected_keys"])),
        "logit_difference": float((logits - expected["logits"]).abs().max()), "generated_tokens": int(generated.shape[1] - prompt.shape[1]),
        "ids": ids,
        "tokenizer_size": len(tokenizer), "embedding_rows": model.get_input_embeddings().weight.shape[0],
        "has_chat_template": tokenizer.chat_template is not None, "transformers": __import__("transformers").__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
