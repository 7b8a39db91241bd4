"""Trained adapters and a base checkpoint to a whole chat model, shard by shard, and to a folder that `peft` loads beside the base model."""

from collections.abc import Callable
from pathlib import Path

import orjson
from safetensors.torch import save_file

from recipes.schema import LoRA
from tasks.artifacts.manifest import FileEntry
from tasks.artifacts.store import Store
from tasks.artifacts.tensors import read_tensors
from tasks.model.lora import merge, to_peft
from tasks.runtime.production import Reader


def add_merged(
    rule: LoRA, base: Reader, files: list[FileEntry], store: Store, folder: str, scratch: Path, add: Callable[[Path, str], None]
) -> None:
    """Merge the adapters among a finished checkpoint's files (in `folder` of the store) into the base's weights; add what comes of it.

    A shard of the base gives a shard of the same name: no more than one is in memory.
    """
    paths = [store.local_copy(f"{folder}/{entry.path}", entry.sha256) for entry in files if entry.path.startswith("adapter-")]
    adapters = read_tensors(paths)
    merged = 0
    for entry in base.manifest.matching("model-"):
        weights = read_tensors([base.path(entry.path)])
        together = {name: merge(name, weight, adapters, rule) for name, weight in weights.items()}
        merged += sum(together[name] is not weight for name, weight in weights.items())
        save_file(together, scratch / "merged", metadata={"format": "pt"})
        add(scratch / "merged", entry.path)
    assert 2 * merged == len(adapters), "every pair of adapters has its weight"
    tensors, config = to_peft(adapters, rule, f"{base.manifest.name}@{base.manifest.version}")
    save_file(tensors, scratch / "adapter", metadata={"format": "pt"})
    add(scratch / "adapter", "adapter/adapter_model.safetensors")
    (scratch / "config").write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    add(scratch / "config", "adapter/adapter_config.json")
