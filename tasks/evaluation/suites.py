"""The evaluation section of a recipe: which benchmarks score which checkpoint, what decides the scores, and what cannot be run."""

from collections.abc import Iterator

from recipes.errors import BadInput
from recipes.schema import Benchmark, Evaluation
from tasks.artifacts.manifest import JSON
from tasks.evaluation.mirror import folder_digest, items_folder
from tasks.evaluation.sample import ITEMS, SAMPLE


def scores_identity(section: Evaluation, which: str) -> JSON:
    """Return what decides the scores of the `base` or `chat` checkpoint besides their parents: with a mirror also its bytes."""
    identity = section.model_dump(mode="json") | {"which": which}
    folder = items_folder(section)
    return identity if folder in (None, ITEMS) else identity | {"mirror": folder_digest(folder)}


def benchmarks(section: Evaluation, which: str) -> Iterator[tuple[str, Benchmark]]:
    """Yield (suite, benchmark) of the suites that score a `base` or `chat` checkpoint."""
    for suite in section.suites:
        if suite.checkpoint in (which, "both"):
            for benchmark in suite.benchmarks:
                yield suite.name, benchmark


def check_evaluation(section: Evaluation) -> None:
    """Refuse a section whose benchmarks cannot be run or told apart, before anything is trained."""
    items_folder(section)
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
