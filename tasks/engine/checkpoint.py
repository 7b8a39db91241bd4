"""A DeepSpeed engine's state to safetensors and back, independent of world size and ZeRO stage.

Files: `model.safetensors` (weights in float32 under `transformers`' names), `optimizer.safetensors` (AdamW moments),
`state.json` (optimizer steps done), `probe.safetensors` (ids and the trainer's own logits, against which exports are proved).
Nothing is pickled.
"""

import json
import tempfile
from pathlib import Path

import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state, safe_set_full_fp32_param, safe_set_full_optimizer_state
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed

from tasks.artifacts.manifest import FileEntry, Manifest, content_digest, read_manifest, write_manifest
from tasks.artifacts.store import Store, sha256_file

MOMENTS = ("exp_avg", "exp_avg_sq")
PROBE_TOKENS = 48


def trainable(engine) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the model's parameters by name, in a fixed order."""
    return sorted(engine.module.named_parameters())


def save(engine, store: Store, folder: str, optimizer_steps: int, probe_ids: Tensor) -> list[FileEntry]:
    """Gather the full state on rank 0 and put it into the store; every rank must call it. Other ranks return an empty list."""
    weights, moments = {}, {}
    for name, parameter in trainable(engine):
        weights[name] = safe_get_full_fp32_param(parameter).detach().cpu().contiguous()
        for moment in MOMENTS:
            moments[f"{moment}/{name}"] = safe_get_full_optimizer_state(parameter, moment).detach().cpu().contiguous()
    with torch.no_grad():
        logits = engine.module.logits(probe_ids.to(engine.device)).float().cpu()
    entries = []
    if distributed.get_rank() == 0:
        with tempfile.TemporaryDirectory() as scratch:
            where = Path(scratch)
            save_file(weights, where / "model.safetensors", metadata={"format": "pt"})
            save_file(moments, where / "optimizer.safetensors")
            save_file({"ids": probe_ids.contiguous(), "logits": logits.contiguous()}, where / "probe.safetensors")
            (where / "state.json").write_text(json.dumps({"optimizer_steps": optimizer_steps}))
            for file in sorted(where.iterdir()):
                entries.append(FileEntry(path=file.name, bytes=file.stat().st_size, sha256=sha256_file(file)))
                store.put(file, f"{folder}/{file.name}")
    distributed.barrier()
    return entries


def save_unfinished(engine, store: Store, folder: str, optimizer_steps: int, probe_ids: Tensor) -> None:
    """Save a checkpoint inside a stage, sealed by `_SUCCESS`, and remove all but the newest two."""
    key = f"{folder}/step-{optimizer_steps:010d}"
    files = save(engine, store, key, optimizer_steps, probe_ids)
    if distributed.get_rank() == 0:
        counts = {"optimizer_steps": optimizer_steps}
        digest = content_digest("unfinished", files, counts)
        write_manifest(store, key, Manifest(
            kind="unfinished", name=folder, version=str(optimizer_steps), digest=digest, identity={}, files=files, counts=counts,
            details={}, recorded={}, records=[]))  # fmt: skip
        for old in sealed_steps(store, folder)[:-2]:
            store.delete(f"{folder}/step-{old:010d}")


def sealed_steps(store: Store, folder: str) -> list[int]:
    """Return the optimizer steps of the finished checkpoints inside a stage, oldest first."""
    keys = [key for key in store.list(folder) if key.endswith("/_SUCCESS") and "/step-" in key]
    return sorted(int(key.split("/step-")[1].split("/")[0]) for key in keys)


def fetch(store: Store, folder: str, path: str) -> Path:
    """Return a local, verified copy of a sealed checkpoint's file."""
    manifest = read_manifest(store, folder)
    if manifest is None:
        raise FileNotFoundError(f"no finished checkpoint at {store.uri(folder)}")
    return store.local_copy(f"{folder}/{path}", manifest.file(path).sha256)


def load_weights(module: torch.nn.Module, store: Store, folder: str) -> None:
    """Fill a plain module from a checkpoint, before the engine is made from it."""
    module.load_state_dict(load_file(fetch(store, folder, "model.safetensors")), strict=True)


def restore(engine, store: Store, folder: str, with_weights: bool) -> int:
    """Put a checkpoint's optimizer state (and weights) into the engine; return its optimizer steps. Every rank must call it."""
    moments = load_file(fetch(store, folder, "optimizer.safetensors"))
    weights = load_file(fetch(store, folder, "model.safetensors")) if with_weights else {}
    for name, parameter in trainable(engine):
        if with_weights:
            safe_set_full_fp32_param(parameter, weights[name])
            parameter.data.copy_(weights[name])
        for moment in MOMENTS:
            safe_set_full_optimizer_state(parameter, moments[f"{moment}/{name}"], moment)
    steps = json.loads(fetch(store, folder, "state.json").read_bytes())["optimizer_steps"]
    set_optimizer_steps(engine, steps)
    return steps


def make_optimizer_state(engine) -> None:
    """Make AdamW's state before the first step and link it to the parameters.

    DeepSpeed 0.19 links it after the first group's first step, when later groups have none yet, and then never again.
    """
    optimizer = engine.optimizer.optimizer
    for group in optimizer.param_groups:
        for partition in group["params"]:
            optimizer.state[partition] = {
                "step": torch.zeros((), dtype=torch.float32, device=partition.device if group.get("fused") else "cpu")
            }
            optimizer.state[partition] |= {moment: torch.zeros_like(partition) for moment in MOMENTS}
    engine.optimizer._lazy_init_hp_params_optimizer_state()


def set_optimizer_steps(engine, steps: int) -> None:
    """Set the step count of AdamW's bias correction."""
    for state in engine.optimizer.optimizer.state.values():
        state["step"].fill_(float(steps))
