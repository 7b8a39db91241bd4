"""The smallest recipe that still runs every step for real: `tiny` with a part of its corpus and a few steps of training."""

import copy
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def micro_recipe(folder: Path, publish_every_tokens: int | None = None, **sft_changes) -> Path:
    """Write the recipe into a folder and return its path. Its sources are files of the project and of the standard library."""
    recipe = copy.deepcopy(yaml.safe_load((ROOT / "recipes" / "tiny.yaml").read_text()))
    recipe["name"] = "micro"
    sources = {source["name"]: source for source in recipe["curation"]["sources"]}
    sources["python_library"]["location"] = "stdlib:[a-e]*.py"
    sources["planted"]["plants"] |= {"of": ["python_library"], "exact_copies": 5, "near_copies": 5, "junk": 12}
    sources["planted"]["rules"] = "code"  # that of its origin, with which it is compared
    sources["debris"]["plants"]["junk"] = 40
    recipe["curation"]["sources"] = [sources[name] for name in ("python_topics", "python_library", "planted", "debris")]
    recipe["curation"]["quality"]["train"] |= {"positive": ["python_topics"], "epochs": 10}
    recipe["tokenization"] |= {"vocabulary_size": 512, "held_out_fraction": 0.1}
    recipe["tokenization"]["train"]["sample_characters"] = 300_000
    recipe["model"] |= {"vocabulary_size": 512, "hidden_size": 32, "intermediate_size": 64, "layers": 2, "head_size": 8}
    for stage, chunk, batch in zip(recipe["pretraining"]["stages"], (64, 128, 128), (512, 1024, 1024), strict=True):
        stage |= {"tokens": batch * 24, "batch_tokens": batch}
        stage["mixture"] = [
            {"source": "python_library", "weight": 0.5, "chunk_tokens": chunk, "max_epochs": 4.0},
            {"source": "python_topics", "weight": 0.5, "chunk_tokens": 64, "max_epochs": 4.0},
        ]
    recipe["pretraining"]["publish_every_tokens"] = publish_every_tokens
    recipe["pretraining"]["schedule"] |= {"warmup_steps": 2, "decay_temperature_steps": 12.0}
    recipe["sft"]["sources"][0]["location"] = "stdlib:json/*.py stdlib:[a-c]*.py"
    recipe["sft"] |= {"epochs": 0.3, "batch_conversations": 8} | sft_changes
    recipe["evaluation"] |= {"limit": 4, "held_out_tokens": 2000}
    recipe["evaluation"]["suites"][0]["benchmarks"] = [{"task": "arc_easy", "shots": 0, "metric": "acc_norm"}]
    recipe["release"]["thresholds"] = {}  # four items measure nothing
    path = folder / "micro.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path
