"""An address, a model's name and the name of a variable that holds a key, to answers of any OpenAI-compatible server.

The key is read from the environment when a request is sent. It is in no attribute that is printed or stored, and what comes back from a
server (which may quote it) is stripped of it before anybody sees it.
"""

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from recipes.errors import BadInput

PASSING = (408, 409, 425, 429, 500, 502, 503, 504, 529)  # a server's states in which the same request may succeed later
FOR_ALL = (401, 403, 404)  # no other request will fare better
MOST_WAIT_SECONDS = 60.0
SHOWN_CHARACTERS = 300  # of a server's own words about an error


class Unanswered(RuntimeError):
    """A request that got no usable answer; `for_all` says that no other request to this server will."""

    def __init__(self, message: str, for_all: bool = False) -> None:
        super().__init__(message)
        self.for_all = for_all


@dataclass(frozen=True)
class Reply:
    """A model's answer: its text, what the server says of itself and of tokens, and how long it took."""

    text: str
    served_model: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    attempts: int  # of the request, the last of which was answered


@dataclass(frozen=True)
class Endpoint:
    """A model behind `<url>/chat/completions`; `url` ends in `/v1` as a rule. BadInput if it cannot be one, or would carry a secret."""

    url: str
    model: str
    key_variable: str = ""  # the environment's variable that holds the key; "" for a server without keys
    timeout_seconds: float = 600.0
    attempts: int = 8
    wait_seconds: float = 2.0  # before the second attempt, twice as long before each later one
    _limit_field: list[str] = field(default_factory=lambda: ["max_tokens"], repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise BadInput(
                f"the endpoint's URL at {parts.hostname} carries a user, a password or a query, and addresses are stored with results: "
                "give the plain address, and name the environment variable of the key"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"endpoint {self.url!r} is not an address: give one such as http://127.0.0.1:8000/v1")
        if not self.model:
            raise BadInput(f"the endpoint {self.url} needs a model's name: `GET {self.url}/models` lists what it serves")
        self.key()

    def key(self) -> str:
        """Return the key, "" if none is used; BadInput, without its value, if it is missing or could not be sent."""
        if not self.key_variable:
            return ""
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise BadInput(f"the environment variable {self.key_variable} is empty: set it to the key of {self.url}, or name another one")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise BadInput(
                f"the environment variable {self.key_variable} holds something that is no key (spaces or control characters): set it anew"
            )
        return key

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        key = self.key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def without_key(self, text: str) -> str:
        """Return a server's text with the key, if it quotes it, taken out."""
        key = self.key()
        return text.replace(key, "[key]") if key else text

    def client(self, connections: int) -> httpx.AsyncClient:
        """Open a client for so many requests at once. It follows no redirect: the key is for this server alone."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(timeout=httpx.Timeout(self.timeout_seconds, connect=30.0), limits=limits, follow_redirects=False)

    async def complete(self, client: httpx.AsyncClient, messages: list[dict[str, str]], max_tokens: int, **decoding: Any) -> Reply:
        """Answer a conversation. Waits and tries again while a server is busy or broken; Unanswered if that does not help."""
        begun, told = time.monotonic(), ""
        for attempt in range(1, self.attempts + 1):
            limit = self._limit_field[0]
            body = {"model": self.model, "messages": messages, limit: max_tokens, **decoding}
            wait = min(self.wait_seconds * 2 ** (attempt - 1), MOST_WAIT_SECONDS)
            try:
                response = await client.post(f"{self.url.rstrip('/')}/chat/completions", json=body, headers=self.headers())
            except httpx.TransportError as error:  # not there, gone while answering, or too slow
                told = f"{type(error).__name__}: {self.without_key(str(error))}"
            else:
                if response.status_code == 200:
                    found = self._reply(response, time.monotonic() - begun, attempt)
                    if found is not None:
                        return found
                    told = f"status 200 with a body that is no chat completion: {self._words(response)}"
                elif response.status_code in PASSING:
                    told = f"status {response.status_code}: {self._words(response)}"
                    wait = min(max(wait, _asked_to_wait(response)), MOST_WAIT_SECONDS)
                elif limit == "max_tokens" and "max_completion_tokens" in response.text:
                    self._limit_field[0], wait = "max_completion_tokens", 0.0  # OpenAI's later models
                else:
                    raise Unanswered(
                        f"{self.url} refuses {self.model!r} with status {response.status_code}: {self._words(response)}",
                        response.status_code in FOR_ALL,
                    )
            if attempt < self.attempts:
                await asyncio.sleep(wait)
        raise Unanswered(f"{self.url} gave no answer in {self.attempts} attempts; the last: {told}")

    def _reply(self, response: httpx.Response, seconds: float, attempts: int) -> Reply | None:
        try:
            body = response.json()
            choice, usage = body["choices"][0], body.get("usage") or {}
            text = choice["message"]["content"] or ""
            text, model = self.without_key(str(text)), self.without_key(str(body.get("model", "")))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None
        counts = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        return Reply(text, model, choice.get("finish_reason"), *counts, round(seconds, 3), attempts)

    def _words(self, response: httpx.Response) -> str:
        return " ".join(self.without_key(response.text).split())[:SHOWN_CHARACTERS]


def _asked_to_wait(response: httpx.Response) -> float:
    """Return the seconds of a `Retry-After` header; 0 if there is none, or a date."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.replace(".", "", 1).isdigit() else 0.0
