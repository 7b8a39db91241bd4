"""Questions on standard input to answers on standard output: lm-evaluation-harness with one model, in a process of its own.

    python -P -m tasks.evaluation.harness SETUP.json

A question is a line of JSON: `describe` benchmarks, answer a `card`, measure `held_out` documents. The answer is a line `DONE {json}`
after lines `PROGRESS fraction label`; whatever libraries print goes to standard error. `REFUSED message` is for the user, and ends the
process. The harness's stock tasks are used as they are: to read a folder in the Hub's layout in place of the Hub, the process runs in
it, where a task's `dataset_path` is a local folder of that name.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON
from tasks.evaluation.mirror import folder_digest, hub_revision
from tasks.evaluation.samples import rows_of, task_hashes, write_rows

if TYPE_CHECKING:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    from tasks.evaluation.adapter import PrefixLM

RANDOM_SEED, OTHER_SEED = 0, 1234  # the harness's own defaults
BOOTSTRAP_SAMPLES = 1_000  # only for metrics whose standard error has no formula
DEFINITIONS = (
    "arc",
    "gsm8k",
    "hellaswag",
    "mmlu/default",
    "piqa",
    "truthfulqa",
    "winogrande",
)  # the harness's folders of both reports' tasks

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


class Process:
    """What stays between questions: the loaded tasks and the loaded model, each loaded when it is first needed."""

    def __init__(self, setup: JSON, report: Report) -> None:
        self.setup, self.report = setup, report
        self.loader: TaskManager | None = None
        self.tasks: dict[str, JSON] = {}
        self.model: PrefixLM | None = None

    def task(self, name: str) -> JSON:
        """Return a loaded task or group of the harness, with its items."""
        if name not in self.tasks:
            self.loader = self.loader or task_loader([name])
            if name not in self.loader.all_tasks:
                self.loader = task_loader([])
            self.tasks[name] = load_task(self.loader, name, self.setup["items"])
        return self.tasks[name]

    def lm(self) -> "PrefixLM":
        """Return the loaded model."""
        if self.model is None:
            self.report(0.0, "loading the model")
            self.model = load_model(self.setup["model"], self.setup["batch_size"], self.setup["device"])
        return self.model

    def answer(self, question: JSON) -> JSON:
        """Answer a question by its kind."""
        if question["do"] == "describe":
            rows = question["benchmarks"]
            found = [self.describe(row, number / len(rows)) for number, row in enumerate(rows)]
            return {"harness": facts(self.setup["device"]), "benchmarks": found}
        if question["do"] == "card":
            return self.card(question)
        from tasks.evaluation.held_out import source_bits

        lm, source = self.lm(), question["source"]
        return source_bits(lm.model, source, lm.max_length, lambda part: self.report(part, f"bits per byte of {source['source']}"))

    def describe(self, row: JSON, done: float) -> JSON:
        """Say what a benchmark is, before any model is loaded: its metric's key, its parts, and the digests of its data sets."""
        self.report(done, f"reading {row['task']}")
        tasks = self.task(row["task"])["tasks"]
        names = sorted({task.DATASET_PATH for task in tasks.values()})
        items = self.setup["items"]
        data = {name: folder_digest(Path(items) / name) if items else hub_revision(name) for name in names}
        return {"metric": metric_key(tasks, row), "parts": len(tasks), "data": data}

    def card(self, question: JSON) -> JSON:
        """Have a task or group answered with some shots; its rows go to the file `samples`."""
        loaded, label = self.task(question["task"]), question["task"]
        Bar.report = staticmethod(lambda part: self.report(part, label))
        lm = self.lm()
        few_shot, results = measure(lm, loaded, question["shots"], question["limit"])
        rows = [row for task, samples in results["samples"].items() for row in rows_of(task, samples, few_shot[task])]
        write_rows(Path(question["samples"]), rows)
        return {
            "results": numbers(results["results"]), "task_hashes": task_hashes(rows), "items": len(rows),
            "versions": {task: str(results["versions"].get(task)) for task in results["results"]},
            "chance": chance(loaded["tasks"]), "decoding": decoding(loaded["tasks"]),
        }  # fmt: skip


def task_loader(names: list[str]) -> "TaskManager":
    """Index the harness's task definitions: only the folders of both reports' tasks if that is enough, since reading all takes long."""
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.tasks.__file__).parent
    few = TaskManager(include_defaults=False, include_path=[str(folder / one) for one in DEFINITIONS]) if names else None
    return few if few and all(name in few.all_tasks for name in names) else TaskManager()


def load_task(loader: "TaskManager", name: str, items: str | None) -> JSON:
    """Load a task or group with its items; BadInput for a name that the harness does not score as one, and for items that are not there."""
    if name not in loader.all_subtasks and name not in loader.all_groups:
        known = "is a tag, which stands for several tasks" if name in loader.all_tags else "is not known to lm-evaluation-harness"
        raise BadInput(f"benchmark {name} {known}: name a task or group that `lm_eval ls tasks` lists")
    try:
        return loader.load(name)
    except (OSError, ValueError) as error:  # datasets and the Hub's client raise these for whatever cannot be read
        if items is None:
            raise
        said = str(error).splitlines()[0]
        raise BadInput(
            f"benchmark {name} cannot be read from {items}: {said}; add its data set to that folder, or read from the Hub"
        ) from None


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


def facts(device: str) -> JSON:
    """Return versions, precision and seeds: what decides scores beside model, tasks and items."""
    import lm_eval
    import torch
    import transformers

    return {
        "lm_eval": lm_eval.__version__, "transformers": transformers.__version__, "torch": torch.__version__,
        "device": device, "precision": "bfloat16" if device == "cuda" else "float32", "prompts": "plain, no chat template",
        "seeds": {"random": RANDOM_SEED, "numpy": OTHER_SEED, "torch": OTHER_SEED, "few_shot": OTHER_SEED},
    }  # fmt: skip


def load_model(folder: str, batch_size: int, device: str) -> "PrefixLM":
    """Load an exported model in float32 on a CPU or bfloat16 on a GPU, with BOS in front of every prompt.

    Only a tokenizer exported with `add_bos_token: false`, whose model never saw a BOS, goes without. RuntimeError if the tokenizer does
    otherwise: transformers ignores the setting where a tokenizer has no post-processor, and a missing BOS costs points silently.
    """
    import torch
    from lm_eval.models import huggingface

    from tasks.evaluation.adapter import PrefixLM

    torch.set_num_threads(os.cpu_count() or 1)
    huggingface.tqdm = Bar
    begins = json.loads((Path(folder) / "tokenizer_config.json").read_text()).get("add_bos_token", True)
    lm = PrefixLM(
        pretrained=folder, device=device, dtype="bfloat16" if device == "cuda" else "float32", batch_size=batch_size,
        add_bos_token=begins, trust_remote_code=False, local_files_only=True,
    )  # fmt: skip
    plain = lm.tokenizer.encode("a b", add_special_tokens=False)
    wanted = [lm.tokenizer.bos_token_id, *plain] if begins else plain
    if (found := lm.tok_encode("a b")) != wanted:
        raise RuntimeError(
            f"the tokenizer in {folder} turns 'a b' into {found}, but with add_bos_token {begins} it should be {wanted}: export it again"
        )
    return lm


def measure(lm: Any, loaded: JSON, shots: int, limit: int | None) -> tuple[dict[str, list[list[int]]], JSON]:
    """Run a task or group with the harness's evaluator; return the numbers of each item's few-shot examples, by task, and its results.

    The harness's `simple_evaluate` does the same and much beside it, such as `pip list`.
    """
    import numpy
    import torch
    from lm_eval.evaluator import evaluate

    random.seed(RANDOM_SEED)
    numpy.random.seed(OTHER_SEED)
    torch.manual_seed(OTHER_SEED)
    drawn: dict[str, list[list[int]]] = {}
    for name, task in loaded["tasks"].items():
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=OTHER_SEED)
        drawn[name] = note_examples(task)
    try:
        results = evaluate(lm=lm, task_dict=loaded, limit=limit, bootstrap_iters=BOOTSTRAP_SAMPLES, log_samples=True)
    finally:
        for task in loaded["tasks"].values():
            vars(getattr(task, "sampler", task)).pop("sample", None)
    return drawn, results


def note_examples(task: "Task") -> list[list[int]]:
    """Have a task's sampler note the numbers of the examples that it draws; what it draws stays as it is."""
    noted: list[list[int]] = []
    sampler = getattr(task, "sampler", None)
    if sampler is not None:
        draw, places = sampler.sample, {}

        def sample(*arguments: Any, **options: Any) -> Any:
            found = draw(*arguments, **options)
            places.update({} if places else {id(document): number for number, document in enumerate(sampler.df)})
            noted.append([places[id(document)] for document in found])
            return found

        sampler.sample = sample
    return noted


def numbers(results: JSON) -> JSON:
    """Return the finite numbers among the harness's results, by task and key."""
    return {
        name: {key: float(value) for key, value in own.items() if "," in key and isinstance(value, float | int) and value == value}
        for name, own in results.items()
    }


def chance(tasks: dict[str, "Task"]) -> float | None:
    """Return what guessing scores, in percent, over the items that were scored, or None where an item is not a choice of one answer."""
    parts = []
    for task in tasks.values():
        if task.OUTPUT_TYPE != "multiple_choice" or task.get_config("process_results") is not None:
            return None
        documents = {instance.doc_id: instance.doc for instance in task.instances}
        parts += [1 / len(task.doc_to_choice(document)) for document in documents.values()]
    return round(100 * sum(parts) / len(parts), 4)


def decoding(tasks: dict[str, "Task"]) -> JSON:
    """Say how answers are found: the likeliest choice, or generated text and its settings."""
    first = next(iter(tasks.values()))
    if first.OUTPUT_TYPE == "generate_until":
        return {"answers": "generated", "settings": json.loads(json.dumps(first.get_config("generation_kwargs"), default=str))}
    return {"answers": "log-likelihoods"}


def main() -> int:
    """Answer questions until there are no more."""
    setup = json.loads(Path(sys.argv[1]).read_text())
    with os.fdopen(os.dup(1), "w", buffering=1) as lines:
        os.dup2(2, 1)  # what libraries print joins standard error
        if setup["device"] is None:
            import torch

            setup["device"] = "cuda" if torch.cuda.is_available() else "cpu"
        process = Process(setup, lambda part, label: print(f"PROGRESS {part:.3f} {label}", file=lines))
        for line in sys.stdin:
            try:
                print("DONE", json.dumps(process.answer(json.loads(line))), file=lines)
            except BadInput as error:
                print("REFUSED", error, file=lines)
                return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
