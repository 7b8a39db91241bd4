"""The whole of curation, from raw files to kept documents in a store: how long, in which steps, and by how many workers.

The share of each step is measured in one process, with timers around the functions that tagging calls. Their sums lie in shared
memory, since tagging works in a forked child. What the timers and steps do not name is reading, Parquet and the store.
"""

import importlib
import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import Task
from benchmarks.ours.filters import HEURISTICS
from benchmarks.ours.near import rule_of
from recipes.curation import Curation

TIMED = (  # the name of a share, the module and function (or method) that it is the time of
    ("HTML parsing and extraction", "tasks.curation.tag", "extract_text"),
    ("cleaning", "tasks.curation.tag", "clean"),
    ("language classifier", "tasks.curation.language", "LanguageModel.identify"),
    ("benchmark n-grams", "tasks.curation.decontamination", "BenchmarkIndex.matches"),
    ("facts", "tasks.curation.tag", "measure"),
    ("MinHash keys", "tasks.curation.tag", "near_keys"),
    ("writing tables", "tasks.curation.tagged", "TaggedWriter.write"),
    ("quality classifier", "tasks.curation.quality", "Classifier.score"),
)


def section_of(settings: dict[str, Any]) -> Curation:
    """Return a section of a recipe with the rules of a crawl, for a JSON-lines file and a WARC file if there is one.

    FineWeb's thresholds are left out: they drop most of any corpus but a crawl, and the steps after them would have little to do.
    """
    rules = {name: rule for name, rule in HEURISTICS.items() if name != "fineweb_quality"} | {
        "language": {"keep": ["en"], "min_score": 0.3}, "mask": ["email", "ip"], "quality": True, "near_duplicates": "text", "decontaminate": True,
    }  # fmt: skip
    sources = [{"name": "text", "kind": "mixed_web", "format": "jsonl", "location": settings["input"], "licence": "-", "rules": "text"}]
    sources = [] if settings.get("pages_alone") else sources
    if settings["warc"]:
        sources.append(
            {"name": "crawl", "kind": "common_crawl", "format": "warc", "location": settings["warc"], "licence": "-", "rules": "pages"}
        )
    return Curation.model_validate(
        {
            "sources": sources,
            "rules": {"text": rules} | ({"pages": rules | {"html": "main_content"}} if settings["warc"] else {}),
            "max_unreadable_fraction": 0.01,
            "language_model": {"location": settings["language_model"], "licence": "CC-BY-SA-3.0", "sha256": None},
            "quality": {
                "load": {"location": settings["quality_model"], "licence": "-", "sha256": None}, "label": settings["quality_label"],
                "keep_fraction": 0.9,
            },
            "exact_duplicates": {"scope": "across_sources", "false_positive_rate": 1e-9},
            "near_duplicates": {"text": rule_of(settings).model_dump()},
            "decontamination": {"location": "package:tasks/evaluation/items/*/*/*/*.jsonl", "ngram_words": 13, "max_matches": 0},
        }
    )  # fmt: skip


def load_kernels() -> None:
    """Import what the steps import and call the compiled kernels once: whoever forks or is forked later has them."""
    import tasks.curation.curate  # noqa: F401
    from tasks.curation.facts import measure
    from tasks.curation.minhash import jaccard, near_keys, shingle_set

    rule = rule_of({"shingle_length": 13, "permutations": 128, "bands": 9, "rows": 13, "jaccard_threshold": 0.8})
    measure(["load the kernels", "and the tables: ü"])
    near_keys(["load the kernels", "and the tables: ü"], rule)
    jaccard(shingle_set("load the kernels", rule), shingle_set("and the tables", rule))


def _run(task: Task, workers: int) -> tuple[dict, dict[str, float]]:
    from tasks.artifacts.store import open_store
    from tasks.curation.curate import curate
    from tasks.runtime.steps import Steps
    from tasks.sources.units import pin_files

    load_kernels()
    section = section_of(task.settings)
    steps = Steps(open_store(str(task.scratch / "store")), "working", workers)
    places = {
        source.name: [{"address": f.address, "bytes": f.bytes, "mark": f.mark} for f in pin_files(source)] for source in section.sources
    }
    with task.measured():
        counts, details = curate(section, places, steps, lambda done, name, path: None)
    removed: dict[str, int] = {}
    for source in details["sources"].values():
        for reason, number in source["removed"].items():
            removed[reason] = removed.get(reason, 0) + number
    row = {
        "removed": counts["documents_in"] - counts["documents_kept"], "documents": counts["documents_in"], "reasons": removed,
        "bytes": counts["characters_in"], "unit": "10^6 characters of text", "stored_bytes": stored_bytes(task.scratch / "store" / "working"),
    }  # fmt: skip
    return row, {step: round(seconds, 3) for step, seconds in steps.seconds.items()}


def stored_bytes(working: Path) -> dict[str, int]:
    """Add up what the steps left in the store, by step and file name."""
    sizes: dict[str, int] = {}
    for path in sorted(working.rglob("*")):
        if path.is_file():
            name = f"{path.relative_to(working).parts[0]}/{path.name}"
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


def whole(task: Task) -> dict:
    """Curate in this process alone, and say what share of the time each kind of work takes."""
    timers = Timers([name for name, _, _ in TIMED])
    for name, module, function in TIMED:
        timers.wrap(name, module, function)
    row, steps = _run(task, 0)
    named = timers.seconds()
    inside = {"tag": [name for name, _, _ in TIMED[:-1]], "rate": [TIMED[-1][0]]}
    shares = dict(named)
    for step, seconds in steps.items():
        rest = seconds - sum(named[name] for name in inside.get(step, []))
        shares[{"tag": "reading and the rest of tagging", "rate": "the rest of rating"}.get(step, step)] = max(rest, 0.0)
    total = sum(shares.values())
    return row | {
        "step_seconds": steps,
        "shares": {name: round(seconds / total, 4) for name, seconds in shares.items() if seconds / total >= 0.0005},
    }


def whole_pages(task: Task) -> dict:
    """Curate the WARC file alone: what a crawl costs."""
    task.settings["pages_alone"] = True
    return whole(task)


def one_worker(task: Task) -> dict:
    """Curate on Ray with one worker; Ray is there before the clock starts. The time of Ray's workers is wall-clock alone."""
    return _on_ray(task, 1)


def two_workers(task: Task) -> dict:
    """Curate on Ray with two workers."""
    return _on_ray(task, 2)


def _on_ray(task: Task, workers: int) -> dict:
    from tasks.runtime.cluster import connect_ray

    connect_ray()
    import ray

    ray.get([ray.remote(_load).remote() for _ in range(2)])  # worker processes are there
    row, steps = _run(task, workers)
    ray.shutdown()
    task.seconds = task.wall_seconds * workers  # an upper bound: the workers are not this process's children
    return row | {"step_seconds": steps, "workers": workers, "note": "seconds: wall-clock x workers"}


def _load() -> None:
    """Make a worker ready before the clock starts."""
    load_kernels()
    time.sleep(2.0)  # the other worker takes the other task


class Timers:
    """Sums of seconds by name, in memory that forked children share."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.sums = np.frombuffer(mmap.mmap(-1, 8 * len(names)), dtype=np.float64)

    def wrap(self, name: str, module: str, function: str) -> None:
        """Replace a function, or a method written `Class.method`, by one that adds its time to a name."""
        owner: Any = importlib.import_module(module)
        *path, last = function.split(".")
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, self._timed(self.names.index(name), getattr(owner, last)))

    def _timed(self, place: int, inner: Callable) -> Callable:
        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                self.sums[place] += time.perf_counter() - begun

        return timed

    def seconds(self) -> dict[str, float]:
        """Return the sums."""
        return dict(zip(self.names, self.sums.tolist(), strict=True))


def train(texts: list[str], folder: Path, label: str) -> Path:
    """Train the quality classifier that is measured: its speed does not depend on what it learnt."""
    from recipes.curation import TrainClassifier
    from tasks.curation.quality import train_classifier

    rule = TrainClassifier(
        positive=["text"], negative=["text"], documents=400, epochs=1, dimensions=64, word_ngrams=2, learning_rate=0.1, seed=1
    )
    return train_classifier(rule, label, texts[::2], texts[1::2], folder)
