"""A card's stored answers to its metrics, once more and without a model: the harness's own rules on what the file of rows holds.

The harness's task is built on the rows' documents, so neither data sets nor a network are needed. Filters, `process_results` and the
aggregation over items and parts are the harness's own; what they give has to be what the card says, number by number.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON, Manifest
from tasks.artifacts.store import Store
from tasks.evaluation.harness import BOOTSTRAP_SAMPLES, numbers, task_loader
from tasks.evaluation.samples import FILE, hashes_of, read_rows, task_hashes
from tasks.runtime.production import Reader

if TYPE_CHECKING:
    from lm_eval.api.task import Task

SHOWN = 5  # differences of a kind that are told one by one


def rescore(store: Store, card: Manifest) -> JSON:
    """Return a card's recomputed `results`, `task_hashes` and `items`, and in `differences` a sentence on whatever is not as the card says.

    OSError if the rows' file was changed after it was sealed; BadInput if another version of the harness is installed.
    """
    import lm_eval

    if (made_by := card.details["harness"]["lm_eval"]) != lm_eval.__version__:
        raise BadInput(
            f"{card.name}@{card.version[:8]} was made with lm-evaluation-harness {made_by}, but {lm_eval.__version__} is installed: "
            f"pip install lm_eval=={made_by}"
        )
    rows = list(read_rows(Reader(store, card).path(FILE)))
    return recompute(card.counts, card.details, rows)


def recompute(counts: JSON, details: JSON, rows: list[JSON]) -> JSON:
    """Compute metrics and hashes of rows, and compare them with what a card's manifest says."""
    changed = [f"item {row['doc_id']} of {row['task']} has another {name.replace('_', ' ')}" for row in rows
               for name, value in hashes_of(row).items() if row[name] != value]  # fmt: skip
    values, results = measured(counts["task"], counts["shots"], rows)
    changed += [
        f"item {row['doc_id']} of {row['task']}: {metric} is {found}, not {row['metrics'][chosen][metric]}"
        for row, own in zip(rows, values, strict=True) for chosen, metrics in own.items() for metric, found in metrics.items()
        if found != row["metrics"][chosen][metric]
    ]  # fmt: skip
    told = changed[:SHOWN] + ([f"and {len(changed) - SHOWN} more items"] if len(changed) > SHOWN else [])
    told += [
        f"{task}: {key} is {results.get(task, {}).get(key)}, the card says {value}"
        for task, own in counts["results"].items() for key, value in own.items() if results.get(task, {}).get(key) != value
    ][:SHOWN]  # fmt: skip
    hashes = task_hashes(rows)
    told += [
        f"{task}: its documents, prompts or targets are others"
        for task, value in details["task_hashes"].items()
        if hashes.get(task) != value
    ][:SHOWN]
    if len(rows) != counts["items"]:
        told.append(f"{len(rows)} items, the card says {counts['items']}")
    return {"results": results, "task_hashes": hashes, "items": len(rows), "differences": told}


def measured(name: str, shots: int, rows: list[JSON]) -> tuple[list[dict[str, dict[str, float]]], JSON]:
    """Return each row's metrics by filter, and the results of a task or group by task and key."""
    from lm_eval.evaluator_utils import _process_results

    with stored_documents(rows):
        loaded = task_loader([name]).load(name)
    by_task: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_task[row["task"]].append(place)
    values: list[dict[str, dict[str, float]]] = [{} for _ in rows]
    parts = {}
    for task_name, task in loaded["tasks"].items():
        task.set_config(key="num_fewshot", value=shots)
        places, raw = by_task[task_name], defaultdict(list)
        for chosen, found in answered(task, [rows[place] for place in places]):
            for place, metrics in zip(places, found, strict=True):
                values[place][chosen] = {metric: float(value) for metric, value in metrics.items()}
                for metric, value in metrics.items():
                    raw[metric, chosen].append(value)
        parts[task_name] = {"task": task, "raw_metrics": raw, "logged_samples": []}
    return values, numbers(_process_results(parts, loaded["groups"], BOOTSTRAP_SAMPLES).metrics)


def answered(task: "Task", rows: list[JSON]) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """Yield each filter of a task with the metrics of every row, by the task's own rules."""
    from lm_eval.api.instance import Instance

    asked = []
    for row in rows:
        for number, (arguments, response) in enumerate(zip(row["arguments"], row["responses"], strict=True)):
            one = Instance(task.OUTPUT_TYPE, row["doc"], tuple(arguments), number, (row["task"], row["doc_id"], 1))
            one.resps = [tuple(response) if isinstance(response, list) else response]
            asked.append(one)
    task._instances = asked
    task.apply_filters()
    own = defaultdict(list)
    for one in asked:
        own[one.doc_id].append(one)
    for chosen in asked[0].filtered_resps:
        yield chosen, [task.process_results(row["doc"], [one.filtered_resps[chosen] for one in own[row["doc_id"]]]) for row in rows]


@contextmanager
def stored_documents(rows: list[JSON]) -> Iterator[None]:
    """Have the harness's tasks read the documents of rows in place of their data sets."""
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    documents: dict[str, list[JSON]] = defaultdict(list)
    for row in rows:
        documents[row["task"]].append(row["doc"])

    def download(task: ConfigurableTask, *_: object, **__: object) -> None:
        own = Dataset.from_list(documents[task.config.task][:1])  # a task looks at its first document alone when it is built
        task.config.process_docs = task.fewshot_cfg.process_docs = None  # the documents went through it already
        splits = (task.config.training_split, task.config.validation_split, task.config.test_split, task.fewshot_cfg.split)
        task.dataset = {split: own for split in splits if split}

    kept, ConfigurableTask.download = ConfigurableTask.download, download
    try:
        yield
    finally:
        ConfigurableTask.download = kept
