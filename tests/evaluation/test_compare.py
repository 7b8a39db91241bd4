"""Our cards beside a report's table: values as printed, intervals by hand, and unlike cards refused in a sentence."""

import json
import re
from pathlib import Path

import pytest

from recipes.errors import BadInput
from tasks.artifacts.handles import Run
from tasks.artifacts.store import Store, open_store
from tasks.evaluation.compare import compare, find_entries, interval, paired_interval
from tasks.evaluation.reported import TABLES
from tasks.evaluation.samples import FILE, write_rows
from tasks.panels.comparison import comparison
from tasks.runtime.production import Production

PAPERS = Path(__file__).resolve().parents[3] / "shared" / "papers"
ZERO_SHOT = {"hellaswag": "acc_norm", "winogrande": "acc", "piqa": "acc_norm", "arc_easy": "acc_norm", "arc_challenge": "acc_norm"}
HARNESS = {"lm_eval": "0.4.13", "prompts": "plain, no chat template", "precision": "float32"}


def run_in(folder: Path) -> Run:
    return Run(name="r", folder=str(folder), store=str(folder / "store"), profile="local", tracking_uri="", tracking_run="", started=0.0)


def seal_card(run: Run, weights: str, task: str, right: list[int], shots: int = 0, stderr: float = 0.05, **changes):
    """Seal a card whose items score 0 or 1."""
    metric = ZERO_SHOT.get(task, "acc")
    harness = HARNESS | {key: value for key, value in changes.items() if key in HARNESS}
    limit, hashes = changes.get("limit", 100), {task: changes.get("task_hash", f"hash of {task}")}
    with Production(
        run,
        "card",
        f"card-{task}-{shots}-shot",
        {"weights": weights, "task": task, "shots": shots} | changes,
        {},
        "tasks.evaluation.harness",
    ) as made:
        write_rows(made.scratch / FILE, [{"metrics": {"none": {metric: float(one)}}} for one in right])
        made.add_file(made.scratch / FILE, FILE)
        results = {task: {f"{metric},none": sum(right) / len(right), f"{metric}_stderr,none": stderr}}
        made.seal(
            {"task": task, "shots": shots, "items": len(right), "results": results},
            {"harness": harness, "limit": limit, "task_hashes": hashes},
        )
    return made.manifest


def seal_scores(run: Run, name: str, cards: list) -> None:
    """Seal scores that sum up cards."""
    with Production(run, "scores", name, {"of": [card.version for card in cards]}, {}, "tasks.evaluation") as made:
        made.seal({"scores": {}}, {"benchmarks": [{"card": f"{card.name}@{card.version}"} for card in cards]})


@pytest.fixture
def run(tmp_path) -> Run:
    return run_in(tmp_path)


@pytest.fixture
def store(run) -> Store:
    return open_store(run.store)


def seal_both(run: Run, **second) -> None:
    """Seal base, right on half of the items everywhere, and chat, right on all items of PIQA."""
    seal_scores(run, "scores-base", [seal_card(run, "base", task, [1, 0] * 50) for task in ZERO_SHOT])
    seal_scores(run, "scores-chat", [seal_card(run, "chat", task, [1, 1 if task == "piqa" else 0] * 50, **second) for task in ZERO_SHOT])


def test_a_score_has_the_interval_of_its_standard_error_and_the_average_that_of_its_parts(run, store):
    seal_both(run)
    found = compare(store, find_entries(store, ["scores-base"]), "moxin-2")
    ours = found["rows"][0]["values"]
    assert (ours[0]["score"], ours[0]["low"], ours[0]["high"]) == (50.0, 40.2002, 59.7998)  # 50 ± 1.959964 * 5
    average = ours[-1]
    assert average["score"] == 50.0 and average["high"] == pytest.approx(50 + 1.959964 * 5 / 5**0.5, abs=1e-3)
    assert found["limit"] == 100


def test_the_reports_rows_stand_below_ours_and_are_marked(run, store):
    seal_both(run)
    found = compare(store, find_entries(store, []), "moxin-2")
    assert [row["reported"] for row in found["rows"]] == [False] * 2 + [True] * 12
    last = found["rows"][-1]
    assert (last["name"], [value["score"] for value in last["values"]]) == (
        "Moxin-7B-finetuned",
        [80.03, 75.17, 82.24, 81.12, 58.64, 75.44],
    )
    page = comparison(found)
    assert page.count("reported") >= 12 and "first 100 items" in page and page.count("<svg") == 6


def test_two_of_ours_are_compared_item_by_item(run, store):
    seal_both(run)
    found = compare(store, find_entries(store, ["scores-base", "scores-chat"]), "moxin-2")
    by_task = {one["task"]: one for one in found["differences"]}
    assert by_task["piqa"]["difference"] == 50.0 and 35 < by_task["piqa"]["low"] < by_task["piqa"]["high"] < 65
    assert (by_task["arc_easy"]["difference"], by_task["arc_easy"]["low"], by_task["arc_easy"]["high"]) == (0, 0, 0)  # the same items


def test_a_score_of_nothing_or_everything_is_not_certain():
    assert (interval(0.0, 0.0, 20)["low"], interval(0.0, 0.0, 20)["high"]) == (0.0, 16.1125)  # 1.96² / (20 + 1.96²)
    assert (interval(100.0, 0.0, 20)["low"], interval(100.0, 0.0, 20)["high"]) == (83.8875, 100.0)


def test_a_constant_difference_has_no_width():
    import numpy as np

    assert paired_interval(np.ones(30)) == (1.0, 1.0)
    assert paired_interval(np.array([1.0, 0.0] * 50)) == paired_interval(np.array([1.0, 0.0] * 50))


@pytest.mark.parametrize(("changes", "said"), [
    ({"task_hash": "another"}, "task hashes differ"), ({"limit": 20}, "limits differ (100 and 20)"),
    ({"lm_eval": "0.4.9"}, "harness versions differ (0.4.13 and 0.4.9)"), ({"prompts": "chat template"}, "prompts differ"),
])  # fmt: skip
def test_unlike_cards_are_refused_in_one_sentence(run, store, changes, said):
    seal_both(run, **changes)
    with pytest.raises(BadInput, match=re.escape(said)) as refusal:
        compare(store, find_entries(store, []), "moxin-2")
    assert str(refusal.value).startswith(("base@", "chat@")) and "\n" not in str(refusal.value)
    assert compare(store, find_entries(store, ["scores-chat"]), "moxin-2")  # alone there is nothing unlike


def test_a_card_with_other_shots_than_the_tables_is_refused_and_a_table_without_cards_says_what_it_needs(run, store):
    seal_both(run)
    with pytest.raises(BadInput, match="has arc_challenge with 0 shots, but moxin-3 has it with 25: they cannot be compared"):
        compare(store, find_entries(store, ["scores-base"]), "moxin-3")
    with pytest.raises(BadInput, match=r"has a score of moxin-4: it needs the summary\.json of MT-Bench"):
        compare(store, find_entries(store, ["scores-base"]), "moxin-4")
    with pytest.raises(BadInput, match="choose one of fox1-6, moxin-2, moxin-3, moxin-4"):
        compare(store, [], "moxin-9")
    with pytest.raises(BadInput, match="has no scores and no card 'nothing'"):
        find_entries(store, ["nothing"])


def test_mt_bench_stands_beside_table_4_and_other_judges_are_refused(store, tmp_path):
    def summary(name: str, judge: str) -> str:
        overall = {"mean": 5.5, "low": 5.0, "high": 6.0, "ratings": 160}
        path = tmp_path / f"{name}.json"
        path.write_text(
            json.dumps({"summary": {"overall": overall}, "setup": {"model_name": name, "judge_name": judge, "data": {"sha256": "x"}}})
        )
        return str(path)

    one, two, three = summary("one", "gpt-4"), summary("two", "gpt-4"), summary("three", "other")
    found = compare(store, find_entries(store, [one, two]), "moxin-4")
    assert [row["values"][0]["score"] for row in found["rows"][:3]] == [5.5, 5.5, 6.42]
    with pytest.raises(BadInput, match="one and three cannot be compared on MT-Bench: their judges differ"):
        compare(store, find_entries(store, [one, three]), "moxin-4")
    with pytest.raises(BadInput, match=r"is no summary of an MT-Bench run"):
        find_entries(store, [str(tmp_path / "missing.json")])


@pytest.mark.skipif(not PAPERS.is_dir(), reason="needs the reports")
def test_every_printed_value_is_the_reports():
    def rows(name: str) -> list[list[str]]:
        text = (PAPERS / name).read_text()
        return [re.sub(r"[*%]|</?b>", "", line).split("\t") for line in text.splitlines() if "\t" in line]

    moxin, fox = rows("moxin7b-technical-report.md"), rows("fox1-technical-report.md")
    plain = lambda text: re.sub(r"[\s-]", "", text).lower()  # noqa: E731
    for key, table in TABLES.items():
        for model, values in table.rows:
            found = [row for row in (fox if key == "fox1-6" else moxin) if plain(row[0]).endswith(plain(model).removesuffix("d"))
                     or plain(row[0]) == plain(model)]  # fmt: skip
            numbers = [[float(cell) for cell in row[1:] if re.fullmatch(r"\s*[\d.]+\s*", cell)] for row in found]
            assert list(values) in numbers, (key, model, numbers)
            average = table.columns[-1].of and sum(values[:-1]) / (len(values) - 1)
            assert not average or values[-1] == pytest.approx(average, abs=0.04), (key, model)  # Yi's is off by 0.03
