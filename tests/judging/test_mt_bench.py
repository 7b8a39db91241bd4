"""MT-Bench with a scripted model and a scripted judge behind real HTTP, and its figures computed by hand."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipes.errors import BadInput
from reynard.main import app
from tasks.judging.ledger import Ledger
from tasks.judging.mt_bench import Bench, rating, run_bench
from tasks.judging.questions import fetch_questions, load_questions
from tasks.judging.ratings import summarize
from tasks.serving.endpoint import Endpoint, Unanswered
from tests.serving.scripted import refused, said, scripted

STOCK = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval" / "mt_bench"
needs_stock = pytest.mark.skipif(not STOCK.is_dir(), reason="FastChat's files are not at hand")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write three questions, a reference answer to one of them, and prompts in the places of FastChat's."""
    folder = tmp_path / "data"
    folder.mkdir()
    questions = [
        (1, "writing", ["Write a haiku.", "Now {shorter}."]),
        (2, "math", ["1+1?", "Twice that?"]),
        (3, "stem", ["What is a cell?", "And an atom?"]),
    ]
    rows = [{"question_id": number, "category": category, "turns": turns} for number, category, turns in questions]
    (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "reference_answer_gpt-4.jsonl").write_text(json.dumps({"question_id": 2, "choices": [{"turns": ["two", "four"]}]}) + "\n")
    shapes = {
        "single-v1": "Q {question} A {answer}", "single-math-v1": "Q {question} R {ref_answer_1} A {answer}",
        "single-v1-multi-turn": "Q {question_1} A {answer_1} Q {question_2} A {answer_2}",
        "single-math-v1-multi-turn": "Q {question_1} R {ref_answer_1} Q {question_2} R {ref_answer_2} A {answer_1} A {answer_2}",
    }  # fmt: skip
    prompts = [{"name": name, "system_prompt": "You judge.", "prompt_template": shape} for name, shape in shapes.items()]
    (folder / "judge_prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
    return folder


def echo(body: dict, number: int):
    """Answer with the number of messages and the last of them."""
    return said(f"[{len(body['messages'])}] {body['messages'][-1]['content']}")


def bench(model, judge, data: Path, concurrency: int = 3) -> Bench:
    waits = {"attempts": 3, "wait_seconds": 0.0}
    return Bench(Endpoint(model.url, "fox", **waits), Endpoint(judge.url, "owl", **waits), load_questions(data), concurrency)


def test_two_turns_are_answered_and_judged_with_the_categorys_temperature_and_prompt(tmp_path, data):
    with scripted(echo) as model, scripted(lambda body, n: said("Fine. Rating: [[7]]")) as judge:
        result = run_bench(bench(model, judge, data), tmp_path / "out")
    assert (len(model.asked), len(judge.asked), result["failed"]) == (6, 6, [])
    haiku = next(row for row in result["answers"] if row["question_id"] == 1)
    assert [turn["text"] for turn in haiku["turns"]] == ["[1] Write a haiku.", "[3] Now {shorter}."]
    assert haiku["turns"][1]["messages"][1] == {"role": "assistant", "content": "[1] Write a haiku."}
    temperatures = {body["messages"][0]["content"]: body["temperature"] for body in model.asked}
    assert temperatures == {"Write a haiku.": 0.7, "1+1?": 0.0, "What is a cell?": 0.1}
    shown = {(row["question_id"], row["turn"]): row["messages"][1]["content"] for row in result["judgements"]}
    assert shown[1, 2] == "Q Write a haiku. A [1] Write a haiku. Q Now {shorter}. A [3] Now {shorter}."
    assert shown[2, 1] == "Q 1+1? R two A [1] 1+1?"
    assert shown[2, 2] == "Q 1+1? R two Q Twice that? R four A [1] 1+1? A [3] Twice that?"
    assert {body["temperature"] for body in judge.asked} == {0.0}
    assert {(row["rating"], row["judge"]) for row in result["judgements"]} == {(7.0, "owl")}


def test_a_rating_is_read_as_fastchat_reads_it_and_nothing_outside_one_to_ten_counts():
    assert [rating(text) for text in ("Rating: [[8.5]] not [[2]]", "[9]", "[3] then [[4]]", "ten", "[[85]]", "[[0]]", "[[10]]")] == [
        8.5, 9.0, 4.0, None, None, None, 10.0,
    ]  # fmt: skip


def test_a_judge_without_a_rating_is_asked_three_times_and_the_turn_is_counted_and_in_no_mean(tmp_path, data):
    def judge_script(body: dict, number: int):
        prompt = body["messages"][1]["content"]
        if "haiku" in prompt and "shorter" not in prompt:
            return said("I cannot say.")  # never a rating
        if "cell" in prompt and "atom" not in prompt:
            return said("[[6]]" if body["temperature"] else "hm")  # at the second reading
        return said("[[4]]")

    with scripted(echo) as model, scripted(judge_script) as judge:
        result = run_bench(bench(model, judge, data), tmp_path / "out")
    found = {(row["question_id"], row["turn"]): row for row in result["judgements"]}
    assert [(one["rating"], one["temperature"]) for one in found[1, 1]["readings"]] == [(None, 0.0), (None, 0.5), (None, 0.5)]
    assert [one["rating"] for one in found[3, 1]["readings"]] == [None, 6.0]
    figures = summarize(result["judgements"], 3)
    assert (figures["expected"], figures["judged"], figures["unrated"], figures["repeated_readings"]) == (6, 6, 1, 3)
    assert figures["overall"]["mean"] == pytest.approx((4 + 4 + 4 + 6 + 4) / 5)
    assert (figures["turn_1"]["mean"], figures["turn_2"]["mean"]) == (5.0, 4.0)
    assert figures["categories"]["writing"]["turn_1"] == {"mean": None, "low": None, "high": None, "ratings": 0}


def test_a_killed_run_asks_for_what_is_missing_alone_and_a_torn_row_is_missing(tmp_path, data):
    out = tmp_path / "out"
    with scripted(echo) as model, scripted(lambda body, n: said("[[5]]")) as judge:
        whole = run_bench(bench(model, judge, data), out)
        asked = len(model.asked), len(judge.asked)
        assert run_bench(bench(model, judge, data), out) == whole
        assert (len(model.asked), len(judge.asked)) == asked
        answers = (out / "answers.jsonl").read_bytes().splitlines(keepends=True)
        (out / "answers.jsonl").write_bytes(b"".join(answers[:2]) + answers[2][:40])  # as a kill leaves it
        again = run_bench(bench(model, judge, data), out)
    assert (len(model.asked) - asked[0], len(judge.asked) - asked[1]) == (2, 0)  # the same answer has its judgements already
    assert [row["key"] for row in again["judgements"]] == [row["key"] for row in whole["judgements"]]


def test_another_answer_is_judged_anew_and_another_judge_judges_all(tmp_path, data):
    out = tmp_path / "out"
    with scripted(echo) as model, scripted(lambda body, n: said("[[5]]")) as judge:
        first = bench(model, judge, data)
        run_bench(first, out)
        run_bench(Bench(first.model, Endpoint(judge.url, "eagle"), first.data, 2), out)
        assert (len(model.asked), len(judge.asked)) == (6, 12)
        run_bench(Bench(first.model, first.judge, first.data, 2, weights="0" * 64), out)  # the name serves other weights now
        assert (len(model.asked), len(judge.asked)) == (12, 12)  # which answered the same


def test_what_fails_alone_is_named_and_left_for_the_next_run_and_what_fails_for_all_ends_the_run(tmp_path, data):
    broken = [True]

    def model_script(body: dict, number: int):
        return refused(400, "too long") if broken[0] and "1+1" in body["messages"][0]["content"] else echo(body, number)

    with scripted(model_script) as model, scripted(lambda body, n: said("[[5]]")) as judge:
        result = run_bench(bench(model, judge, data), tmp_path / "out")
        assert [(one["step"], one["question_id"]) for one in result["failed"]] == [("answer", 2)]
        figures = summarize(result["judgements"], 3)
        assert (figures["expected"], figures["judged"]) == (6, 4)
        broken[0] = False
        assert len(run_bench(bench(model, judge, data), tmp_path / "out")["judgements"]) == 6
    with scripted(lambda body, n: refused(401)) as model, scripted(echo) as judge, pytest.raises(Unanswered):
        run_bench(bench(model, judge, data, concurrency=1), tmp_path / "other")
    assert len(model.asked) == 1


def test_an_interval_is_of_questions_and_that_of_equal_ratings_is_a_point():
    rows = [{"question_id": q, "turn": t, "category": "stem", "rating": 6.0, "readings": [{}]} for q in (1, 2, 3) for t in (1, 2)]
    assert summarize(rows, 3)["overall"] == {"mean": 6.0, "low": 6.0, "high": 6.0, "ratings": 6}
    apart = [row | {"rating": 2.0 if row["question_id"] == 1 else 8.0} for row in rows]
    overall = summarize(apart, 3)["overall"]
    assert (overall["mean"], overall["low"], overall["high"]) == (6.0, 2.0, 8.0)  # all three draws of one question: 1 in 27


def test_the_command_writes_rows_figures_and_an_escaped_page_without_the_key(tmp_path, data, monkeypatch):
    monkeypatch.setenv("OWL_KEY", "sk-hidden-42")
    hostile = "<script>alert(1)</script> [[3]]"
    out = tmp_path / "out"
    with scripted(lambda body, n: said("<b>bold</b>")) as model, scripted(lambda body, n: said(hostile)) as judge:
        command = [
            "mt-bench",
            "--model",
            "fox",
            "--model-url",
            model.url,
            "--judge",
            "owl",
            "--judge-url",
            judge.url,
            "--answer-tokens",
            "64",
            "--judge-key",
            "OWL_KEY",
        ]
        ended = CliRunner().invoke(app, [*command, "--data", str(data), "--out", str(out)])
        assert ended.exit_code == 0, ended.output
    page = (out / "report.html").read_text()
    assert "<script" not in page and "<b>bold" not in page and "&lt;script&gt;alert(1)" in page
    assert "these are no MT-Bench figures" in page and "cut at 64 tokens, FastChat&#x27;s at 1,024" in page
    written = json.loads((out / "summary.json").read_text())
    assert (written["summary"]["overall"]["mean"], written["setup"]["stock"], written["setup"]["served_judge"]) == (3.0, False, ["served"])
    assert judge.keys == ["Bearer sk-hidden-42"] * 6 and model.keys == [None] * 6
    assert not any(b"sk-hidden" in path.read_bytes() for path in out.iterdir()) and "sk-hidden" not in ended.output


def test_wrong_input_is_one_sentence(tmp_path, data):
    def run(*more: str) -> str:
        ended = CliRunner().invoke(app, ["mt-bench", "--judge", "owl", "--data", str(data), *more])
        assert ended.exit_code == 2
        return ended.stderr

    assert "either --serve" in run()
    assert "either --serve" in run("--serve", str(data), "--model-url", "http://x/v1")
    assert "needs a model's name" in run("--model-url", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "o"))
    assert "OWL_KEY is empty" in run("--model-url", "http://127.0.0.1:9/v1", "--model", "m", "--judge-key", "OWL_KEY")
    (data / "question.jsonl").write_text('{"question_id": 1}\n')
    assert "does not hold MT-Bench's files" in run("--model-url", "http://127.0.0.1:9/v1", "--model", "m")


def test_two_runs_never_write_the_same_folder(tmp_path):
    with Ledger(tmp_path / "answers.jsonl"), pytest.raises(BadInput, match="another run"), Ledger(tmp_path / "answers.jsonl"):
        pass


def test_fetched_files_are_fastchats_or_refused(tmp_path):
    with pytest.raises(BadInput, match="has sha256"):
        fetch_questions(tmp_path, fetch=lambda url: b"something else")
    assert not list(tmp_path.iterdir())


@needs_stock
def test_fastchats_files_are_80_questions_in_8_categories_30_of_them_with_references(tmp_path):
    stock = load_questions(STOCK)
    assert stock.is_stock
    names = {
        "question.jsonl": "question.jsonl",
        "gpt-4.jsonl": "reference_answer_gpt-4.jsonl",
        "judge_prompts.jsonl": "judge_prompts.jsonl",
    }
    fetched = fetch_questions(tmp_path, fetch=lambda url: (STOCK / names[url.rsplit("/", 1)[1]]).read_bytes())
    assert load_questions(fetched).is_stock
    assert len(stock.questions) == 80
    assert sorted({question.category for question in stock.questions}) == sorted(
        ["writing", "roleplay", "extraction", "math", "coding", "reasoning", "stem", "humanities"]
    )
    assert [question.id for question in stock.questions if question.reference] == list(range(101, 131))
    name, messages = stock.judge_prompt(stock.questions[0], ["first", "second"], 2)
    assert (name, messages[0]["content"][:10]) == ("single-v1-multi-turn", "Please act")
    assert re.search(r"### Assistant A:\nfirst\n\n### User:\nRewrite your previous response", messages[1]["content"])
