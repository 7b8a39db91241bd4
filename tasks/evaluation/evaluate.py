"""A model folder and held-out documents to scores: picks the suites, has them run in a process of their own, sums up.

The scoring process is `tasks.evaluation.harness`. It is given a clean environment, because lm-evaluation-harness, datasets and
accelerate all read variables that a distributed job leaves behind, and the committed sample needs its own working directory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from recipes.errors import BadInput
from recipes.schema import Benchmark, Evaluation
from tasks.artifacts.manifest import JSON
from tasks.evaluation.sample import ITEMS, SAMPLE
from tasks.runtime.code import ROOT
from tasks.runtime.progress import Progress

BAD_INPUT = 2  # exit status of the scoring process when its last line is for the user
DISTRIBUTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_DEEPSPEED")


@dataclass(frozen=True)
class HeldOut:
    """One source's held-out documents: a flat file of token ids of type `uint16` or `uint32`, and each document's
    (first token, tokens, UTF-8 bytes of its text)."""

    source: str
    path: str
    type: str
    documents: list[tuple[int, int, int]]

    def within(self, tokens: int) -> "HeldOut":
        """Keep the first documents that have at most `tokens` tokens together, whole, and at least one."""
        kept, total = [], 0
        for document in self.documents:
            total += document[1]
            if kept and total > tokens:
                break
            kept.append(document)
        return HeldOut(self.source, self.path, self.type, kept)


def scores_identity(section: Evaluation, which: str) -> JSON:
    """Return what decides the scores of the `base` or `chat` checkpoint besides their parents."""
    return section.model_dump(mode="json") | {"which": which}


def benchmarks(section: Evaluation, which: str) -> Iterator[tuple[str, Benchmark]]:
    """Yield (suite, benchmark) of the suites that score a `base` or `chat` checkpoint."""
    for suite in section.suites:
        if suite.checkpoint in (which, "both"):
            for benchmark in suite.benchmarks:
                yield suite.name, benchmark


def check_evaluation(section: Evaluation) -> None:
    """Refuse a section whose benchmarks cannot be run or told apart, before anything is trained."""
    for which in ("base", "chat"):
        seen: set[str] = set()
        for suite, benchmark in benchmarks(section, which):
            if (key := f"{suite}/{benchmark.task}") in seen:
                raise BadInput(
                    f"benchmark {key} is listed twice for the {which} checkpoint, but a score's name is suite/task: "
                    "put one of them into another suite"
                )
            seen.add(key)
            if section.items == "sample":
                _check_sampled(suite, benchmark)


def _check_sampled(suite: str, benchmark: Benchmark) -> None:
    if benchmark.task not in SAMPLE:
        raise BadInput(
            f"benchmark {suite}/{benchmark.task} is not in the committed sample, which evaluation.items `sample` reads: choose one of "
            f"{', '.join(sorted(SAMPLE))}, or set evaluation.items to `hub`"
        )
    if benchmark.shots > (most := SAMPLE[benchmark.task].shots):
        raise BadInput(
            f"benchmark {suite}/{benchmark.task} wants {benchmark.shots} shots, but the committed sample holds examples for at most "
            f"{most}: set shots to {most}, or set evaluation.items to `hub`"
        )


def evaluate_checkpoint(section: Evaluation, which: str, model_folder: Path, held_out: list[HeldOut], scratch: Path) -> JSON:
    """Score a checkpoint, exported as a Hugging Face folder, and return what its manifest records: `counts` and `details`.

    Base and chat models alike are shown the benchmarks' plain prompts, without a chat template, as both reports did. Bits per byte
    are over all sources together: total bits by total bytes.
    """
    documents = [source.within(section.held_out_tokens) for source in held_out if source.documents]
    if not documents:
        raise BadInput(
            "no source has a held-out document, but bits per byte need at least one: raise tokenization.held_out_fraction or add documents"
        )
    wanted = list(benchmarks(section, which))
    sampled = section.items == "sample"
    request = {
        "model": str(model_folder.absolute()), "limit": section.limit, "batch_size": section.batch_size,
        "items": str(ITEMS) if sampled else None,
        "benchmarks": [{"suite": suite, "task": b.task, "shots": b.shots, "metric": b.metric} for suite, b in wanted],
        "held_out": [asdict(source) | {"path": str(Path(source.path).absolute())} for source in documents],
    }  # fmt: skip
    result = _score(request, which, scratch.absolute())
    rows = [row | {"reported": benchmark.reported} for row, (_, benchmark) in zip(result["benchmarks"], wanted, strict=True)]
    per_source = {row["source"]: {key: value for key, value in row.items() if key != "source"} for row in result["held_out"]}
    bits, size = (sum(row[unit] for row in per_source.values()) for unit in ("bits", "bytes"))
    return {
        "counts": {
            "checkpoint": which,
            "scores": {f"{row['suite']}/{row['task']}": row["score"] for row in rows},
            "bits_per_byte": round(bits / size, 6),
        },
        "details": {
            "benchmarks": rows,
            "held_out": per_source,
            "harness": result["harness"],
            "items": "committed sample of at most 100 items of each set" if sampled else "full sets from the Hub",
        },
    }


def _score(request: JSON, which: str, scratch: Path) -> JSON:
    """Run the scoring process and show its progress; BadInput with its last line, or RuntimeError with the tail of its errors."""
    asked, answer, errors = (scratch / name for name in ("request.json", "result.json", "errors.txt"))
    asked.write_text(json.dumps(request))
    folder, environment = request["items"] or scratch, _environment(scratch, request["items"] is not None)
    command = [sys.executable, "-P", "-m", "tasks.evaluation.harness", str(asked), str(answer)]
    total = len(request["benchmarks"]) + len(request["held_out"])
    with errors.open("w") as log, Progress(f"evaluate {which}", total, "sets") as progress:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            for line in process.stdout:
                if line.startswith("PROGRESS "):
                    _, done, _, label = line.rstrip("\n").split(" ", 3)
                    progress.reach(float(done), label)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
    lines = errors.read_text(errors="replace").strip().splitlines()
    if status == BAD_INPUT and lines:
        raise BadInput(lines[-1])
    if status:
        raise RuntimeError(f"scoring the {which} checkpoint failed with exit status {status}:\n" + "\n".join(lines[-30:]))
    return json.loads(answer.read_text())


def _environment(scratch: Path, sampled: bool) -> dict[str, str]:
    """Return the scoring process's variables: ours without a distributed job's, and nothing from the network for the sample."""
    own = {key: value for key, value in os.environ.items() if key not in DISTRIBUTED}
    paths = [str(ROOT), *filter(None, [own.get("PYTHONPATH")])]
    own |= {"PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    own.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads on busy cores made this process 2 to 4 times slower
    if sampled:
        home = str(scratch / "hugging-face")
        own |= {"HF_HOME": home, "HF_DATASETS_CACHE": f"{home}/datasets", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return own
