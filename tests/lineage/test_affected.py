"""What a take-down touches, held against every step of every stage, read one by one."""

import numpy as np
import pytest

from recipes.errors import BadInput
from tasks.lineage.affected import affected, conversation_target, derived_from, document_target, source_target
from tasks.lineage.graph import store_graph
from tasks.lineage.seen import Training
from tests.lineage.small import SOURCES, TWIN, SmallStore


@pytest.fixture(scope="module")
def asked(small: SmallStore):
    """A function that asks what removing a source, a document or a conversation affects."""
    graph = store_graph(small.store)
    training = Training(small.store, graph)

    def ask(source: str = "", document: str = "", conversation: str = "") -> dict:
        if source:
            return affected(graph, training, source_target(graph, training, source))
        if document:
            return affected(graph, training, document_target(small.store, graph, training, document))
        return affected(graph, training, conversation_target(graph, training, conversation))

    return ask


def read_one_by_one(small: SmallStore, wanted: set[int]) -> dict[str, tuple[int, int, int]]:
    """Read every step's tokens; return by stage how many of `wanted` (token ids are unique in the corpus) it took, first and last step."""
    found = {}
    for first, (name, batches) in zip((0, 10), small.batches.items(), strict=True):
        hits = {
            first + step + 1: sum(
                int(np.isin(group.ids.numpy(), list(wanted)).sum()) for group in batches.load(step, list(range(batches.units)))
            )
            for step in range(batches.steps)
        }
        steps = [step for step, number in hits.items() if number]
        if steps:
            found[name] = (sum(hits.values()), min(steps), max(steps))
    return found


def told(answer: dict) -> dict[str, tuple[int, int, int]]:
    return {row["checkpoint"].split("@")[0]: (row["tokens"], row["first_step"], row["last_step"]) for row in answer["stages"]}


@pytest.mark.parametrize("source", ["a", "b"])
def test_what_stages_took_of_a_source_is_what_reading_every_step_counts(small, asked, source):
    wanted = {token for shard in SOURCES[source] for document in shard for token in document}
    assert told(asked(source=source)) == read_one_by_one(small, wanted)


def test_what_stages_took_of_every_document_is_what_reading_every_step_counts(small, asked):
    counted = []
    for source, ids in small.ids.items():
        texts = [document for shard in SOURCES[source] for document in shard]
        for id, text in zip(ids, texts, strict=True):
            expected = read_one_by_one(small, set(text))
            assert told(asked(document=id)) == expected, (source, id)
            counted.append(len(expected))
    assert set(counted) == {1, 2}  # some were seen by one stage, some by both


def test_a_source_that_only_the_second_stage_saw_starts_again_from_the_first_stages_checkpoint(asked):
    answer = asked(source="b")
    base = next(row for row in answer["models"] if row["model"].startswith("release-base"))
    assert base["restart"]["stage"] == "two" and base["restart"]["from"].startswith("one@") and base["restart"]["first_step"] == 11
    assert (base["restart"]["tokens_again"], base["restart"]["tokens_all"], base["tokens"]) == (960, 1600, 384)
    chat = next(row for row in answer["models"] if row["model"].startswith("release-chat"))
    assert chat["restart"]["stages_again"] == ["two", "sft"] and chat["restart"]["tokens_again"] == 1060
    kinds = {row["artifact"].split("@")[0]: row["why"] for row in answer["artifacts"]}
    assert "one" not in kinds and kinds["two"].startswith("trained on 384 tokens") and kinds["sft"].startswith("continues two@")
    assert {"raw-documents", "documents", "tokens", "card-x-base", "scores-base", "scores-chat", "release-base", "release-chat"} <= set(
        kinds
    )


def test_a_source_that_the_first_step_saw_starts_again_from_nothing(asked):
    base = next(row for row in asked(source="a")["models"] if row["model"].startswith("release-base"))
    assert base["restart"]["from"] is None and base["restart"]["stages_again"] == ["one", "two"] and base["restart"]["tokens_again"] == 1600


def test_a_chat_source_starts_again_from_the_base_model_and_leaves_it_alone(small, asked):
    answer = asked(source="own")
    every = np.concatenate([small.chat_batches.numbers(step) for step in range(10)])
    assert told(answer) == {"sft": (int(small.chat_batches.places[every].sum()), 1, 10)}
    models = {row["model"].split("@")[0]: row for row in answer["models"]}
    assert models["release-base"]["restart"] is None and models["release-chat"]["restart"]["from"].startswith("two@")


def test_a_conversation_is_found_in_exactly_its_steps(small, asked):
    answer = asked(conversation="own.jsonl#b0")
    steps = [step + 1 for step in range(10) if 0 in small.chat_batches.numbers(step)]
    assert told(answer) == {"sft": (2 * int(small.chat_batches.places[0]), min(steps), max(steps))}


def test_of_a_near_duplicate_the_document_that_was_kept_in_its_place_is_what_was_trained_on(small, asked):
    twin, kept = asked(document=TWIN), asked(document=small.ids["a"][0])
    assert told(twin) == told(kept) and any("kept in its place (near duplicate)" in note for note in twin["notes"])
    assert any("1 documents were dropped as its duplicates" in note for note in kept["notes"])


def test_a_held_out_document_touches_scores_and_no_weights(small, asked, tmp_path):
    graph = store_graph(small.store)
    training = Training(small.store, graph)
    target = document_target(small.store, graph, training, small.ids["a"][0])
    target.seen = lambda place: None
    target.holds = lambda place, one: "holds its tokens, held out: no step sees them" if one.kind == "tokens" else ""
    answer = affected(graph, training, target)
    assert answer["stages"] == [] and {row["kind"] for row in answer["artifacts"]} == {"tokens", "scores", "release"}
    assert all(row["restart"] is None for row in answer["models"])


def test_sources_that_are_made_from_others_go_with_them():
    section = {"sources": [
        {"name": "a"}, {"name": "copied", "plants": {"of": ["a"]}}, {"name": "told", "rewriting": {"of": ["copied"]}}, {"name": "b", "plants": None},
    ]}  # fmt: skip
    assert derived_from(section, {"a"}) == {"a", "copied", "told"} and derived_from(section, {"b"}) == {"b"}


def test_what_no_artifact_knows_is_refused(small, asked):
    with pytest.raises(BadInput, match=r"no artifact of .* has a source 'c': it has a, b, own"):
        asked(source="c")
    with pytest.raises(BadInput, match=r"no documents artifact of .* has read a document 'cccc"):
        asked(document="c" * 32)
    with pytest.raises(BadInput, match=r"'nowhere#1' is neither the id of a document"):
        asked(conversation="nowhere#1")
