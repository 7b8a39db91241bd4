"""Serving figures from times that are known, against a real server that streams them."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipes.errors import BadInput
from reynard.main import app
from tasks.panels.serving import serving_page
from tasks.serving.endpoint import Endpoint
from tasks.serving.figures import level_figures, spread
from tasks.serving.load import Sweep, run_sweep
from tasks.serving.prompts import lengths, make_prompts
from tasks.serving.stream import Load, Timeline, dialects, find_dialect, stream_one
from tasks.serving.weights import weight_memory
from tests.serving.scripted import scripted
from tests.serving.streaming import Clock, streaming


def words(text: str) -> int:
    return len(text.split())


def one(endpoint: Endpoint, clock=None, extra=None) -> Timeline:
    async def once() -> Timeline:
        async with endpoint.client(1) as client:
            load = Load(endpoint, 8, True, extra or {}, **({"clock": clock} if clock else {}))
            return await stream_one(client, load, "hello", 0)

    return asyncio.run(once())


def test_a_streamed_answer_becomes_the_times_of_its_pieces_and_the_servers_own_count_of_tokens():
    clock = Clock(10.0)
    with streaming(lambda n: [10.5, 10.7, 11.0], clock) as server:
        timeline = one(Endpoint(server.url, "m"), clock)
    assert (timeline.sent, timeline.arrivals, timeline.ended) == (10.0, [10.5, 10.7, 11.0], 11.0)
    assert (timeline.output_tokens, timeline.counted_by_server, timeline.prompt_tokens, timeline.finish_reason) == (6, True, 234, "length")
    with streaming(lambda n: [1.0, 2.0], usage=False) as server:
        timeline = one(Endpoint(server.url, "m"))
    assert (timeline.output_tokens, timeline.counted_by_server) == (2, False)  # a token a piece


def test_what_fails_says_why_and_raises_nothing():
    with streaming(lambda n: []) as server:
        assert one(Endpoint(server.url, "m")).fault == "the answer was empty"
    with streaming(lambda n: [1.0], end="{broken") as server:
        assert "no event stream" in one(Endpoint(server.url, "m")).fault
    assert "ConnectError" in one(Endpoint(server.url, "m")).fault
    with scripted(lambda body, n: (503, {}, b"overloaded")) as server:
        timeline = one(Endpoint(server.url, "m"))
    assert (timeline.fault, timeline.refused) == ("status 503: overloaded", False)
    with scripted(lambda body, n: (200, {}, b'data: {"error": "out of memory"}\n\n')) as server:
        assert one(Endpoint(server.url, "m")).fault == "the server said: out of memory"


def test_figures_of_a_level_are_those_computed_by_hand():
    # 10 tokens in 2 s, the first after 0.5 s; 10 tokens in 4 s, the first after 1 s; and one that failed
    quick = Timeline(0, 0.0, [0.5, 1.0, 2.0], 2.0, 200, 10, True, "length")
    slow = Timeline(1, 1.0, [2.0, 4.0, 5.0], 5.0, 268, 10, True, "length")
    lost = Timeline(1, 5.0, [], 6.0, None, 0, False, None, "status 500: no")
    figures = level_figures(2, [quick, slow, lost], 11)
    assert figures["failed"] == {"status 500: no": 1}
    assert (figures["requests"], figures["output_tokens"], figures["ended_early"], figures["prompt_tokens_mean"]) == (3, 20, 2, 234)
    assert figures["output_tokens_per_second"] == pytest.approx(20 / 6)
    assert figures["output_tokens_per_second_per_user"] == pytest.approx({"mean": 3.75, "p50": 3.75, "p90": 4.75, "p99": 4.975})
    assert figures["decoding_tokens_per_second"]["mean"] == pytest.approx((9 / 1.5 + 9 / 3) / 2)
    assert figures["time_to_first_token_seconds"]["p50"] == 0.75
    assert figures["inter_token_seconds"] == pytest.approx({"mean": 1.125, "p50": 1.0, "p90": 1.7, "p99": 1.97})  # 0.5, 1, 2, 1
    assert level_figures(1, [lost], 11) == {"concurrency": 1, "requests": 1, "failed": {"status 500: no": 1}}
    assert spread([]) is None


@pytest.mark.parametrize("requests", [1, 2, 7, 64])
def test_prompts_have_exactly_the_mean_length_and_every_one_its_own_words(requests: int):
    wanted = lengths(requests, 234, 0)
    assert sum(wanted) == 234 * requests and min(wanted) >= 117 and max(wanted) <= 351
    made = make_prompts(words, wanted, [0, 0])
    assert [words(text) for text in made] == wanted
    assert made == make_prompts(words, wanted, [0, 0])
    assert len({text[:40] for text in made}) == requests


def test_a_length_is_met_token_for_token_where_words_are_several_tokens_and_refused_where_it_cannot_be():
    assert len(make_prompts(len, [57], [0])[0]) == 57  # a token a character
    with pytest.raises(BadInput, match="exactly 3 tokens"):
        make_prompts(lambda text: 10 + len(text), [3], [0])


def test_the_dialect_is_the_first_that_a_server_takes():
    def takes(*unknown: str):
        return lambda body: 422 if any(field in body for field in unknown) else 200

    async def find(url: str) -> str:
        endpoint = Endpoint(url, "m")
        async with endpoint.client(1) as client:
            return await find_dialect(client, endpoint, 8, True, "hello")

    for unknown, wanted in (
        ((), 0),
        (("ignore_eos",), 1),
        (("ignore_eos", "generation_config"), 2),
        (tuple(["stream_options", "generation_config"]), 3),
    ):
        with streaming(lambda n: [1.0], accepts=takes(*unknown)) as server:
            assert asyncio.run(find(server.url)) == list(dialects(8))[wanted]
    with streaming(lambda n: [1.0], accepts=lambda body: 404) as server, pytest.raises(BadInput, match="status 404"):
        asyncio.run(find(server.url))


def test_a_sweep_sends_each_users_requests_one_after_another_and_as_many_users_at_once_as_it_says():
    sweep = Sweep([1, 3], requests_per_user=2, prompt_tokens=20, output_tokens=8, chat=True, seed=0)
    with streaming(lambda n: [0.0] * 4) as server:
        result = run_sweep(Endpoint(server.url, "m"), sweep, words)
    assert len(server.asked) == 1 + 2 + 6  # the first finds the dialect and warms up
    assert [(level["concurrency"], level["requests"], level["output_tokens"]) for level in result["levels"]] == [(1, 2, 16), (3, 6, 48)]
    prompts = [body["messages"][0]["content"] for body in server.asked]
    assert len(set(prompts)) == 9 and sum(words(text) for text in prompts[3:]) == 6 * 20
    assert server.asked[0]["ignore_eos"] and server.asked[0]["max_tokens"] == 8 and server.asked[0]["temperature"] == 0.0
    assert sorted(row["user"] for row in result["requests"] if row["concurrency"] == 3) == [0, 0, 1, 1, 2, 2]
    by_user = [[row for row in result["requests"] if row["concurrency"] == 3 and row["user"] == user] for user in range(3)]
    assert all(first["ended"] <= second["sent"] for first, second in by_user)


def test_weights_are_counted_from_the_files_headers_by_type(tmp_path: Path):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.zeros((), dtype=torch.bfloat16)}, tmp_path / "model-2.safetensors")
    assert weight_memory(tmp_path) == {
        "bytes": 60, "parameters": 18, "by_type": {"BF16": {"bytes": 12, "parameters": 6}, "F32": {"bytes": 48, "parameters": 12}},
    }  # fmt: skip
    (tmp_path / "model-3.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(BadInput, match="no safetensors file"):
        weight_memory(tmp_path)


def test_the_page_shows_the_reports_figures_and_says_what_failed():
    quick = level_figures(1, [Timeline(0, 0.0, [0.5, 2.0], 2.0, 234, 10, True, "length")], 10)
    lost = level_figures(2, [Timeline(0, 0.0, [], 1.0, None, 0, False, None, "<b>500</b>")], 10)
    setup = {
        "model": "m",
        "endpoint": "http://x/v1",
        "prompt_tokens": 234,
        "output_tokens": 10,
        "requests_per_user": 1,
        "machine": "2 cores",
    }
    weights = {"bytes": 60, "parameters": 18, "by_type": {"F32": {"bytes": 60, "parameters": 18}}}
    page = serving_page({"setup": setup, "dialect": "ignore_eos", "levels": [quick, lost], "weights": weights})
    assert "3,703" in page and "Fox-1, over" in page and "&lt;b&gt;500" in page and "<b>500" not in page
    assert "With 1 user at once: 5.000 output tokens a second" in page


def test_the_command_writes_its_figures_and_wrong_input_is_one_sentence(tmp_path: Path):
    from tests.serving.tiny_chat import tiny_chat

    folder = tiny_chat(tmp_path / "chat")
    with streaming(lambda n: [0.0] * 4) as server:
        command = ["serve-bench", server.url, "--model", "m", "--tokenizer", str(folder), "--weights", str(folder), "--concurrency", "1,2"]
        command += ["--requests", "2", "--output-tokens", "8", "--json", str(tmp_path / "o.json"), "--html", str(tmp_path / "o.html")]
        ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    written = json.loads((tmp_path / "o.json").read_text())
    assert [level["output_tokens"] for level in written["levels"]] == [16, 32]
    assert written["weights"]["by_type"]["F32"]["bytes"] == 4 * written["weights"]["parameters"]
    for wrong, words_of_it in (
        ([*command, "--concurrency", "0"], "whole numbers"),
        (["serve-bench"], "either --serve"),
        (["serve-bench", "http://x/v1"], "not given"),
    ):
        ended = CliRunner().invoke(app, wrong)
        assert ended.exit_code == 2 and words_of_it in ended.stderr
