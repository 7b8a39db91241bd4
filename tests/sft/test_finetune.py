"""The fine-tuning stage for real, on Ray and DeepSpeed: a base model and raw rows to a chat model, whole and after a kill, and with adapters."""

import os
import signal
from dataclasses import fields
from pathlib import Path

import orjson
import pytest
import torch

from recipes.schema import SFT
from tasks.artifacts.handles import Checkpoint, RawSources, Run
from tasks.artifacts.manifest import Manifest, read_manifest
from tasks.artifacts.store import Store
from tasks.artifacts.tensors import read_tensors, shard_name
from tasks.model.decoder import Decoder
from tasks.runtime.production import Production
from tasks.sft import finetune as stage
from tasks.sft.conversations import ChatBatches
from tasks.sft.task import finetune
from tasks.sft.trace import ChatTrace
from tasks.sources.units import pin_files
from tests.sft.rendered import chat, write
from tests.sft.sections import MODEL, sft_section
from tests.sft.tokenizers import small_tokenizer

pytestmark = pytest.mark.slow
ROWS = 60


class Chain:
    """A store with a base model and pinned rows, and the stage that runs on them."""

    def __init__(self, root: Path) -> None:
        from safetensors.torch import save_file

        root.mkdir(parents=True, exist_ok=True)
        self.run = Run(
            name="test", folder=str(root), store=str(root / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0
        )
        self.store = Store(self.run.store)
        self.source = write(root / "own.jsonl", [chat(n) for n in range(ROWS)])
        (pinned,) = pin_files(self.source)
        place = {"address": pinned.address, "bytes": pinned.bytes, "mark": pinned.mark}
        with Production(self.run, "raw", "raw-conversations", {"rows": ROWS}, {}, "tasks.preflight") as made:
            made.seal({"files": 1, "bytes": pinned.bytes}, {"places": {"own": [place]}})
            self.raw = made.handle(RawSources)
        with Production(self.run, "checkpoint", "stage3", {"stage": "base"}, {}, "tasks.training") as made:
            decoder = Decoder(MODEL)
            decoder.initialize(1)
            save_file(dict(decoder.state_dict()), made.scratch / "weights", metadata={"format": "pt"})
            made.add_file(made.scratch / "weights", shard_name("model", 0, 1))
            made.add_text("model.json", orjson.dumps(MODEL.model_dump(mode="json")))
            for file in sorted(small_tokenizer(made.scratch / "tokenizer").iterdir()):
                made.add_file(file, f"tokenizer/{file.name}")
            made.seal({"stage": "stage3", "steps": 1, "tokens": 1, "parameters": MODEL.parameter_count(), "loss": 5.0}, {})
            self.base = made.handle(Checkpoint)

    def section(self, **changes) -> SFT:
        optimizer = {
            "peak_learning_rate": 0.02, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "max_gradient_norm": 1.0,
        }  # fmt: skip
        return sft_section([self.source], batch_conversations=12, epochs=2.0, checkpoint_every_steps=3, optimizer=optimizer, **changes)

    def finetune(self, section: SFT) -> Manifest:
        made = finetune.task_function(run=self.run, seed=1, model=MODEL, section=section, raw=self.raw, base=self.base)
        manifest = read_manifest(self.store, f"checkpoint/{made.version}")
        assert manifest is not None
        return manifest

    def weights(self, manifest: Manifest) -> dict[str, torch.Tensor]:
        folder = Path(self.run.store) / "checkpoint" / manifest.version
        return read_tensors(sorted(folder.glob("model-*.safetensors")))


def dying(batches: ChatBatches, at: int, marker: str) -> ChatBatches:
    """Return the same batches; whoever loads the one at a step for the first time is killed."""

    class DyingBatches(ChatBatches):
        def load(self, step, units):
            if step == at and not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().load(step, units)

    return DyingBatches(**{one.name: getattr(batches, one.name) for one in fields(batches)})


def test_a_killed_worker_changes_no_bit_of_the_chat_model_and_every_step_can_be_traced(tmp_path: Path, monkeypatch):
    whole, killed = Chain(tmp_path / "whole"), Chain(tmp_path / "killed")
    first = whole.finetune(whole.section())
    marker, honest = tmp_path / "died", stage.chat_batches
    monkeypatch.setattr(stage, "chat_batches", lambda *given: dying(honest(*given), 7, str(marker)))
    second = killed.finetune(killed.section())
    assert marker.exists() and first.digest == second.digest
    losses = [orjson.loads(line)["loss"] for line in whole.store.read(f"checkpoint/{first.version}/journal.jsonl").splitlines()]
    assert len(losses) == 2 * ROWS // 12 and losses[-1] < losses[0] - 2
    trace = ChatTrace(whole.store, first)
    told = [trace.step(step) for step in range(1, 11)]
    assert all(one["verified"] for one in told)
    seen = sorted(row["conversation"] for one in told for row in one["conversations"])
    assert seen == sorted([*range(ROWS), *range(ROWS)])
    assert trace.conversation(7)["steps"] == [one["step"] for one in told if 7 in [row["conversation"] for row in one["conversations"]]]


def test_adapters_alone_are_trained_and_merged_into_the_base_weights(tmp_path: Path):
    chain = Chain(tmp_path)
    made = chain.finetune(chain.section(lora={"rank": 4, "alpha": 8.0, "dropout": 0.1, "targets": ["q_proj", "down_proj"]}))
    folder = Path(chain.run.store) / "checkpoint" / made.version
    moments = read_tensors(sorted(folder.glob("optimizer-*.safetensors")))
    assert moments and all(".lora_" in name for name in moments)
    base, merged = chain.weights(read_manifest(chain.store, f"checkpoint/{chain.base.version}")), chain.weights(made)
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed == {f"model.layers.{n}.{part}.weight" for n in (0, 1) for part in ("self_attn.q_proj", "mlp.down_proj")}
    decoder = Decoder(MODEL)
    decoder.load_state_dict(merged, strict=True)
    probe = read_tensors([folder / "probe.safetensors"])
    assert (decoder.logits(probe["ids"]) - probe["logits"]).abs().max() < 1e-5, "the trainer's own logits, with adapters beside"
    assert orjson.loads((folder / "adapter" / "adapter_config.json").read_bytes())["r"] == 4
