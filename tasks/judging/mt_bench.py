"""A model and a judge, each behind an endpoint, to MT-Bench's answers, judgements and ratings (Zheng et al. 2023, arXiv 2306.05685).

The protocol is FastChat's single-answer grading: two turns at the category's temperature and at most 1,024 tokens each, then a
judgement of each turn at temperature 0 and at most 2,048 tokens. Answers and judgements are rows of two files, each with everything
that was sent and came back; what is there already is not asked for again. A row is known by what decides it: question, model, decoding;
for a judgement the answers' texts, the judge and its prompt.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tasks.artifacts.manifest import digest_of
from tasks.judging.ledger import Ledger
from tasks.judging.questions import Question, QuestionSet
from tasks.runtime.progress import Progress
from tasks.serving.endpoint import Endpoint, Unanswered

JSON = dict[str, Any]
T = TypeVar("T")
ANSWER_TOKENS, JUDGE_TOKENS = 1024, 2048  # FastChat's max_new_token, and what its judge may write
SEED = 0  # FastChat seeds its only choice with 0
READINGS = 3  # how often a judge that gives no rating is asked
LATER_READINGS_TEMPERATURE = 0.5  # at 0, the first reading's, a judge would only repeat itself
RATING, OTHER_RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]")  # FastChat's two, in its order
LOWEST, HIGHEST = 1.0, 10.0


@dataclass(frozen=True)
class Bench:
    """What is run: a model, a judge, the questions, and how many requests go out at once."""

    model: Endpoint
    judge: Endpoint
    data: QuestionSet
    concurrency: int
    weights: str = ""  # the digest of the weights, where they are known: the same name may serve others tomorrow
    answer_tokens: int = ANSWER_TOKENS


def rating(text: str) -> float | None:
    """Return the rating in a judgement, or None if it has none from 1 to 10."""
    found = RATING.search(text) or OTHER_RATING.search(text)
    value = float(found.group(1)) if found else None
    return value if value is not None and LOWEST <= value <= HIGHEST else None


def run_bench(bench: Bench, folder: Path) -> JSON:
    """Answer and judge every question that has not been yet. Return `answers` and `judgements`, by question, and `failed` requests.

    Unanswered if a server refuses every request; a request that fails alone is named in `failed`, and asked again by the next run.
    """
    with Ledger(folder / "answers.jsonl") as answers, Ledger(folder / "judgements.jsonl") as judgements:
        return asyncio.run(_run(bench, answers, judgements))


async def _run(bench: Bench, answers: Ledger, judgements: Ledger) -> JSON:
    failed: list[JSON] = []
    questions = bench.data.questions

    async def answered(question: Question, client: httpx.AsyncClient) -> None:
        if (key := answer_key(bench, question)) not in answers.rows:
            answers.add(await answer(bench, question, client) | {"key": key})

    async def judged(pair: tuple[Question, int], client: httpx.AsyncClient) -> None:
        question, turn = pair
        texts = [one["text"] for one in answers.rows[answer_key(bench, question)]["turns"]]
        name, messages = bench.data.judge_prompt(question, texts, turn)
        key = digest_of({"messages": messages, "judge": bench.judge.model, "tokens": JUDGE_TOKENS, "question": question.id, "turn": turn})
        wanted.append(key)
        if key not in judgements.rows:
            row = {"key": key, "question_id": question.id, "category": question.category, "turn": turn, "model": bench.model.model}
            judgements.add(row | {"prompt": name, "messages": messages} | await judge(bench.judge, messages, client))

    wanted: list[str] = []
    await _each("answer", questions, answered, bench.model, bench.concurrency, lambda one: {"question_id": one.id}, failed)
    have = [question for question in questions if answer_key(bench, question) in answers.rows]
    pairs = [(question, turn) for question in have for turn in (1, 2)]
    await _each("judge", pairs, judged, bench.judge, bench.concurrency, lambda one: {"question_id": one[0].id, "turn": one[1]}, failed)
    return {
        "answers": [answers.rows[answer_key(bench, question)] for question in have],
        "judgements": sorted((judgements.rows[key] for key in wanted if key in judgements.rows), key=lambda r: (r["question_id"], r["turn"])),
        "failed": failed,
    }  # fmt: skip


async def _each(
    step: str, items: Iterable[T], work: Callable[[T, httpx.AsyncClient], Awaitable[None]], endpoint: Endpoint, concurrency: int,
    name: Callable[[T], JSON], failed: list[JSON],
) -> None:  # fmt: skip
    """Work on all items, so many at once. What fails alone is noted; what would fail for all ends the step."""
    items, gate = list(items), asyncio.Semaphore(concurrency)
    with Progress(step, len(items), "requests") as progress:
        async with endpoint.client(concurrency) as client:

            async def one(item: T) -> None:
                async with gate:
                    try:
                        await work(item, client)
                    except Unanswered as error:
                        if error.for_all:
                            raise
                        failed.append({"step": step, "why": str(error)} | name(item))
                progress.advance(1)

            try:
                async with asyncio.TaskGroup() as group:
                    for item in items:
                        group.create_task(one(item))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None


def answer_key(bench: Bench, question: Question) -> str:
    """Return what decides an answer, as one digest."""
    decoding = {"temperature": question.temperature, "max_tokens": bench.answer_tokens, "seed": SEED}
    return digest_of({"question": question.id, "turns": question.turns, "model": bench.weights or bench.model.model, "decoding": decoding})


async def answer(bench: Bench, question: Question, client: httpx.AsyncClient) -> JSON:
    """Hold the conversation of a question: the second turn is asked with the first one's answer before it."""
    messages: list[dict[str, str]] = []
    turns = []
    decoding = {"temperature": question.temperature, "seed": SEED}
    begun = _now()
    for asked in question.turns:
        messages.append({"role": "user", "content": asked})
        reply = await bench.model.complete(client, messages, bench.answer_tokens, **decoding)
        turns.append({"messages": list(messages)} | asdict(reply))
        messages.append({"role": "assistant", "content": reply.text})
    return {
        "question_id": question.id, "category": question.category, "model": bench.model.model, "endpoint": bench.model.url,
        "weights": bench.weights, "decoding": decoding | {"max_tokens": bench.answer_tokens}, "begun": begun, "turns": turns,
    }  # fmt: skip


async def judge(endpoint: Endpoint, messages: list[dict[str, str]], client: httpx.AsyncClient) -> JSON:
    """Have a turn judged; a judgement without a rating is asked for again. Every reading is kept, the last one counts."""
    readings: list[JSON] = []
    begun = _now()
    while len(readings) < READINGS and (not readings or readings[-1]["rating"] is None):
        temperature = LATER_READINGS_TEMPERATURE if readings else 0.0
        reply = await endpoint.complete(client, messages, JUDGE_TOKENS, temperature=temperature)
        readings.append({"rating": rating(reply.text), "temperature": temperature, "max_tokens": JUDGE_TOKENS} | asdict(reply))
    return {
        "judge": endpoint.model, "endpoint": endpoint.url, "begun": begun, "readings": readings,
        "judgement": readings[-1]["text"], "rating": readings[-1]["rating"],
    }  # fmt: skip


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
