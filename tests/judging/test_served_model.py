"""MT-Bench's protocol and the serving sweep with a real model behind a real server: `transformers serve` on an exported chat model."""

from pathlib import Path

import pytest

from tasks.judging.mt_bench import Bench, run_bench
from tasks.judging.questions import Question, QuestionSet
from tasks.serving.endpoint import Endpoint
from tasks.serving.load import Sweep, run_sweep
from tasks.serving.local import serve
from tasks.serving.prompts import token_counter
from tasks.serving.weights import weight_memory, weights_digest
from tests.serving.scripted import said, scripted
from tests.serving.tiny_chat import tiny_chat


@pytest.mark.slow
def test_a_served_chat_model_answers_both_turns_and_its_speed_is_measured_at_exact_lengths(tmp_path: Path):
    folder = tiny_chat(tmp_path / "chat")
    prompts = {name: {"system_prompt": "Judge.", "prompt_template": "A {answer}"} for name in ("single-v1", "single-math-v1")}
    prompts |= {f"{name}-multi-turn": {"system_prompt": "Judge.", "prompt_template": "A {answer_1} B {answer_2}"} for name in prompts}
    data = QuestionSet([Question(81, "extraction", ["Say one.", "Say two."], None)], prompts, {})
    with serve(folder) as model, scripted(lambda body, n: said("[[2]]")) as judge:
        bench = Bench(model, Endpoint(judge.url, "owl"), data, 2, weights_digest(folder), answer_tokens=8)
        result = run_bench(bench, tmp_path / "out")
        asked = len(judge.asked)
        assert run_bench(bench, tmp_path / "out") == result
        assert len(judge.asked) == asked == 2
        swept = run_sweep(
            model, Sweep([1, 2], 2, prompt_tokens=60, output_tokens=8, chat=True, seed=0), token_counter(str(folder), chat=True)
        )
    assert swept["dialect"] == "generation_config (transformers serve)"
    for level in swept["levels"]:
        assert (level["failed"], level["ended_early"], level["counted_by_server"], level["output_tokens_mean"]) == ({}, 0, True, 8)
        assert level["prompt_tokens_mean"] == 60  # as the server counts them
    (row,) = result["answers"]
    assert [(turn["completion_tokens"], turn["finish_reason"], turn["served_model"]) for turn in row["turns"]] == [
        (8, "length", f"{folder}@main")
    ] * 2
    assert row["turns"][1]["prompt_tokens"] > row["turns"][0]["prompt_tokens"]  # it saw its first answer
    texts = [turn["text"] for turn in row["turns"]]
    assert result["judgements"][1]["messages"][1]["content"] == f"A {texts[0]} B {texts[1]}"
    assert weight_memory(folder)["by_type"].keys() == {"F32"}
