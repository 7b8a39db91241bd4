"""A client of OpenAI-compatible servers against a real one that misbehaves on purpose."""

import asyncio
import json

import pytest

from recipes.errors import BadInput
from tasks.serving.endpoint import Endpoint, Reply, Unanswered
from tests.serving.scripted import refused, said, scripted


def ask(endpoint: Endpoint) -> Reply:
    async def once() -> Reply:
        async with endpoint.client(1) as client:
            return await endpoint.complete(client, [{"role": "user", "content": "hi"}], 16, temperature=0.0)

    return asyncio.run(once())


def test_a_busy_a_broken_and_a_garbled_server_are_asked_again():
    script = [refused(429, Retry_After="0"), refused(500), (200, {}, b"<html>"), (200, {}, b'{"choices": []}'), said("yes")]
    with scripted(lambda body, number: script[number]) as server:
        reply = ask(Endpoint(server.url, "m", wait_seconds=0.0))
    assert (reply.text, reply.attempts, reply.prompt_tokens, reply.completion_tokens, reply.served_model) == ("yes", 5, 7, 3, "served")
    assert server.asked[0] == {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 16, "temperature": 0.0,
    }  # fmt: skip


def test_a_refusal_is_not_asked_again_and_a_server_that_never_works_is_given_up():
    with scripted(lambda body, number: refused(400, "context too long")) as server:
        with pytest.raises(Unanswered, match="context too long") as told:
            ask(Endpoint(server.url, "m", wait_seconds=0.0))
        assert not told.value.for_all
        assert len(server.asked) == 1
    with scripted(lambda body, number: refused(401)) as server, pytest.raises(Unanswered) as told:
        ask(Endpoint(server.url, "m", wait_seconds=0.0))
    assert told.value.for_all
    with scripted(lambda body, number: refused(503)) as server:
        with pytest.raises(Unanswered, match="3 attempts"):
            ask(Endpoint(server.url, "m", attempts=3, wait_seconds=0.0))
        assert len(server.asked) == 3
    with pytest.raises(Unanswered, match="ConnectError"):
        ask(Endpoint(server.url, "m", attempts=2, wait_seconds=0.0))


def test_a_server_that_wants_the_limit_under_its_later_name_gets_it():
    def answer(body: dict, number: int):
        return refused(400, "use max_completion_tokens instead") if "max_tokens" in body else said("ok")

    with scripted(answer) as server:
        endpoint = Endpoint(server.url, "m", wait_seconds=0.0)
        assert [ask(endpoint).text, ask(endpoint).text] == ["ok", "ok"]
    assert ["max_tokens" in body for body in server.asked] == [True, False, False]
    assert server.asked[2]["max_completion_tokens"] == 16


def test_the_key_goes_to_the_server_and_into_nothing_else(monkeypatch):
    secret = "sk-very-secret-1234"
    monkeypatch.setenv("JUDGE_KEY", secret)
    script = [refused(500, f"bad key {secret}"), said(f"your key is {secret}"), refused(403, f"no {secret}")]
    with scripted(lambda body, number: script[number]) as server:
        endpoint = Endpoint(server.url, "m", "JUDGE_KEY", wait_seconds=0.0)
        assert ask(endpoint).text == "your key is [key]"
        with pytest.raises(Unanswered) as told:
            ask(endpoint)
    assert server.keys == [f"Bearer {secret}"] * 3
    assert secret not in str(told.value) + repr(endpoint) + json.dumps(server.asked)


@pytest.mark.parametrize(
    "url, key, words",
    [
        ("https://me:pass@host/v1", "", "carries a user"), ("https://host/v1?api_key=abc", "", "carries a user"), ("ftp://host", "", "not an address"),
        ("https://host/v1", "NOT_SET_KEY", "NOT_SET_KEY is empty"), ("https://host/v1", "BROKEN_KEY", "BROKEN_KEY holds something"),
    ],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_or_would_leak_is_refused_without_its_secret(monkeypatch, url: str, key: str, words: str):
    monkeypatch.setenv("BROKEN_KEY", "abc\ndef")
    with pytest.raises(BadInput, match=words) as told:
        Endpoint(url, "m", key)
    assert not any(secret in str(told.value) for secret in ("pass@", "api_key=abc", "def"))
