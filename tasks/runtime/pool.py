"""Items of work to finished items on Ray workers: a bounded number at once, dead workers replaced, stragglers overtaken.

Ray starts a task again when its worker dies. An item that takes far longer than the others did, while workers stand idle, is
given to a second worker as well: both write the same bytes, and the first to finish counts.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

from recipes.errors import BadInput
from tasks.runtime.cluster import connect_ray
from tasks.runtime.steps import Function, first_fault, make_item

DEATHS_ALLOWED = 5  # of an item's workers, before the step fails
STRAGGLER_TIMES, STRAGGLER_SECONDS = 4.0, 60.0
WAIT_SECONDS = 1.0


def finished_items(function: Function, root: str, work: dict[int, tuple[str, Any]], workers: int, gpus: float = 0.0) -> Iterator[int]:
    """Yield the places of items as they are finished, each made with a core and `gpus`. The first exception of an item is raised; BadInput as itself."""
    connect_ray()
    import ray

    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=DEATHS_ALLOWED)(make_item)
    waiting = list(work)
    running: dict[Any, tuple[int, float]] = {}
    finished: set[int] = set()
    durations: list[float] = []

    def start(place: int) -> None:
        folder, argument = work[place]
        running[remote.remote(function, root, folder, argument)] = (place, time.monotonic())

    try:
        while waiting or running:
            while waiting and len(running) < workers:
                start(waiting.pop(0))
            for place in _stragglers(running, durations) if not waiting and len(running) < workers else []:
                start(place)
            for reference in ray.wait(list(running), num_returns=1, timeout=WAIT_SECONDS)[0]:
                place, begun = running.pop(reference)
                ray.get(reference)
                if place not in finished:
                    finished.add(place)
                    durations.append(time.monotonic() - begun)
                    yield place
            for reference in [r for r, (place, _) in running.items() if place in finished]:  # overtaken
                running.pop(reference)
                ray.cancel(reference, force=True)
    except ray.exceptions.RayError as error:
        fault = first_fault(error)
        if isinstance(fault, BadInput):
            raise BadInput(str(fault))  # noqa: B904  its own cause, without a traceback, is what people see
        raise RuntimeError(f"a worker could not finish its item after {DEATHS_ALLOWED} retries: {str(error)[-2000:]}") from error
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _stragglers(running: dict[Any, tuple[int, float]], durations: list[float]) -> list[int]:
    """Return at most one place that is taking much longer than the others took and is not doubled yet."""
    if not durations:
        return []
    limit = max(STRAGGLER_TIMES * statistics.median(durations), STRAGGLER_SECONDS)
    places = [place for place, _ in running.values()]
    late = [place for place, begun in running.values() if time.monotonic() - begun > limit and places.count(place) == 1]
    return late[:1]
