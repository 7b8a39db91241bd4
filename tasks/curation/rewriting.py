"""Documents to documents that a language model wrote anew from them, passage by passage (Fox-1 section 2.1, RewriteBooks).

Any server that speaks OpenAI's chat protocol will do. Every answer is stored under the hash of its question before the next one
counts, so whatever is killed, a rerun asks only what is missing, and the corpus follows from the stored answers alone.
"""

import hashlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from urllib.parse import urlsplit

import orjson

from recipes.curation import Rewriting
from recipes.errors import BadInput
from tasks.artifacts.manifest import JSON
from tasks.artifacts.store import Store

URL_VARIABLE, KEY_VARIABLE = "REYNARD_REWRITE_URL", "REYNARD_REWRITE_KEY"
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_WAIT_SECONDS = 60.0

Ask = Callable[[JSON], JSON]  # the body of a request to {"answer", "finish_reason", "model", "usage"}


class AnswerStore:
    """The answers of a language model in the artifact store, by the hash of the question: `rewriting/<sha256>.json`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def find(self, request: JSON) -> JSON | None:
        """Return the stored answer to a request, None if there is none; OSError if what is stored answers another question."""
        key = self.key(request)
        if not self.store.exists(key):
            return None
        stored = orjson.loads(self.store.read(key))
        if stored.get("request") != request:
            raise OSError(f"{self.store.uri(key)} holds the answer to another question: the object is damaged, delete it")
        return stored

    def keep(self, request: JSON, answer: JSON) -> None:
        """Store an answer with its request, whole."""
        self.store.write(self.key(request), orjson.dumps(answer | {"request": request}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))

    @staticmethod
    def key(request: JSON) -> str:
        """Return the store's key of the answer to a request: everything that the request says decides it."""
        return f"rewriting/{hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()}.json"


def rewrite(
    rule: Rewriting,
    documents: Iterable[tuple[str, str]],
    answers: AnswerStore,
    ask: Ask | None = None,
    parallel: int = 8,
    counts: Counter | None = None,
) -> Iterator[tuple[str, str]]:
    """Rewrite (id, text) pairs in their order, `parallel` documents at a time; stored answers are not asked for again.

    `counts` is told the `documents`, their `passages`, the answers `asked` for now, those `truncated` by the token limit and the
    `empty` ones, whose passages are lost.

    `ask` defaults to the server of REYNARD_REWRITE_URL, which is needed only if an answer is missing. BadInput if it is not set or
    the server refuses; ConnectionError if it does not answer. What was answered until then is stored.
    """
    counts, lock = Counter() if counts is None else counts, Lock()

    def answer_to(request: JSON) -> JSON:
        nonlocal ask
        found = answers.find(request)
        if found is None:
            with lock:
                counts["asked"] += 1
                ask = ask or ChatServer.from_environment()
            found = ask(request)
            answers.keep(request, found)
        return found

    pending = iter(documents)
    while batch := list(itertools.islice(pending, parallel)):
        requests = [[_request(rule, passage) for passage in passages(text, rule.passage_characters)] for _, text in batch]
        pool = ThreadPoolExecutor(parallel)
        try:
            answered = iter(list(pool.map(answer_to, itertools.chain.from_iterable(requests))))
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure, questions in flight are answered and stored, others not asked
        for (id, _), asked in zip(batch, requests, strict=True):
            yield id, _joined([next(answered) for _ in asked], counts)


def _request(rule: Rewriting, passage: str) -> JSON:
    return {
        "model": rule.model, "messages": [{"role": "user", "content": rule.prompt.replace("{text}", passage)}],
        "temperature": rule.temperature, "seed": rule.seed, "max_tokens": rule.max_answer_tokens,
    }  # fmt: skip


def _joined(answers: list[JSON], counts: Counter) -> str:
    texts = [answer["answer"].strip() for answer in answers]
    counts["documents"] += 1
    counts["passages"] += len(texts)
    counts["truncated"] += sum(answer["finish_reason"] == "length" for answer in answers)
    counts["empty"] += sum(not text for text in texts)
    return "\n\n".join(text for text in texts if text)


def passages(text: str, limit: int) -> list[str]:
    """Cut a text into passages of at most `limit` characters: at blank lines, and where a paragraph is longer, at a line or a space.

    Joined by blank lines, passages cut at blank lines only give the text again, but for white space around paragraphs.
    """
    found: list[str] = []
    for paragraph in text.split("\n\n"):
        paragraph = paragraph.strip()
        if found and paragraph and len(found[-1]) + 2 + len(paragraph) <= limit:
            found[-1] += "\n\n" + paragraph
            continue
        while len(paragraph) > limit:
            cut = max(paragraph.rfind("\n", 1, limit + 1), 0) or max(paragraph.rfind(" ", 1, limit + 1), 0) or limit
            found.append(paragraph[:cut].rstrip())
            paragraph = paragraph[cut:].lstrip()
        if paragraph:
            found.append(paragraph)
    return found


class ChatServer:
    """A server of OpenAI's chat protocol, asked with retries: busy servers and lost connections are waited for, refusals are not."""

    def __init__(
        self, url: str, key: str = "", attempts: int = 6, timeout_seconds: float = 300.0, wait: Callable[[float], None] = time.sleep
    ) -> None:
        import httpx

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            where = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "a text without a host"
            raise BadInput(
                f"{URL_VARIABLE} ({where}) must be like http://host:8000/v1, with the key in {KEY_VARIABLE} and not in the address"
            )
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise BadInput(f"{KEY_VARIABLE} has characters that no header can carry: set it to the key alone")
        self.address = url.rstrip("/") + "/chat/completions"
        self.attempts, self.wait, self._key = attempts, wait, key
        self._client = httpx.Client(headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=timeout_seconds)

    @classmethod
    def from_environment(cls) -> "ChatServer":
        """Make the server that the environment names; BadInput if it names none."""
        url = os.environ.get(URL_VARIABLE, "")
        if not url:
            raise BadInput(
                f"{URL_VARIABLE} is not set and answers are missing: set it to a server of OpenAI's chat protocol (http://host:8000/v1)"
            )
        return cls(url, os.environ.get(KEY_VARIABLE, ""))

    def __call__(self, request: JSON) -> JSON:
        """Ask one question. BadInput if the server refuses it, ConnectionError if no attempt gets an answer."""
        import httpx

        problem = ""
        for attempt in range(self.attempts):
            pause = min(2.0**attempt, _LONGEST_WAIT_SECONDS)
            try:
                response = self._client.post(self.address, json=request)
            except httpx.HTTPError as error:  # its text may name headers: the type says enough
                problem = type(error).__name__
            else:
                if response.status_code == 200:
                    return self._answer(response)
                if response.status_code not in _RETRIED:
                    raise BadInput(self._refusal(response.status_code, response.text, request))
                problem = f"status {response.status_code}"
                pause = _retry_after(response.headers.get("Retry-After", ""), pause)
            if attempt + 1 < self.attempts:
                self.wait(pause)
        raise ConnectionError(
            f"{self.address} gave no answer in {self.attempts} attempts ({problem}): run again, only missing answers are asked for"
        )

    def _answer(self, response) -> JSON:
        try:
            body = response.json()
            choice = body["choices"][0]
            text, reason = choice["message"]["content"] or "", choice.get("finish_reason") or ""
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BadInput(
                f"{self.address} answers, but not in OpenAI's chat protocol: check {URL_VARIABLE} (it ends in /v1 as a rule)"
            ) from None
        return {"answer": str(text), "finish_reason": str(reason), "model": str(body.get("model") or ""), "usage": body.get("usage") or {}}

    def _refusal(self, status: int, body: str, request: JSON) -> str:
        if status in (401, 403):
            return f"{self.address} refuses the key (status {status}): set {KEY_VARIABLE} to one that may use model {request['model']!r}"
        if status == 404:
            return (
                f"{self.address} is not there, or has no model {request['model']!r} (status 404): check {URL_VARIABLE} and rewriting.model"
            )
        said = (body.replace(self._key, "***") if self._key else body)[:200]
        return f"{self.address} refuses the request (status {status}: {said}): check {URL_VARIABLE} and the recipe's rewriting section"


def _retry_after(header: str, otherwise: float) -> float:
    return min(float(header), _LONGEST_WAIT_SECONDS) if header.isdigit() else otherwise
