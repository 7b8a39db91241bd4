"""A DeepSpeed engine's state to safetensors in the store and back, whatever the world size and the ZeRO stage.

Every parameter belongs to the worker that holds most of its state. Each writes its own: `model-<n>-of-<m>.safetensors` (weights in float32 under
`transformers`' names; `adapter-...` where only adapters are trained) and `optimizer-<n>-of-<m>.safetensors` (AdamW's moments); rank 0 adds
`state.json` (steps done, and updates made in them) and `probe.safetensors` (ids and the trainer's own logits, against which exports are
proved). Nothing is pickled.

Training stands still only while the state is copied to the host (`snapshot.py`). A thread of each worker writes, hashes and uploads;
rank 0's waits for the list of every other worker's files and seals the checkpoint. At most one is on its way.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors.torch import save_file
from torch import Tensor

from tasks.artifacts.manifest import FileEntry, Manifest, content_digest, read_manifest, write_manifest
from tasks.artifacts.store import Store, sha256_file
from tasks.artifacts.tensors import read_tensors
from tasks.engine.background import Worker, persist
from tasks.engine.journal import Row
from tasks.engine.lean_deepspeed import deepspeed
from tasks.engine.snapshot import MOMENTS, Files, Snapshot, trainable

PROBE_TOKENS = 48
PART_SECONDS = 1800.0  # that rank 0 waits for the files of the others
POLL_SECONDS = 0.2


def probe(engine, ids: Tensor) -> dict[str, Tensor]:
    """Return a probe's ids and the trainer's logits for them, without dropout."""
    engine.module.eval()
    with torch.no_grad():
        logits = engine.module.logits(ids.to(engine.device)).float().cpu()
    engine.module.train()
    return {"ids": ids.contiguous(), "logits": logits.contiguous()}


@dataclass
class Saver:
    """Saves a job's checkpoints. `attempt` is the same in all workers and in no other attempt: lists of files are told apart by it."""

    engine: Any
    store: Store
    working: str
    attempt: int
    keep: int  # finished ones inside a stage
    stays: Callable[[int], bool]  # tells of the steps whose checkpoints are kept besides, until somebody takes them
    weights_kind: str = "model"
    worker: Worker = field(default_factory=Worker)
    entries: list[FileEntry] = field(default_factory=list)  # rank 0: the files of the last checkpoint
    news: list[Row] = field(default_factory=list)  # rank 0: size and time of sealed checkpoints, until they are told

    def __post_init__(self) -> None:
        self.snapshot = Snapshot(self.engine, self.weights_kind)

    def save(self, folder: str, optimizer_steps: int, probe_ids: Tensor, before_seal: Callable[[], None] | None = None) -> float:
        """Begin to save into a folder of the store; returns the seconds that training stood still. Every rank must call it.

        With `before_seal` rank 0 calls it, then seals the checkpoint as one inside a stage; else the files are only listed.
        Raises what kept the checkpoint before from being saved.
        """
        begun, started = time.monotonic(), time.time()
        self.worker.wait()
        files = self.snapshot.take()
        if self.snapshot.rank == 0:
            files |= {"probe.safetensors": probe(self.engine, probe_ids)}
        updates = updates_made(self.engine)
        self.worker.start(lambda: self._write(files, folder, optimizer_steps, updates, started, before_seal))
        return time.monotonic() - begun

    def told(self) -> Row:
        """Return size and time of a checkpoint that was sealed since the last call, for the journal."""
        return self.news.pop() if self.news else {}

    def wait(self) -> list[FileEntry]:
        """Wait until the last checkpoint is saved; return its files on rank 0."""
        self.worker.wait()
        return self.entries

    def _write(self, files: Files, folder: str, steps: int, updates: int, started: float, before_seal: Callable[[], None] | None) -> None:
        entries, rank = [], self.snapshot.rank
        with tempfile.TemporaryDirectory() as scratch:
            for name, tensors in files.items():
                save_file(tensors, Path(scratch) / name, metadata={"format": "pt"})
            if rank == 0:
                (Path(scratch) / "state.json").write_text(json.dumps({"optimizer_steps": steps, "updates": updates}))
            for file in sorted(Path(scratch).iterdir()):
                entries.append(FileEntry(path=file.name, bytes=file.stat().st_size, sha256=sha256_file(file)))
                persist(lambda file=file: self.store.put(file, f"{folder}/{file.name}"))
        part = f"{self.working}/parts/{self.attempt}-{steps}-"
        persist(lambda: self.store.write(f"{part}{rank:05d}.json", orjson.dumps([entry.model_dump() for entry in entries])))
        if rank == 0:
            self.entries = self._collect(part, self.snapshot.world)
            if before_seal is not None:
                before_seal()
                persist(lambda: seal(self.store, self.working, folder, steps, self.entries, started))
                size = sum(entry.bytes for entry in self.entries)
                self.news.append({"checkpoint_bytes": size, "checkpoint_seconds": time.time() - started})
                persist(self._forget)

    def _collect(self, part: str, world: int) -> list[FileEntry]:
        """Wait for the lists of all workers' files, and put them together."""
        keys, deadline = [f"{part}{rank:05d}.json" for rank in range(world)], time.monotonic() + PART_SECONDS
        while True:
            try:
                if all(self.store.exists(key) for key in keys):
                    return sorted((FileEntry(**row) for key in keys for row in orjson.loads(self.store.read(key))), key=lambda e: e.path)
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all of {world} workers saved their part of a checkpoint within {PART_SECONDS:g} s: see {part}*")
            time.sleep(POLL_SECONDS)

    def _forget(self) -> None:
        for old in sealed_steps(self.store, self.working)[: -self.keep]:
            if not self.stays(old):
                self.store.delete(step_folder(self.working, old))


def step_folder(working: str, optimizer_steps: int) -> str:
    """Return where the checkpoint inside a stage lies that was saved after so many steps."""
    return f"{working}/step-{optimizer_steps:010d}"


def seal(store: Store, working: str, folder: str, optimizer_steps: int, files: list[FileEntry], begun: float) -> None:
    """Write the manifest of a checkpoint inside a stage, begun at a time, and `_SUCCESS` last."""
    counts = {"optimizer_steps": optimizer_steps}
    write_manifest(store, folder, Manifest(
        kind="unfinished", name=working, version=str(optimizer_steps), digest=content_digest("unfinished", files, counts), identity={},
        files=files, counts=counts, details={}, recorded={"begun": begun, "sealed": time.time()}, records=[]))  # fmt: skip


def sealed_steps(store: Store, working: str) -> list[int]:
    """Return the optimizer steps of the finished checkpoints inside a stage, oldest first."""
    keys = [key for key in store.list(working) if key.endswith("/_SUCCESS") and "/step-" in key]
    return sorted(int(key.split("/step-")[1].split("/")[0]) for key in keys)


def fetch(store: Store, folder: str, prefix: str) -> list[Path]:
    """Return local, verified copies of a sealed checkpoint's files with a prefix."""
    manifest = read_manifest(store, folder)
    if manifest is None:
        raise FileNotFoundError(f"no finished checkpoint at {store.uri(folder)}")
    return [store.local_copy(f"{folder}/{entry.path}", entry.sha256) for entry in manifest.matching(prefix)]


def load_weights(module: torch.nn.Module, store: Store, folder: str) -> None:
    """Fill a plain module from a checkpoint, before the engine is made from it."""
    module.load_state_dict(read_tensors(fetch(store, folder, "model-")), strict=True)


def restore(engine, store: Store, folder: str, weights_kind: str | None) -> int:
    """Put a checkpoint's optimizer state (and weights, if their kind is given) into the engine; return its optimizer steps.

    Every rank must call it.
    """
    moments = read_tensors(fetch(store, folder, "optimizer-"))
    weights = read_tensors(fetch(store, folder, f"{weights_kind}-")) if weights_kind else {}
    for name, parameter in trainable(engine):
        if weights_kind:
            deepspeed.utils.safe_set_full_fp32_param(parameter, weights[name])
            parameter.data.copy_(weights[name])
        for moment in MOMENTS:
            deepspeed.utils.safe_set_full_optimizer_state(parameter, moments[f"{moment}/{name}"], moment)
    (state,) = fetch(store, folder, "state.json")
    told = json.loads(state.read_bytes())
    set_updates(engine, told["updates"])
    return told["optimizer_steps"]


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


def updates_made(engine) -> int:
    """Return the count of AdamW's bias correction: steps without those whose update was not made."""
    return int(next(iter(engine.optimizer.optimizer.state.values()))["step"])


def set_updates(engine, updates: int) -> None:
    """Set the count of AdamW's bias correction."""
    for state in engine.optimizer.optimizer.state.values():
        state["step"].fill_(float(updates))
