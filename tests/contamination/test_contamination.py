"""Plants of known size in documents and conversations, and exactly those found: nothing else, and each with its part."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from recipes.load import load_recipe
from recipes.schema import Contamination, DeclaredUse, MixtureEntry, Pretraining
from tasks.artifacts.documents import document_id, read_lines
from tasks.artifacts.handles import Handle
from tasks.artifacts.lineage import ancestors
from tasks.contamination.clean import split
from tasks.contamination.find import ITEMS, find_clean_scores
from tasks.contamination.index import ItemIndex
from tasks.contamination.items import BenchmarkItem
from tasks.panels.contamination import contamination
from tasks.runtime.production import Reader
from tests.contamination.made_up import Made, words

RECIPE = load_recipe(Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml")


def pretraining(*stages: list[tuple[str, list[float] | None]]) -> Pretraining:
    """Return three stages that draw from the given sources and portions."""
    mixtures = [
        [MixtureEntry(source=name, weight=1.0, chunk_tokens=64, max_epochs=1.0, portion=portion) for name, portion in one] for one in stages
    ]
    pairs = zip(RECIPE.pretraining.stages, mixtures, strict=True)
    return RECIPE.pretraining.model_copy(update={"stages": [stage.model_copy(update={"mixture": mixture}) for stage, mixture in pairs]})


def item(*texts: str, task: str = "t", doc_id: int = 0) -> BenchmarkItem:
    return BenchmarkItem(task, doc_id, "", texts)


def test_an_index_keeps_every_item_of_an_ngram_and_takes_no_short_string_for_one():
    shared = words(100, 13)
    index = ItemIndex.build([item(shared + " w1"), item(words(200, 12)), item("W100, " + words(101, 12) + "!", words(300, 14))], 13)
    assert index.sizes.tolist() == [2, 0, 3]
    places = index.shared(f"before {shared} after")
    assert [index.items_with(place).tolist() for place in places] == [[0, 2]]
    assert not len(index.shared(words(200, 12))) and not len(index.shared(words(100, 12)))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_planted_overlaps_are_found_exactly_with_their_stage_source_documents_and_part(made: Made):
    # items of 20 words have 8 13-grams; k words of one, at least 13, hold k - 12 of them
    items = [{"question": words(1000 * n, 20), "choices": ["yes", "no"]} for n in range(10)]
    books = [
        "a b c " + words(0, 20) + " d",  # item 0: all of it
        words(1000, 13) + " and on",  # item 1: 1 of 8
        "x " + words(1005, 15),  # item 1 again: its last 3 of 8
        words(2000, 12) + " w w",  # item 2: one word too few
        "HELD " + words(3000, 20),  # item 3: only in what is held out
        words(40_000, 200),
    ]
    web = ["W4000, (w4001) " + words(4002, 18).upper() + ".", words(50_000, 30)]  # item 4: in other letters and punctuation
    chat = made.chat(
        {"books": books, "web": web}, {books[4]}, ["user: hello", "assistant: " + words(5000, 16)]
    )  # item 5: 4 of 8, in SFT alone
    scores = [
        made.scores(which, {"t": [(doc, 1.0) for doc in items], "short": [({"q": "only four words here"}, 0.0)]})
        for which in ("base", "chat")
    ]
    stages = pretraining([("books", None)], [("books", None), ("web", None)], [("web", None)])
    found = find_clean_scores(made.run, Contamination(ngram_words=13, declared=[]), stages, chat, scores, 0)
    overlap = next(one for one in ancestors(made.store, found.manifest) if one.kind == "contamination")
    rows = {(row["task"], row["doc_id"]): row for row in read_lines(Reader(made.store, overlap).path(ITEMS))}
    assert {key: row["stages"] for key, row in rows.items() if row["stages"]} == {
        ("t", 0): {"stage1": 1.0, "stage2": 1.0}, ("t", 1): {"stage1": 0.5, "stage2": 0.5},
        ("t", 4): {"stage2": 1.0, "stage3": 1.0}, ("t", 5): {"sft": 0.5},
    }  # fmt: skip
    one = rows["t", 1]["found"]
    assert one == [{
        "source": "books", "stages": ["stage1", "stage2"], "fraction": 0.5, "documents": 2,
        "examples": sorted([[document_id(books[1]), "books#1"], [document_id(books[2]), "books#2"]]),
    }]  # fmt: skip
    assert rows["t", 5]["found"][0]["examples"][0][1] == "chats#1"
    assert overlap.counts == {"items": 11, "overlapping": 4, "too_short": 1}
    assert overlap.details["tasks"]["t"] == {
        "items": 10, "too_short": 0, "overlapping": 4, "stages": {"stage1": 2, "stage2": 3, "stage3": 1, "sft": 1}, "median_fraction": 0.75,
    }  # fmt: skip
    assert overlap.details["sources"] == {
        "books": {"documents": 5, "characters": sum(map(len, books)) - len(books[4]), "matching": 3},
        "web": {"documents": 2, "characters": sum(map(len, web)), "matching": 1},
        "chats": {"documents": 2, "characters": len("user: hello") + len("assistant: " + words(5000, 16)), "matching": 1},
    }  # fmt: skip


def test_scores_without_overlapping_items_are_those_computed_by_hand_and_the_sft_counts_for_the_chat_alone(made: Made):
    items = [({"q": words(1000 * n, 13)}, float(n < 3)) for n in range(5)]  # items 0, 1 and 2 are right
    chat = made.chat({"books": [words(0, 13), words(90_000, 30)]}, set(), [words(1000, 13)])  # item 0 in a book, item 1 in a chat
    scores = [made.scores(which, {"t": items}) for which in ("base", "chat")]
    use = DeclaredUse(task="t", where="stage1", source="books")
    stages = pretraining(*[[("books", None)]] * 3)
    found = find_clean_scores(made.run, Contamination(ngram_words=13, declared=[use]), stages, chat, scores, 0)
    base, chatting = found.manifest.details["benchmarks"]
    assert (base["overlapping"], base["score"], base["without"]["score"], base["overlapping_only"]["score"]) == (1, 60.0, 50.0, 100.0)
    assert base["without"] == {"score": 50.0, "stderr": 28.8675, "items": 4}  # 100 * sqrt(1/3) / 2
    assert base["overlapping_only"]["stderr"] is None
    assert (chatting["overlapping"], chatting["without"]["score"], chatting["stages"]) == (
        2,
        33.3333,
        {"stage1": 1, "stage2": 1, "stage3": 1, "sft": 1},
    )
    assert base["declared"] == [{"where": "stage1", "source": "books"}]
    page = contamination(found.manifest)
    assert "2 of 5 benchmark items share" in page and "its training set was trained on (stage1: books)" in page and "50.0 ± 28.9" in page


def test_a_portion_of_a_source_is_searched_for_the_stage_that_draws_from_it_alone(made: Made):
    books = [words(1000 * n, 13) for n in range(8)]
    items = [({"q": text}, 1.0) for text in books]
    chat = made.chat({"books": books}, set(), ["hello"])
    scores = [made.scores(which, {"t": items}) for which in ("base", "chat")]
    stages = pretraining([("books", [0.0, 0.5])], [("books", [0.5, 1.0])], [("books", [0.0, 0.5])])
    found = find_clean_scores(made.run, Contamination(ngram_words=13, declared=[]), stages, chat, scores, 0)
    overlap = next(one for one in ancestors(made.store, found.manifest) if one.kind == "contamination")
    rows = list(read_lines(Reader(made.store, overlap).path(ITEMS)))
    low = [document_id(text)[0] < "8" for text in books]
    assert any(low) and not all(low)
    assert [sorted(row["stages"]) for row in rows] == [["stage1", "stage3"] if one else ["stage2"] for one in low]


def test_an_unchanged_run_is_found_and_a_killed_one_keeps_what_it_has_searched(made: Made, monkeypatch):
    from tasks.contamination import overlap

    chat = made.chat({"books": [words(0, 13)], "web": [words(90_000, 30)]}, set(), ["hello"])
    scores = [made.scores(which, {"t": [({"q": words(0, 13)}, 1.0)]}) for which in ("base", "chat")]
    arguments = (
        made.run,
        Contamination(ngram_words=13, declared=[]),
        pretraining(*[[("books", None), ("web", None)]] * 3),
        chat,
        scores,
        0,
    )
    scanned: list[str] = []
    real = overlap.scan_shard

    def once(store, work, output):
        scanned.append(work.documents.key)
        if len(scanned) == 2:
            raise OSError("killed")
        return real(store, work, output)

    monkeypatch.setattr(overlap, "scan_shard", once)
    with pytest.raises(OSError, match="killed"):
        find_clean_scores(*arguments)
    first = find_clean_scores(*arguments)
    assert len(scanned) == 3 and len(set(scanned)) == 2  # the second one again, and only that
    again = find_clean_scores(*arguments)
    assert again.was_cached and again.handle(Handle) == first.handle(Handle) and len(scanned) == 3


def test_the_task_hands_on_what_it_found(made: Made, monkeypatch):
    from tasks.contamination import task

    monkeypatch.setattr(task, "find_profile", lambda name: SimpleNamespace(cpu_workers=0))
    chat = made.chat({"books": [words(0, 13)]}, set(), ["hello"])
    base, chatting = (made.scores(which, {"t": [({"q": words(0, 13)}, 1.0), ({"q": words(500, 13)}, 0.0)]}) for which in ("base", "chat"))
    handle = task.find_contamination(
        run=made.run, section=Contamination(ngram_words=13, declared=[]), pretraining=pretraining(*[[("books", None)]] * 3), chat=chat,
        base_scores=base, chat_scores=chatting,
    )  # fmt: skip
    assert (handle.name, handle.items, handle.overlapping) == ("clean-scores", 2, 1)


def test_a_metric_that_is_no_mean_of_its_items_is_not_split():
    assert split([(True, 1.0), (False, 0.0)], 50.0)["is_mean"]
    assert split([(True, 1.0), (False, 0.0)], 47.0) == {
        "items": 2,
        "overlapping": 1,
        "is_mean": False,
        "overlapping_only": None,
        "without": None,
    }
    assert not split([(True, None), (False, 0.0)], 0.0)["is_mean"]
    assert split([(True, 1.0)], 100.0)["without"] is None


def test_a_recipe_may_only_declare_what_it_trains_on():
    from recipes.errors import BadInput
    from recipes.schema import Recipe

    values = RECIPE.model_dump()
    values["contamination"]["declared"] = [{"task": "piqa", "where": "stage1", "source": "python_topics"}]
    with pytest.raises(BadInput, match="'stage1' trains on 'python_topics', which it does not"):
        Recipe.model_validate(values)
