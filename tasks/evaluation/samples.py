"""A benchmark's answered items, as rows of a file: prompts, answers, metrics, and the hashes that tell one set of prompts from another.

A row is a document of a task with its requests (`arguments`), the model's `responses` (log-likelihood and whether it is greedy, or the
text), the numbers of its few-shot examples, and its metrics by filter. `task_hash` is lm-evaluation-harness's own: equal hashes mean
equal documents, prompts and targets, in the same order.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
import zstandard

from tasks.artifacts.manifest import JSON

FILE = "samples.jsonl.zst"


def sha256_text(text: str) -> str:
    """Return the hex sha256 of a text, as the harness hashes prompts."""
    return hashlib.sha256(text.encode()).hexdigest()


def rows_of(task: str, samples: list[JSON], few_shot: list[list[int]]) -> list[JSON]:
    """Join the harness's samples of a task, one for each filter of a document, to one row a document."""
    rows: dict[int, JSON] = {}
    for one in samples:
        row = rows.setdefault(one["doc_id"], {
            "task": task, "doc_id": one["doc_id"], "doc": one["doc"], "target": one["target"], "arguments": one["arguments"],
            "responses": [answers[0] for answers in one["resps"]], "few_shot": [], "metrics": {},
            "doc_hash": one["doc_hash"], "prompt_hash": one["prompt_hash"], "target_hash": one["target_hash"],
        })  # fmt: skip
        row["metrics"][one["filter"]] = {metric: one[metric] for metric in one["metrics"]}
    for row, numbers in zip(rows.values(), few_shot, strict=bool(few_shot)):
        row["few_shot"] = numbers
    return list(rows.values())


def task_hashes(rows: Iterable[JSON]) -> dict[str, str]:
    """Return the harness's hash of every task: over (document, prompt, target) of each item, once for each filter."""
    own: dict[str, list[str]] = {}
    filters: dict[str, int] = {}
    for row in rows:
        own.setdefault(row["task"], []).append(row["doc_hash"] + row["prompt_hash"] + row["target_hash"])
        filters[row["task"]] = len(row["metrics"])
    return {task: sha256_text("".join(hashes) * filters[task]) for task, hashes in own.items()}


def hashes_of(row: JSON) -> JSON:
    """Compute a row's hashes from what it holds, as the harness does."""
    document = json.dumps(row["doc"], indent=2, default=str, ensure_ascii=False)
    prompt = row["arguments"][0][0]
    return {
        "doc_hash": sha256_text(document), "prompt_hash": sha256_text(prompt), "target_hash": sha256_text(str(row["target"])),
    }  # fmt: skip


def write_rows(path: Path, rows: Iterable[JSON]) -> None:
    """Write rows as JSON lines, compressed."""
    with zstandard.open(path, "wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")


def read_rows(path: Path) -> Iterator[JSON]:
    """Read the rows back."""
    with path.open("rb") as file, io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file)) as stream:
        for line in stream:
            yield orjson.loads(line)


def _plain(value: Any) -> Any:
    """Turn what JSON does not know, such as numpy's numbers, into what it does."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a sample holds a {type(value).__name__}, which has no form in JSON")
