"""A suite of benchmarks on one model to seconds: this project's scoring beside `lm_eval --model hf` at its best batch size, in one run.

    python benchmarks/evaluation.py --mirror FOLDER --json OUT.json

A random Llama with a tokenizer made from the items answers the same items twice, each contender in a process of its own, one after the
other: the harness's own `hf` model with the batch size that was fastest on a few items of each task, then this project's. What is
timed is the harness's `evaluate`: prompts, tokens, passes, metrics. Loading packages, model and items is not in it. Every
log-likelihood has to agree within 1e-4 and be greedy or not in both, and every score has to be equal.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.machine import machine_facts, peak_bytes  # noqa: E402

Row = dict[str, Any]
SUITE = [  # task, shots: both reports' kinds of prompts; MMLU by four of its subjects
    ["arc_challenge", 25], ["mmlu_world_religions", 5], ["arc_easy", 0], ["winogrande", 5], ["hellaswag", 10], ["mmlu_nutrition", 5],
    ["mmlu_high_school_geography", 5], ["mmlu_philosophy", 5], ["truthfulqa_mc2", 0], ["piqa", 0],
]  # fmt: skip
BATCH_SIZES = (1, 2, 4, 8, 16)
TRIAL_ITEMS = 2
GOAL, TOLERANCE = 1.5, 1e-4
SHAPE = {  # 19 million parameters
    "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64,
}  # fmt: skip
VOCABULARY, CONTEXT = 8192, 4096


def make_model(mirror: Path, folder: Path) -> int:
    """Write a random Llama and a tokenizer learnt from the mirror's test items; return the parameters."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer, fast.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    files = sorted(mirror.rglob("validation.jsonl"))
    fast.train_from_iterator((line for file in files for line in file.read_text().splitlines()[:2000]), trainer)
    fast.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, initializer_range=0.05, bos_token_id=0, eos_token_id=1, **SHAPE
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return sum(one.numel() for one in model.parameters())


def child(asked: Row) -> Row:
    """Answer a suite with one contender, in this process: seconds of CPU and wall clock, scores, and every answer."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from tasks.evaluation.adapter import PrefixLM
    from tasks.evaluation.harness import load_task, measure, task_loader

    torch.set_num_threads(asked["threads"])
    manager: TaskManager = task_loader([task for task, _ in asked["suite"]])
    loaded = [(load_task(manager, task, "."), shots) for task, shots in asked["suite"]]
    lm = (PrefixLM if asked["ours"] else HFLM)(
        pretrained=asked["model"], device=asked["device"], dtype=asked["precision"], batch_size=asked["batch_size"], add_bos_token=True
    )
    cpu, wall, rows = cpu_seconds(), time.perf_counter(), []
    for (task, shots), (one, _) in zip(asked["suite"], loaded, strict=True):
        begun = cpu_seconds()
        _, results = measure(lm, one, shots, asked["limit"])
        answers = [list(answer[0]) for samples in results["samples"].values() for item in samples for answer in item["resps"]]
        scores = {key: value for key, value in results["results"][task].items() if isinstance(value, float) and "stderr" not in key}
        rows.append({"task": task, "shots": shots, "cpu_seconds": cpu_seconds() - begun, "scores": scores, "answers": answers})
    peak = peak_bytes() / 1e6
    return {"cpu_seconds": cpu_seconds() - cpu, "wall_seconds": time.perf_counter() - wall, "peak_megabytes": peak, "tasks": rows}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(asked: Row, mirror: Path, home: Path) -> Row:
    """Run a contender in a process of its own, in the mirror's folder."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--child", json.dumps(asked)]
    ended = subprocess.run(command, cwd=mirror, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"a contender failed:\n{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def compare(stock: Row, ours: Row) -> Row:
    """Return how many times as fast ours is, and the largest differences between answers and scores."""
    pairs = [pair for a, b in zip(stock["tasks"], ours["tasks"], strict=True) for pair in zip(a["answers"], b["answers"], strict=True)]
    scores = [abs(a["scores"][key] - b["scores"][key]) for a, b in zip(stock["tasks"], ours["tasks"], strict=True) for key in a["scores"]]
    return {
        "ratio": stock["cpu_seconds"] / ours["cpu_seconds"], "wall_ratio": stock["wall_seconds"] / ours["wall_seconds"],
        "answers": len(pairs), "largest_difference": max(abs(a[0] - b[0]) for a, b in pairs),
        "other_greedy": sum(a[1] != b[1] for a, b in pairs), "largest_score_difference": max(scores),
    }  # fmt: skip


def main() -> int:
    """Search stock's batch size, run both, print and write the rows; 1 if the goal is missed or answers differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument(
        "--mirror", type=Path, default=os.environ.get("REYNARD_MIRROR"), help="data sets in the Hub's layout; or REYNARD_MIRROR"
    )
    parser.add_argument("--limit", type=int, default=50, help="items of each task")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tasks", type=int, default=len(SUITE), help="only the first so many of the suite's tasks")
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)), help="of stock, to choose from")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(json.loads(given.child))))
        return 0
    if not given.mirror or not given.json or not Path(given.mirror).is_dir():
        parser.error("--json and --mirror (a folder) are needed")
    mirror = Path(given.mirror).resolve()
    with tempfile.TemporaryDirectory(prefix="reynard-benchmark-") as scratch:
        folder, home = Path(scratch) / "model", Path(scratch) / "hugging-face"
        parameters = make_model(mirror, folder)
        asked = {
            "model": str(folder), "suite": SUITE[: given.tasks], "device": given.device, "threads": given.threads, "precision": "float32", "ours": False,
            "limit": TRIAL_ITEMS, "batch_size": 1,
        }  # fmt: skip
        sizes = [int(size) for size in given.batch_sizes.split(",")]
        trials = {size: run(asked | {"batch_size": size}, mirror, home)["cpu_seconds"] for size in sizes}
        for size, seconds in trials.items():
            print(f"stock, batches of {size:>2}: {seconds:6.1f} CPU s for {TRIAL_ITEMS} items of each task", flush=True)
        best = min(trials, key=lambda size: trials[size])
        stock = run(asked | {"batch_size": best, "limit": given.limit}, mirror, home)
        ours = run(asked | {"ours": True, "limit": given.limit}, mirror, home)
    found = compare(stock, ours)
    report(stock, ours, best, found)
    for one in (*stock["tasks"], *ours["tasks"]):
        one["answers"] = len(one["answers"])
    rows = {
        "machine": machine_facts(), "device": given.device, "precision": "float32", "parameters": parameters, "limit": given.limit,
        "threads": given.threads, "batch_size": best, "trials": trials, "stock": stock, "ours": ours, **found, "goal": GOAL,
    }  # fmt: skip
    given.json.write_text(json.dumps(rows, indent=2) + "\n")
    wrong = found["largest_difference"] > TOLERANCE or found["other_greedy"] or found["largest_score_difference"] > TOLERANCE
    return int(bool(wrong) or found["ratio"] < GOAL)


def report(stock: Row, ours: Row, best: int, found: Row) -> None:
    """Print both contenders task by task."""
    print(f"\n{'CPU seconds':<34}{'stock, ' + str(best):>10} {'reynard':>9} {'ratio':>6}")
    for a, b in zip(stock["tasks"], ours["tasks"], strict=True):
        name = f"{a['task']}, {a['shots']}-shot"
        print(f"{name:<34}{a['cpu_seconds']:>10.1f} {b['cpu_seconds']:>9.1f} {a['cpu_seconds'] / b['cpu_seconds']:>6.2f}")
    print(f"{'all':<34}{stock['cpu_seconds']:>10.1f} {ours['cpu_seconds']:>9.1f} {found['ratio']:>6.2f}")
    print(f"{'all, wall clock':<34}{stock['wall_seconds']:>10.1f} {ours['wall_seconds']:>9.1f} {found['wall_ratio']:>6.2f}")
    print(f"{'peak memory, MB':<34}{stock['peak_megabytes']:>10.0f} {ours['peak_megabytes']:>9.0f}")
    print(
        f"{found['answers']:,} answers: log-likelihoods differ by at most {found['largest_difference']:.1e}, {found['other_greedy']} greedy in one "
        f"alone, scores by {found['largest_score_difference']:g}"
    )


if __name__ == "__main__":
    sys.exit(main())
