"""A prompt to the times at which a server's tokens arrive: one streamed request to an OpenAI-compatible server.

Servers differ in how they are told to go on after a model's end-of-text: DIALECTS are tried in order, the first that a server accepts is
used. A server of none of them stops where the model ends; what it really wrote is what is counted in any case.
"""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from recipes.errors import BadInput
from tasks.serving.endpoint import Endpoint

JSON = dict[str, Any]
REFUSES_FIELD = (400, 422)
USAGE = {"stream_options": {"include_usage": True}}


class Refused(Exception):
    """A server's answer with another status than 200."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"status {status}: {words}")
        self.status = status


def dialects(tokens: int) -> dict[str, JSON]:
    """Return what is sent beside the standard fields, by the name of who understands it: to write exactly so many tokens."""
    config = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    return {
        "ignore_eos (vLLM, SGLang, llama.cpp)": USAGE | {"ignore_eos": True},
        "generation_config (transformers serve)": {"generation_config": json.dumps(config)},
        "usage alone: answers end where the model ends them": USAGE,
        "standard fields alone: answers end where the model ends them": {},
    }


@dataclass(frozen=True)
class Timeline:
    """One request: seconds on one clock, and tokens. `arrivals` are those of pieces of text, each of one token or more."""

    user: int
    sent: float
    arrivals: list[float]
    ended: float
    prompt_tokens: int | None
    output_tokens: int
    counted_by_server: bool  # else a token for each piece
    finish_reason: str | None
    fault: str = ""  # why the request failed; what arrived before is not used
    refused: bool = False  # it failed because the server does not take one of its fields


@dataclass(frozen=True)
class Load:
    """What each request asks of the endpoint. `chat` sends messages, else the plain prompt goes to `/completions`."""

    endpoint: Endpoint
    output_tokens: int
    chat: bool
    extra: JSON
    clock: Callable[[], float] = time.perf_counter

    def body(self, prompt: str) -> JSON:
        """Return a request's body: greedy, streamed, of a fixed length where the server can be told."""
        asked = {"messages": [{"role": "user", "content": prompt}]} if self.chat else {"prompt": prompt}
        standard = {"model": self.endpoint.model, "stream": True, "max_tokens": self.output_tokens, "temperature": 0.0}
        return standard | asked | self.extra

    @property
    def address(self) -> str:
        """Where requests go."""
        return f"{self.endpoint.url.rstrip('/')}/{'chat/completions' if self.chat else 'completions'}"


async def stream_one(client: httpx.AsyncClient, load: Load, prompt: str, user: int) -> Timeline:
    """Send a prompt and note when each piece of the answer comes. A request that fails says why, it raises nothing."""
    arrivals: list[float] = []
    prompt_tokens = counted = finish = None
    fault, refused = "", False
    sent = load.clock()
    try:
        async for event in _events(client, load, prompt):
            if "error" in event:
                fault = f"the server said: {load.endpoint.without_key(str(event['error']))[:200]}"
                break
            usage = event.get("usage") or {}
            prompt_tokens, counted = usage.get("prompt_tokens", prompt_tokens), usage.get("completion_tokens", counted)
            for choice in event.get("choices") or []:
                finish = choice.get("finish_reason") or finish
                if _piece(choice):
                    arrivals.append(load.clock())
    except Refused as error:
        fault, refused = str(error), error.status in REFUSES_FIELD
    except httpx.HTTPError as error:
        fault = f"{type(error).__name__}: {load.endpoint.without_key(str(error))[:200]}"
    except (ValueError, AttributeError, TypeError) as error:
        fault = f"no event stream ({type(error).__name__})"
    if not fault and not arrivals:
        fault = "the answer was empty"
    tokens = counted if counted is not None else len(arrivals)
    return Timeline(user, sent, arrivals, load.clock(), prompt_tokens, tokens, counted is not None, finish, fault, refused)


async def _events(client: httpx.AsyncClient, load: Load, prompt: str) -> AsyncIterator[JSON]:
    """Yield the events of a streamed answer, up to `[DONE]` or its end; Refused by any status but 200."""
    async with client.stream("POST", load.address, json=load.body(prompt), headers=load.endpoint.headers()) as response:
        if response.status_code != 200:
            words = load.endpoint.without_key((await response.aread()).decode(errors="replace"))
            raise Refused(response.status_code, " ".join(words.split())[:200])
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                yield json.loads(data)


def _piece(choice: JSON) -> str:
    """Return the text that an event carries, be it said or thought."""
    delta = choice.get("delta") or {}
    return choice.get("text") or delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning") or ""


async def find_dialect(client: httpx.AsyncClient, endpoint: Endpoint, tokens: int, chat: bool, prompt: str) -> str:
    """Return the name of the first dialect that the server accepts; BadInput with its words if it accepts none."""
    told = ""
    for name, extra in dialects(tokens).items():
        timeline = await stream_one(client, Load(endpoint, tokens, chat, extra), prompt, 0)
        if not timeline.fault:
            return name
        told = timeline.fault
        if not timeline.refused:
            break
    raise BadInput(f"{endpoint.url} does not answer a streamed request for model {endpoint.model!r}: {told}")
