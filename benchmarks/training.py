"""Both recipes' decoders to tokens a second, model FLOPs utilisation and peak memory, beside other implementations of the same shapes.

    python benchmarks/training.py --json rows.json --device cuda --peers-python peers-training/bin/python

One run, one device, one contender after the other, each in a process of its own: the same first weights, batches and optimizer for all,
so their first losses have to agree, and the run says if they do not. On a GPU: Fox-1 at 2K, 4K and 8K and a stack of Moxin's layers, in
bfloat16. On a CPU: reduced shapes in float32 on one thread, seconds of CPU time, for the ratios alone. A step is forward, backward,
clipping and AdamW with float32 weights, on 16,384 tokens (CPU: 1,024; Moxin: half); Ray, DeepSpeed and reading data are not in it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.curation import has_modules  # noqa: E402
from benchmarks.machine import machine_facts  # noqa: E402
from recipes.load import load_recipe  # noqa: E402
from recipes.schema import Model  # noqa: E402
from tasks.model.flops import CONVENTION, flops_per_token  # noqa: E402

Row = dict[str, Any]
PEAK_FLOPS = 989e12  # H100 and H200 SXM, dense bfloat16, from their data sheets
ERROR_CHARACTERS = 800
SAME_LOSS = {"float32": 1e-4, "bfloat16": 2e-2}  # relative; of the first step
EXACT = {"float32": {"loss": 1e-6, "gradient": 1e-4}, "bfloat16": {"loss": 1e-2, "gradient": 5e-2}}
FLOAT8_STEPS, FLOAT8_SHARE = 500, 0.05
TIMES_PEERS, LEAST_MFU = 1.15, 0.5  # what this project is to reach on a GPU; MFU at Fox-1's 2K
OURS, COMPILED, LOSS = "reynard", "reynard, compiled", "reynard: loss alone"
DECODER, PEERS = "benchmarks.ours.training:decoder", "benchmarks.peers.training:"
INSTALL = "pip install -r benchmarks/requirements-training.txt"


@dataclass(frozen=True)
class Contender:
    """One row of a case. A peer runs in the first Python that has what it needs; `peer_of` names the row that does the same work."""

    name: str
    target: str
    options: Row = field(default_factory=dict)
    peer_of: str = ""
    needs: tuple[str, ...] = ()
    cuda_only: bool = False


COMPILE = {"compile": True}
DECODERS = (
    Contender(OURS, DECODER),
    Contender(COMPILED, DECODER, COMPILE),
    Contender("reynard, compiled, checkpointed", DECODER, COMPILE | {"checkpoint": True}),
    Contender("reynard, compiled, 4 documents a sequence", DECODER, COMPILE | {"documents": 4}),
    Contender("transformers", PEERS + "transformers", {}, OURS, ("transformers", "safetensors")),
    Contender("transformers, compiled", PEERS + "transformers", COMPILE, COMPILED, ("transformers", "safetensors")),
    Contender("transformers with Liger, compiled", PEERS + "liger", COMPILE, COMPILED, ("transformers", "liger_kernel"), True),
    Contender("LitGPT, compiled", PEERS + "litgpt", COMPILE, COMPILED, ("litgpt", "safetensors")),
)


def losses(chunk_bytes: int) -> tuple[Contender, ...]:
    """Return the contenders of a case without a decoder."""
    options = {"alone": True, "chunk_bytes": chunk_bytes}
    return (
        Contender(LOSS, "benchmarks.ours.training:loss_alone", options),
        Contender("torch: loss alone", "benchmarks.ours.training:plain_loss_alone", options, LOSS),
    )


FLOAT8 = (
    Contender("reynard, compiled, 500 steps", DECODER, COMPILE),
    Contender("reynard, compiled, float8, 500 steps", DECODER, COMPILE | {"float8": True}, "reynard, compiled, 500 steps", ("torchao",), True),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A shape, and the sequences of one step."""

    name: str
    model: Model
    sequences: int
    tokens: int
    contenders: tuple[Contender, ...] = DECODERS
    steps: int = 0  # 0: as asked


@dataclass(frozen=True)
class Run:
    """What all cases share."""

    device: str
    precision: str
    steps: int
    warm_up: int
    pythons: list[str]
    seconds: float
    peak_flops: float


def cases(device: str, moxin_layers: int, float8: bool) -> list[Case]:
    """Return what is measured on a device."""
    fox1, moxin = (load_recipe(ROOT / "recipes" / f"{name}.yaml").model for name in ("fox1", "moxin7b"))
    if device == "cpu":  # Fox-1 with an eighth of the width and layers and a sixteenth of the vocabulary, Moxin with a sixteenth of both
        fox1 = changed(fox1, vocabulary_size=16_000, hidden_size=256, intermediate_size=512, layers=4, heads=4, kv_heads=1, head_size=64)
        moxin = changed(
            moxin,
            hidden_size=256,
            intermediate_size=896,
            layers=2,
            heads=8,
            kv_heads=2,
            head_size=32,
            vocabulary_size=2000,
            sliding_window=128,
        )
        lengths, moxin_tokens, all_tokens = (128, 256, 512), 256, 1024
    else:
        moxin = changed(moxin, layers=moxin_layers)
        lengths, moxin_tokens, all_tokens = (2048, 4096, 8192), 4096, 16_384
    found = [Case(f"Fox-1, {tokens:,} tokens", fox1, all_tokens // tokens, tokens) for tokens in lengths]
    found.append(Case(f"Moxin, {moxin.layers} layers, {moxin_tokens:,} tokens", moxin, all_tokens // moxin_tokens // 2, moxin_tokens))
    if device == "cpu":  # a quarter of Fox-1's tokens, vocabulary and width, and chunks in proportion
        quarter = changed(fox1, vocabulary_size=64_000, hidden_size=512)
        found.append(Case("Fox-1's loss", quarter, 2, 2048, losses(1 << 26), 3))
    else:
        found.append(Case("Fox-1's loss", fox1, all_tokens // lengths[0], lengths[0], losses(1 << 30)))
    if float8:
        found.append(Case("Fox-1, float8", fox1, all_tokens // lengths[0], lengths[0], FLOAT8, FLOAT8_STEPS))
    return found


def changed(model: Model, **sizes: int) -> Model:
    """Return a model of other sizes."""
    return Model(**(model.model_dump() | sizes))


def write_weights(case: Case, path: Path) -> None:
    """Write the first weights that all contenders of a case begin with."""
    from safetensors.torch import save_file

    from tasks.model.decoder import Decoder

    decoder = Decoder(case.model)
    decoder.initialize(1)
    save_file(decoder.state_dict(), path)


def specification(case: Case, contender: Contender, run: Run, weights: Path) -> Row:
    """Return what a contender's process is told."""
    from tasks.model.export import model_config

    left_out = ("architectures", "model_type", "dtype", "rope_theta")
    return {
        "model": case.model.model_dump(), "config": {k: v for k, v in model_config(case.model, {}).items() if k not in left_out},
        "weights": str(weights), "device": run.device, "precision": run.precision, "sequences": case.sequences, "tokens": case.tokens,
        "steps": case.steps or run.steps, "warm_up": run.warm_up, "options": contender.options,
        "update": not contender.options.get("alone", False),
    }  # fmt: skip


def measure(case: Case, contender: Contender, run: Run, scratch: Path) -> Row:
    """Run one contender in its own process and return its row."""
    size = {"sequences": case.sequences, "tokens": case.tokens, "parameters": case.model.parameter_count()}
    row: Row = {"case": case.name, "name": contender.name, "peer_of": contender.peer_of, "device": run.device, "precision": run.precision}
    row |= size
    if contender.cuda_only and run.device != "cuda":
        return row | {"skipped": "on CUDA alone"}
    # what this project's code is part of runs here; with --fp8 torchao has to be here too
    pythons = [sys.executable] if contender.target.startswith("benchmarks.ours") else [*run.pythons, sys.executable]
    python = next((one for one in pythons if has_modules(one, contender.needs)), "")
    if not python:
        return row | {"skipped": f"not installed: {INSTALL}"}
    folder = Path(tempfile.mkdtemp(dir=scratch))
    spec = specification(case, contender, run, scratch / "weights.safetensors")
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [python, "-m", "benchmarks.training_steps", contender.target, str(folder / "spec.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=run.seconds)
        if ended.returncode:
            return row | {"failed": (ended.stderr or ended.stdout).strip()[-ERROR_CHARACTERS:]}
        row |= json.loads((folder / "row.json").read_text())
    except subprocess.TimeoutExpired:
        return row | {"failed": f"no result within {run.seconds:g} s: see --seconds"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if run.device == "cuda" and not contender.options.get("alone"):
        row["mfu"] = row["tokens_per_second"] * flops_per_token(case.model, case.tokens) / run.peak_flops
    return row


def measure_all(chosen: list[Case], run: Run) -> list[Row]:
    """Measure every contender of every case, saying each row as it comes."""
    rows: list[Row] = []
    print(f"{'':<42} {'tokens/s':>10} {'MFU':>6} {'peak MB':>9} {'ours is x':>9} {'memory x':>9} {'first loss':>10} {'last':>8}")
    for case in chosen:
        print(f"\n{case.name}: {case.sequences} x {case.tokens:,} tokens, {case.model.parameter_count():,} parameters, {run.precision}")
        with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as folder:
            write_weights(case, Path(folder) / "weights.safetensors")
            for contender in case.contenders:
                rows.append(compare(measure(case, contender, run, Path(folder)), rows))
                print(line_of(rows[-1]), flush=True)
    return rows


def compare(row: Row, rows: list[Row]) -> Row:
    """Add to a peer's row how many times as fast this project's is, how much of its memory that takes, and whether the losses agree."""
    ours = next((one for one in rows if one["case"] == row["case"] and one["name"] == row["peer_of"]), {})
    if "tokens_per_second" not in row or "tokens_per_second" not in ours:
        return row
    there, here = row["losses"][0], ours["losses"][0]
    return row | {
        "ratio": round(ours["tokens_per_second"] / row["tokens_per_second"], 2),
        "memory_ratio": round(ours["peak_megabytes"] / row["peak_megabytes"], 3),
        "same_loss": row["case"].endswith("loss") or abs(there - here) <= SAME_LOSS[row["precision"]] * abs(here),
    }


def line_of(row: Row) -> str:
    """Write a row as a line of the table."""
    if "tokens_per_second" not in row:
        return f"{row['name']:<42} {row.get('skipped') or 'failed: ' + row['failed'].splitlines()[-1]}"
    mfu = f"{row['mfu']:>6.1%}" if "mfu" in row else " " * 6
    ratios = "".join(f" {row[name]:>9.2f}" if name in row else " " * 10 for name in ("ratio", "memory_ratio"))
    return (
        f"{row['name']:<42} {row['tokens_per_second']:>10,.0f} {mfu} {row['peak_megabytes']:>9,.0f}{ratios} {row['losses'][0]:>10.5f} "
        f"{row['losses'][-1]:>8.4f}{'' if row.get('same_loss', True) else '  ANOTHER LOSS'}"
    )


def check(device: str) -> list[Row]:
    """Compare loss and gradients of both families, at a small size on the device, with a float64 reference."""
    from benchmarks.ours.training import against_float64

    rows: list[Row] = []
    for case in cases("cpu", 0, False)[1:4:2]:
        model = changed(case.model, vocabulary_size=1000)
        for precision in ("float32", "bfloat16"):
            errors = against_float64(model, 300, device, precision)
            right = all(errors[name] < EXACT[precision][name] for name in errors)
            print(
                f"{case.name.split(',')[0]} in {precision} against float64: " + ", ".join(f"{k} {v:.1e}" for k, v in errors.items()), end=""
            )
            print("" if right else "  WRONG", flush=True)
            rows.append({"case": f"{model.family} against float64", "name": precision, "device": device, "errors": errors, "right": right})
    return rows


def goals(rows: list[Row]) -> list[tuple[str, float, bool]]:
    """Return (goal, value, whether it is reached) for what was measured."""
    found = [
        (f"{row['case']}: times {row['name']}", row["ratio"], row["ratio"] >= (TIMES_PEERS if row["device"] == "cuda" else 1.0))
        for row in rows
        if row.get("peer_of") in (OURS, COMPILED) and "ratio" in row
    ]
    for row in rows:
        if row.get("peer_of") == LOSS and "ratio" in row:
            found.append(("the loss alone: times torch's", row["ratio"], row["ratio"] >= 1.0))
            found.append(("the loss alone: part of torch's memory", row["memory_ratio"], row["memory_ratio"] < 0.1))
        if row["name"] == COMPILED and "mfu" in row and row["case"].startswith("Fox-1, 2"):
            found.append(("Fox-1 at 2K: model FLOPs utilisation", row["mfu"], row["mfu"] >= LEAST_MFU))
        if "float8" in row["name"] and "ratio" in row:
            plain = next(one for one in rows if one["case"] == row["case"] and one["name"] == row["peer_of"])
            worse = row["losses"][-1] / plain["losses"][-1] - 1
            found.append(("float8: last loss above bfloat16's by", worse, worse < FLOAT8_SHARE))
    return found


def device_facts(device: str) -> Row:
    """Return the GPU's name and memory, or the processor's."""
    import torch

    facts: Row = dict(machine_facts())
    facts["packages"] = {"torch": torch.__version__}
    if device == "cuda":
        facts |= {"gpu": torch.cuda.get_device_name(), "gpu_gigabytes": torch.cuda.get_device_properties(0).total_memory / 1e9}
    return facts


def main() -> int:
    """Check, measure, print the table and write the rows; 1 if this project is wrong or failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the rows go; rows of the other device that are there are kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=0, help="timed steps; default: 20 on a GPU, 3 on a CPU")
    parser.add_argument("--moxin-layers", type=int, default=8, help="how many of Moxin's 36 layers fit on the GPU")
    parser.add_argument("--fp8", action="store_true", help="500 steps in float8 beside bfloat16 (torchao, a GPU)")
    parser.add_argument("--peers-python", action="append", help="a Python that has peers installed; may be given several times")
    parser.add_argument("--peak-flops", type=float, default=PEAK_FLOPS, help="the denominator of the utilisation")
    parser.add_argument("--seconds", type=float, default=1800.0, help="a contender that takes longer is stopped, and its row says so")
    given = parser.parse_args()
    gpu = given.device == "cuda"
    run = Run(
        given.device, "bfloat16" if gpu else "float32", given.steps or (20 if gpu else 3), 5 if gpu else 2,
        given.peers_python or [], given.seconds, given.peak_flops,
    )  # fmt: skip
    facts = device_facts(given.device)
    print(f"{facts.get('gpu') or facts['processor']}. {CONVENTION}; denominator {given.peak_flops / 1e12:g} TFLOP/s" if gpu else
          f"{facts['processor']}, one thread, reduced shapes, tokens a second of CPU time: for ratios alone")  # fmt: skip
    rows = check(given.device) + measure_all(cases(given.device, given.moxin_layers, given.fp8), run)
    print()
    for goal, value, reached in goals(rows):
        print(f"{'reached' if reached else 'MISSED '}  {goal} {value:.3g}")
    kept = [row for row in (json.loads(given.json.read_text()) if given.json.exists() else []) if row["device"] != given.device]
    given.json.write_text(json.dumps([*kept, *(row | {"machine": facts} for row in rows)], indent=1) + "\n")
    ours = [row for row in rows if row["name"].startswith("reynard") or "right" in row]
    return int(any("failed" in row or not row.get("right", True) for row in ours) or not all(row.get("same_loss", True) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
