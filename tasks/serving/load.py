"""A server and a list of concurrencies to figures: so many users at once, each sending its next request when its last is answered."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tasks.runtime.progress import Progress
from tasks.serving.endpoint import Endpoint
from tasks.serving.figures import level_figures
from tasks.serving.prompts import lengths, make_prompts
from tasks.serving.stream import Load, Timeline, dialects, find_dialect, stream_one

JSON = dict[str, Any]
PROMPT_TOKENS, OUTPUT_TOKENS = 234, 512  # Fox-1's report, "Inference Efficiency of Fox-1": on average, and each


@dataclass(frozen=True)
class Sweep:
    """What is measured: users at once, level by level; requests of each user; and the length of prompts and answers."""

    concurrencies: Sequence[int]
    requests_per_user: int
    prompt_tokens: int
    output_tokens: int
    chat: bool
    seed: int


def run_sweep(endpoint: Endpoint, sweep: Sweep, count: Callable[[str], int]) -> JSON:
    """Measure every level after a warm-up; return `levels`, the `requests` they come from, and what the server was asked with.

    `count` says how many tokens a prompt becomes. BadInput if the server does not answer at all.
    """
    prompts = []
    for level, concurrency in enumerate(sweep.concurrencies):  # each level its own, that no server has seen before
        wanted = lengths(concurrency * sweep.requests_per_user, sweep.prompt_tokens, sweep.seed)
        prompts.append(make_prompts(count, wanted, [sweep.seed, level]))
    warm_up = make_prompts(count, [sweep.prompt_tokens], [sweep.seed, len(prompts)])[0]
    return asyncio.run(_run(endpoint, sweep, prompts, warm_up))


async def _run(endpoint: Endpoint, sweep: Sweep, prompts: list[list[str]], warm_up: str) -> JSON:
    levels: list[JSON] = []
    rows: list[JSON] = []
    async with endpoint.client(max(sweep.concurrencies)) as client:
        dialect = await find_dialect(client, endpoint, sweep.output_tokens, sweep.chat, warm_up)
        load = Load(endpoint, sweep.output_tokens, sweep.chat, dialects(sweep.output_tokens)[dialect])
        for concurrency, mine in zip(sweep.concurrencies, prompts, strict=True):
            with Progress(f"{concurrency} at once", len(mine), "requests") as progress:

                async def user(number: int, mine: list[str] = mine, of: int = concurrency, progress: Progress = progress) -> list[Timeline]:
                    found = []
                    for prompt in mine[number::of]:
                        found.append(await stream_one(client, load, prompt, number))
                        progress.advance(1)
                    return found

                parts = await asyncio.gather(*(user(number) for number in range(concurrency)))
            timelines = [one for part in parts for one in part]
            levels.append(level_figures(concurrency, timelines, sweep.output_tokens))
            rows += [_row(concurrency, one) for one in timelines]
    return {"dialect": dialect, "levels": levels, "requests": rows}


def _row(concurrency: int, one: Timeline) -> JSON:
    """Return what is stored of a request: its arrivals, which are many, are in the figures."""
    first, last = (one.arrivals[0], one.arrivals[-1]) if one.arrivals else (None, None)
    return {"concurrency": concurrency} | {k: v for k, v in asdict(one).items() if k != "arrivals"} | {"first": first, "last": last}
