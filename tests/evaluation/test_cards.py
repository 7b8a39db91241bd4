"""When a card is made and when it is found: a stand-in answers in place of the scoring process, and counts what it is asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.artifacts.handles import Run
from tasks.artifacts.manifest import sealed
from tasks.artifacts.store import Damaged, open_store
from tasks.evaluation.cards import Cards, Model, card_identity, find_cards, read_model, summary
from tasks.evaluation.samples import FILE, read_rows, write_rows
from tasks.evaluation.scorer import Setup
from tasks.runtime.cluster import find_profile
from tasks.runtime.production import Production, Reader

HARNESS = {"lm_eval": "0.4.13", "precision": "float32", "prompts": "plain, no chat template", "seeds": {"few_shot": 1234}}
MODEL = Model("nowhere", "weights", "tokenizer")


class StandIn:
    """Answers as the scoring process does; `dies_at` is the number of answers after which it is killed."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked: list[str] = []
        self.dies_at = dies_at

    def ask(self, question: dict, progress=None) -> dict:
        if question["do"] == "held_out":
            return {"source": question["source"]["source"], "bits": 8.0, "bytes": 4}
        if len(self.asked) == self.dies_at:
            raise KeyboardInterrupt
        self.asked.append(question["task"])
        write_rows(Path(question["samples"]), [{"task": question["task"], "shots": question["shots"]}])
        results = {question["task"]: {"acc,none": 0.25, "acc_stderr,none": 0.05, "acc_norm,none": 0.5}}
        return {
            "results": results, "task_hashes": {question["task"]: "hash"}, "items": 1, "versions": {question["task"]: "1.0"}, "chance": 25.0,
            "decoding": {"answers": "log-likelihoods"},
        }  # fmt: skip


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(
        name="r", folder=str(tmp_path), store=str(tmp_path / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0
    )


def make(run: Run, scorer: StandIn, *tasks: tuple[str, int], model: Model = MODEL, limit: int | None = 10, data: str = "data"):
    cards = Cards(run, find_profile("local"), model, Setup("nowhere", None, 1, "cpu"), scorer)
    identities = [card_identity(model, task, shots, limit, HARNESS, {"set": data}) for task, shots in tasks]
    made = cards.make(identities, {task: 1 for task, _ in tasks}, HARNESS)
    cards.forget()
    return made


def test_what_was_answered_before_a_kill_is_not_answered_again(run):
    tasks = [("piqa", 0), ("arc_easy", 0), ("hellaswag", 10)]
    killed, again = StandIn(dies_at=2), StandIn()
    with pytest.raises(KeyboardInterrupt):
        make(run, killed, *tasks)
    made = make(run, again, *tasks)
    assert [card.counts["task"] for card in made] == ["piqa", "arc_easy", "hellaswag"]
    assert sorted(killed.asked + again.asked) == ["arc_easy", "hellaswag", "piqa"] and len(again.asked) == 1
    assert not open_store(run.store).list("working")  # sealed cards need nothing else


def test_suites_and_recipes_share_a_card_and_each_task_is_asked_once_even_if_listed_twice(run):
    scorer = StandIn()
    first = make(run, scorer, ("piqa", 0), ("winogrande", 5), ("piqa", 0))
    second = make(run, scorer, ("winogrande", 5))
    assert sorted(scorer.asked) == ["piqa", "winogrande"]
    assert first[0].version == first[2].version and second[0].digest == first[1].digest


@pytest.mark.parametrize("changes", [
    {"limit": 20}, {"limit": None}, {"data": "other"}, {"model": replace(MODEL, weights="other")}, {"model": replace(MODEL, tokenizer="other")},
])  # fmt: skip
def test_whatever_decides_a_card_makes_another_one(run, changes):
    scorer = StandIn()
    make(run, scorer, ("piqa", 0))
    make(run, scorer, ("piqa", 0), **changes)
    make(run, scorer, ("piqa", 0), model=replace(MODEL, folder="elsewhere"))  # a place decides nothing
    assert scorer.asked == ["piqa", "piqa"] and len(sealed(open_store(run.store), "card")) == 2


def test_a_models_digests_tell_weights_from_tokenizer(tmp_path):
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(name)
    first = read_model(tmp_path)
    (tmp_path / "tokenizer.json").write_text("other")
    second = read_model(tmp_path)
    assert second.weights == first.weights and second.tokenizer != first.tokenizer
    (tmp_path / "config.json").write_text("other")
    assert read_model(tmp_path).weights != first.weights and read_model(tmp_path).tokenizer == second.tokenizer


def test_a_card_gives_a_benchmarks_row_in_percent_by_the_metric_that_is_asked_for(run):
    (card,) = make(run, StandIn(), ("piqa", 0))
    row = summary({"suite": "s", "task": "piqa", "shots": 0, "metric": "acc"}, "acc,none", card)
    assert (row["score"], row["stderr"], row["chance"], row["items"], row["task_hash"]) == (25.0, 5.0, 25.0, 1, "hash")
    other = summary({"suite": "s", "task": "piqa", "shots": 0, "metric": "acc_norm"}, "acc_norm,none", card)
    assert (other["score"], other["stderr"], other["metric"], other["card"]) == (50.0, None, "acc_norm", f"card-piqa-0-shot@{card.version}")


def test_held_out_sources_are_measured_once_too_and_keep_their_order(run):
    scorer = StandIn()
    cards = Cards(run, find_profile("local"), MODEL, Setup("nowhere", None, 1, "cpu"), scorer)
    sources = [{"source": "b", "documents": []}, {"source": "a", "documents": []}]
    assert [one["source"] for one in cards.held_out(sources, "tokens", 100, HARNESS)] == ["b", "a"]
    assert cards.steps.made == {"held-out": 2}
    cards.held_out(sources, "tokens", 100, HARNESS)
    assert cards.steps.made == {"held-out": 2}


def test_a_label_finds_a_card_the_cards_of_scores_or_says_that_there_is_none(run):
    store = open_store(run.store)
    one, other = make(run, StandIn(), ("piqa", 0), ("arc_easy", 0))
    with Production(run, "scores", "scores-base", {}, {}, "tasks.evaluation") as scores:
        scores.seal({}, {"benchmarks": [{"card": f"{one.name}@{one.version}"}]})
    assert [card.version for card in find_cards(store, f"card-piqa-0-shot@{one.version[:6]}")] == [one.version]
    assert [card.version for card in find_cards(store, "scores-base")] == [one.version]
    assert {card.version for card in find_cards(store, "")} == {one.version, other.version}
    with pytest.raises(BadInput, match="has no card 'nothing@1'"):
        find_cards(store, "nothing@1")


def test_a_cards_changed_file_is_found(run):
    (card,) = make(run, StandIn(), ("piqa", 0))
    store = open_store(run.store)
    path = Path(store.uri(f"card/{card.version}/{FILE}"))
    assert list(read_rows(Reader(store, card).path(FILE))) == [{"task": "piqa", "shots": 0}]
    write_rows(path, [{"task": "piqa", "shots": 1}])
    with pytest.raises(Damaged, match="the file was changed or damaged"):
        Reader(store, card).path(FILE)
