"""A checkpoint's files to a folder that `transformers` loads, renaming nothing: weights, config, tokenizer, generation config."""

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file

from recipes.schema import Model
from tasks.artifacts.manifest import JSON
from tasks.artifacts.tensors import read_tensors
from tasks.model.template import TURN_END

ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}


def model_config(model: Model, token_ids: JSON) -> JSON:
    """Return `config.json` for a decoder; special-token ids come from the tokenizer."""
    config = {
        "architectures": [ARCHITECTURES[model.family]], "model_type": model.family, "vocab_size": model.vocabulary_size,
        "hidden_size": model.hidden_size, "intermediate_size": model.intermediate_size, "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads, "num_key_value_heads": model.kv_heads, "head_dim": model.head_size,
        "max_position_embeddings": model.context_tokens, "rope_theta": model.rope_theta,
        "rope_parameters": {"rope_theta": model.rope_theta, "rope_type": "default"},
        "rms_norm_eps": model.norm_eps, "tie_word_embeddings": model.tied_embeddings, "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "attention_dropout": 0.0, "initializer_range": model.initializer_range, "use_cache": True, "dtype": "float32",
    }  # fmt: skip
    if model.family == "mistral":
        config["sliding_window"] = model.sliding_window
    return config | token_ids


def export(checkpoint: Path, folder: Path, chat_template: str | None) -> JSON:
    """Write a Hugging Face folder from a checkpoint's local files; return its `config.json`.

    A chat template makes it a chat model: it is added to the tokenizer, and generation stops at what ends a turn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = Model.model_validate_json((checkpoint / "model.json").read_bytes())
    for file in sorted((checkpoint / "tokenizer").iterdir()):
        shutil.copyfile(file, folder / file.name)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    if tokenizer.get("pre_tokenizer") is None:  # no dummy prefix, which llama.cpp's converter takes for granted where nothing is said
        settings["add_prefix_space"] = False
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    numbers = {piece["content"]: piece["id"] for piece in tokenizer["added_tokens"]}
    token_ids = {f"{role}_token_id": numbers.get(settings.get(f"{role}_token")) for role in ("bos", "eos", "pad")}
    if chat_template is not None:
        (folder / "chat_template.jinja").write_text(chat_template)
    config = model_config(model, token_ids)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    generation = token_ids | {"do_sample": False, "max_new_tokens": 256 if chat_template is None else min(256, model.context_tokens // 2)}
    if TURN_END in (chat_template or ""):
        generation["eos_token_id"] = [token_ids["eos_token_id"], numbers[TURN_END]]
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2, sort_keys=True) + "\n")
    weights = read_tensors(sorted(checkpoint.glob("model-*.safetensors")))
    save_file(
        {name: tensor.contiguous() for name, tensor in sorted(weights.items())}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    return config
