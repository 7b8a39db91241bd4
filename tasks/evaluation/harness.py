"""A request file to a result file: benchmark scores by lm-evaluation-harness and held-out bits per byte, in a process of its own.

    python -P -m tasks.evaluation.harness REQUEST.json RESULT.json

The harness's stock tasks are used as they are. To read the committed sample, the process runs in the sample's folder, where a task's
`dataset_path` is a local folder of that name. On standard output it writes nothing but lines `PROGRESS done total label`; whatever
libraries print goes to standard error. It exits with status 2 when the last line there is for the user.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON
from tasks.evaluation.evaluate import BAD_INPUT
from tasks.evaluation.sample import SAMPLE

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

RANDOM_SEED, OTHER_SEED = 0, 1234  # the harness's own defaults
BOOTSTRAP_SAMPLES = 1_000  # only for metrics whose standard error has no formula

Report = Callable[[float, str], None]


class Bar:
    """What the harness takes for a progress bar: tells how far a benchmark is, as a fraction."""

    report: Callable[[float], None] = staticmethod(lambda _: None)

    def __init__(self, *_: object, total: int = 0, **__: object) -> None:
        self.total, self.done = total, 0

    def update(self, amount: int = 1) -> None:
        """Count requests answered."""
        self.done += amount
        Bar.report(min(1.0, self.done / max(1, self.total)))

    def close(self) -> None:
        """End, as a bar does."""


def score(request: JSON, report: Report) -> JSON:
    """Answer a request. `report` is told sets done (a benchmark or a held-out source is a set) and what is under way."""
    report(0.0, "loading")
    import lm_eval
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    names = list(dict.fromkeys(row["task"] for row in request["benchmarks"]))
    loader = task_loader(names, sampled=request["items"] is not None) if names else None
    loaded = {name: load_task(loader, name) for name in names}
    chosen = [metric_key(loaded[row["task"]]["tasks"], row) for row in request["benchmarks"]]
    lm = load_model(request["model"], request["batch_size"])
    measured: dict[tuple[str, int], JSON] = {}
    benchmarks = []
    for position, (row, metric) in enumerate(zip(request["benchmarks"], chosen, strict=True)):
        Bar.report = staticmethod(lambda part, position=position, row=row: report(position + part, row["task"]))
        Bar.report(0.0)
        if (key := (row["task"], row["shots"])) not in measured:
            measured[key] = measure(lm, loaded[row["task"]], row["shots"], request["limit"])
        benchmarks.append(summary(row, metric, measured[key], loaded[row["task"]]["tasks"]))
    return {
        "benchmarks": benchmarks,
        "held_out": held_out(lm, request["held_out"], len(benchmarks), report),
        "harness": {
            "lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__,
            "device": lm.device.type, "precision": str(lm.model.dtype).removeprefix("torch."), "prompts": "plain, no chat template",
            "seeds": {"random": RANDOM_SEED, "numpy": OTHER_SEED, "torch": OTHER_SEED, "few_shot": OTHER_SEED},
        },
    }  # fmt: skip


def task_loader(names: list[str], sampled: bool) -> "TaskManager":
    """Index the harness's task definitions: of the sample's tasks only their own folders, since reading all takes ten seconds."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    if not sampled:
        return TaskManager()
    folder = Path(lm_eval.tasks.__file__).parent
    return TaskManager(
        include_defaults=False, include_path=[str(folder / one) for one in sorted({SAMPLE[name].definition for name in names})]
    )


def load_task(loader: "TaskManager", name: str) -> JSON:
    """Load a task or group with its items; BadInput for a name that the harness does not score as one."""
    if name not in loader.all_subtasks and name not in loader.all_groups:
        known = "is a tag, which stands for several tasks" if name in loader.all_tags else "is not known to lm-evaluation-harness"
        raise BadInput(f"benchmark {name} {known}: name a task or group that `lm_eval ls tasks` lists")
    return loader.load(name)


def metric_key(tasks: dict[str, "Task"], row: JSON) -> str:
    """Return the harness's key `metric,filter` of a benchmark; without a filter in the recipe, it is the task's first one.

    Also refuses shots that a task's own definition rules out. Runs before the model is loaded.
    """
    metric, _, wanted = row["metric"].partition(",")
    for name, task in tasks.items():
        filters = [one.name for one in task._filters]
        if metric not in task.aggregation():
            raise BadInput(f"benchmark {row['task']} has no metric {metric!r}: choose one of {', '.join(task.aggregation())}")
        if wanted and wanted not in filters:
            raise BadInput(f"benchmark {row['task']} has no filter {wanted!r} for metric {metric!r}: choose one of {', '.join(filters)}")
        if task.get_config("num_fewshot") == 0 and row["shots"]:
            raise BadInput(f"benchmark {row['task']} wants {row['shots']} shots, but its task {name} is defined with 0: set shots to 0")
    return f"{metric},{wanted or filters[0]}"


def load_model(folder: str, batch_size: int) -> "HFLM":
    """Load an exported model in float32 on a CPU or bfloat16 on a GPU, with BOS in front of every prompt.

    Only a tokenizer exported with `add_bos_token: false`, whose model never saw a BOS, goes without. RuntimeError if the tokenizer does
    otherwise: transformers ignores the setting where a tokenizer has no post-processor, and a missing BOS costs points silently.
    """
    import torch
    from lm_eval.models import huggingface

    huggingface.tqdm = Bar
    on_gpu = torch.cuda.is_available()
    begins = json.loads((Path(folder) / "tokenizer_config.json").read_text()).get("add_bos_token", True)
    lm = huggingface.HFLM(
        pretrained=folder, device="cuda" if on_gpu else "cpu", dtype="bfloat16" if on_gpu else "float32", batch_size=batch_size,
        add_bos_token=begins, trust_remote_code=False, local_files_only=True,
    )  # fmt: skip
    plain = lm.tokenizer.encode("a b", add_special_tokens=False)
    wanted = [lm.tokenizer.bos_token_id, *plain] if begins else plain
    if (found := lm.tok_encode("a b")) != wanted:
        raise RuntimeError(
            f"the tokenizer in {folder} turns 'a b' into {found}, but with add_bos_token {begins} it should be {wanted}: export it again"
        )
    return lm


def measure(lm: "HFLM", loaded: JSON, shots: int, limit: int | None) -> JSON:
    """Run a task or group with the harness's evaluator. Its `simple_evaluate` does the same and much beside it, such as `pip list`."""
    import numpy
    import torch
    from lm_eval.evaluator import evaluate

    random.seed(RANDOM_SEED)
    numpy.random.seed(OTHER_SEED)
    torch.manual_seed(OTHER_SEED)
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=OTHER_SEED)
    return evaluate(lm=lm, task_dict=loaded, limit=limit, bootstrap_iters=BOOTSTRAP_SAMPLES, log_samples=False)


def summary(row: JSON, metric: str, results: JSON, tasks: dict[str, "Task"]) -> JSON:
    """Pick a benchmark's row from the harness's results, in percent. Chance is known where an item is a choice among answers."""
    found = results["results"][row["task"]]
    name, _, chosen = metric.partition(",")
    error = found.get(f"{name}_stderr,{chosen}")
    counted = [results["n-samples"][task]["effective"] for task in tasks]
    return row | {
        "metric": metric.removesuffix(",none"),
        "score": round(100 * found[metric], 4),
        "stderr": round(100 * error, 4) if isinstance(error, float) else None,
        "items": sum(counted),
        "chance": chance(tasks),
        "version": results["versions"].get(row["task"]),
    }


def chance(tasks: dict[str, "Task"]) -> float | None:
    """Return what guessing scores, in percent, over the items that were scored, or None where answers are not choices."""
    parts = []
    for task in tasks.values():
        if task.OUTPUT_TYPE != "multiple_choice":
            return None
        documents = {instance.doc_id: instance.doc for instance in task.instances}
        parts += [1 / len(task.doc_to_choice(document)) for document in documents.values()]
    return round(100 * sum(parts) / len(parts), 4)


def held_out(lm: "HFLM", sources: list[JSON], before: int, report: Report) -> list[JSON]:
    """Score all sources in bits per byte, as sets that come after `before` others."""
    from tasks.evaluation.held_out import source_bits

    rows = []
    for position, source in enumerate(sources):
        label = f"bits per byte of {source['source']}"
        rows.append(source_bits(lm.model, source, lm.max_length, lambda part, at=before + position, label=label: report(at + part, label)))
    return rows


def main() -> int:
    """Answer the request named on the command line."""
    asked, answer = map(Path, sys.argv[1:3])
    request = json.loads(asked.read_text())
    total = len(request["benchmarks"]) + len(request["held_out"])
    with os.fdopen(os.dup(1), "w", buffering=1) as lines:
        os.dup2(2, 1)  # what libraries print joins standard error
        try:
            result = score(request, lambda done, label: print(f"PROGRESS {done:.3f} {total} {label}", file=lines))
        except BadInput as error:
            print(error, file=sys.stderr)
            return BAD_INPUT
    answer.write_text(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
