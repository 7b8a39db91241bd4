"""What `check_evaluation` refuses, what held-out documents fit a budget, and how windows cover a document."""

import numpy as np
import pytest

from recipes.errors import BadInput
from recipes.schema import Evaluation
from tasks.artifacts.handles import Run
from tasks.evaluation.cards import Model
from tasks.evaluation.evaluate import HeldOut, evaluate_checkpoint
from tasks.evaluation.held_out import batches, windows
from tasks.evaluation.suites import benchmarks, check_evaluation, scores_identity


def section(*rows: tuple[str, str, str, int], items: str = "sample") -> Evaluation:
    suites = [
        {"name": suite, "checkpoint": which, "benchmarks": [{"task": task, "shots": shots, "metric": "acc"}]}
        for suite, which, task, shots in rows
    ]
    return Evaluation.model_validate({"items": items, "limit": None, "suites": suites, "batch_size": 8, "held_out_tokens": 100})


def test_a_suite_belongs_to_base_or_chat_or_both():
    chosen = section(("a", "base", "piqa", 0), ("b", "chat", "piqa", 0), ("c", "both", "piqa", 0))
    assert [suite for suite, _ in benchmarks(chosen, "base")] == ["a", "c"]
    assert [suite for suite, _ in benchmarks(chosen, "chat")] == ["b", "c"]


def test_a_task_outside_the_sample_is_refused_with_the_tasks_that_are_in_it():
    with pytest.raises(BadInput, match=r"benchmark s/gsm8k is not in the committed sample.*arc_easy.*or set evaluation.items to `hub`"):
        check_evaluation(section(("s", "base", "gsm8k", 0)))
    check_evaluation(section(("s", "base", "gsm8k", 5), items="hub"))


def test_shots_that_the_sample_has_no_examples_for_are_refused():
    with pytest.raises(BadInput, match="benchmark s/arc_challenge wants 25 shots, but the committed sample holds examples for at most 0"):
        check_evaluation(section(("s", "base", "arc_challenge", 25)))
    check_evaluation(section(("s", "both", "mmlu_nutrition", 5)))
    with pytest.raises(BadInput, match="at most 5: set shots to 5"):
        check_evaluation(section(("s", "both", "mmlu_nutrition", 6)))


def test_two_scores_of_one_name_are_refused_unless_they_belong_to_different_checkpoints():
    with pytest.raises(BadInput, match="benchmark s/piqa is listed twice for the base checkpoint"):
        check_evaluation(section(("s", "base", "piqa", 0), ("s", "both", "piqa", 0)))
    check_evaluation(section(("s", "base", "piqa", 0), ("s", "chat", "piqa", 0)))


def test_held_out_documents_are_kept_whole_up_to_the_budget_and_at_least_one():
    source = HeldOut("s", "s.bin", "uint16", [(0, 40, 100), (40, 40, 90), (80, 40, 80), (120, 10, 20)])
    assert source.within(100).documents == [(0, 40, 100), (40, 40, 90)]
    assert source.within(120).documents == source.documents[:3]
    assert source.within(10).documents == source.documents[:1]


def test_evaluation_without_any_held_out_document_is_refused(tmp_path):
    run = Run(name="r", folder=str(tmp_path), store=str(tmp_path), profile="local", tracking_uri="", tracking_run="", started=0.0)
    model = Model(str(tmp_path), "weights", "tokenizer")
    with pytest.raises(BadInput, match="no source has a held-out document"):
        evaluate_checkpoint(run, section(("s", "base", "piqa", 0)), "base", model, [HeldOut("s", "s.bin", "uint16", [])], "", tmp_path)


def test_windows_predict_every_token_but_the_first_exactly_once():
    cut = [window.tolist() for window in windows(np.arange(8), 3)]
    assert cut == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7]]
    assert [token for window in cut for token in window[1:]] == [1, 2, 3, 4, 5, 6, 7]
    assert [window.tolist() for window in windows(np.arange(4), 3)] == [[0, 1, 2, 3]]
    assert windows(np.arange(1), 3) == []


def test_a_batch_holds_neighbours_in_length_and_at_most_its_tokens_after_padding():
    assert batches([3, 9, 4, 9, 20], 18) == [[4], [1, 3], [2, 0]]


def test_a_mirror_decides_scores_by_its_bytes_and_not_by_its_place(tmp_path, monkeypatch):
    asked = section(("s", "base", "gsm8k", 5), items="hub")
    assert "mirror" not in scores_identity(asked, "base")
    identities = []
    for place in ("one", "two"):
        (tmp_path / place / "openai/gsm8k").mkdir(parents=True)
        (tmp_path / place / "openai/gsm8k/test.jsonl").write_text("{}")
        monkeypatch.setenv("REYNARD_MIRROR", str(tmp_path / place))
        identities.append(scores_identity(asked, "base"))
    assert identities[0] == identities[1]
    (tmp_path / "two/openai/gsm8k/test.jsonl").write_text("{ }")
    assert scores_identity(asked, "base") != identities[0]
    assert scores_identity(section(("s", "base", "piqa", 0)), "base").get("mirror") is None  # the committed sample is not in the mirror


def test_a_mirror_that_is_no_folder_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("REYNARD_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=r"REYNARD_MIRROR is '.*nowhere', which is no folder"):
        check_evaluation(section(("s", "base", "gsm8k", 5), items="hub"))
    check_evaluation(section(("s", "base", "piqa", 0)))
