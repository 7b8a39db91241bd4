"""Batches as a pure function of the step: whole, exact in their mixture, the same for every number of readers."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.errors import BadInput
from recipes.schema import MixtureEntry, Stage
from tasks.artifacts.documents import read_lines
from tasks.artifacts.token_streams import documents_file
from tasks.curriculum.batches import StageBatches, check_supply, portion_range, positions_in_documents
from tasks.curriculum.mixture import Order, units_per_source
from tests.curriculum.streams import counting, lay_down


def entry(source: str, weight: float, chunk: int, epochs: float = 1.0) -> MixtureEntry:
    return MixtureEntry(source=source, weight=weight, chunk_tokens=chunk, max_epochs=epochs)


def stage(tokens: int = 6400, batch: int = 64) -> Stage:
    return Stage(name="s", tokens=tokens, batch_tokens=batch, optimizer_state="keep", mixture=[entry("a", 0.7, 8), entry("b", 0.3, 16)])


@pytest.fixture
def batches(tmp_path: Path) -> StageBatches:
    streams = lay_down(tmp_path, {"a": counting(0, 90, 100, shards=7), "b": counting(10_000, 90, 100, shards=3)})
    return StageBatches(stage(), 5, streams, {"a": (0, 9000), "b": (0, 9000)})


# --- the mixture ---


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.integers(1, 100_000))
@settings(max_examples=200)
def test_units_are_divided_exactly_and_within_one(weights, units):
    counts = units_per_source(weights, units)
    assert counts.sum() == units
    assert (np.abs(counts - np.asarray(weights) / sum(weights) * units) <= 1.0 + 1e-6 * units).all()


mixtures = st.lists(st.integers(0, 300), min_size=1, max_size=12).filter(sum).map(np.array)


@given(mixtures, st.data())
def test_any_window_of_the_order_is_that_part_of_the_whole_order(counts, data):
    order = Order(counts)
    sources, places = order.window(0, order.units)
    assert [int((sources == s).sum()) for s in range(len(counts))] == counts.tolist()
    for number, count in enumerate(counts):
        assert places[sources == number].tolist() == list(range(count))  # a source's units come in order
    first = data.draw(st.integers(0, order.units))
    end = data.draw(st.integers(first, order.units))
    part = order.window(first, end)
    assert np.array_equal(part[0], sources[first:end]) and np.array_equal(part[1], places[first:end])
    at = data.draw(st.integers(0, order.units - 1))
    assert order.number(int(sources[at]), int(places[at])) == at


@given(mixtures)
def test_every_prefix_has_its_share_of_every_source_to_within_its_neighbours(counts):
    """At position x of the stage a source has given n_s x units to within a half; x and the prefix differ by half the other sources."""
    order = Order(counts)
    given_so_far = np.cumsum(order.window(0, order.units)[0][:, None] == np.arange(len(counts)), axis=0)
    due = np.outer(np.arange(1, order.units + 1) / order.units, counts)
    assert (np.abs(given_so_far - due) <= 0.5 + len(counts) / 2).all()


def test_the_mixture_of_any_hundred_batches_is_the_recipes_to_within_one_percent():
    """Fox-1's second stage has twenty sources and two chunk lengths; here its weights, and batches of 512 units as there."""
    weights = [147.3, 1027.3, 25.2, 270.2, 376.0, 169.8, 33.3, 67.7, 20.2, 79.3, 45.4, 28.1, 24.9, 20.2, 20.0, 19.6, 13.2, 9.7, 1.1, 0.7]
    order = Order(units_per_source(weights, 376_701 * 512))
    share = np.array(weights) / sum(weights)
    for step in (0, 1, 777, 123_456, 376_601):
        counts = np.bincount(order.window(step * 512, (step + 100) * 512)[0], minlength=20)
        assert counts.sum() == 51_200
        assert (np.abs(counts / 51_200 - share) < 0.0001).all()
        large = share > 0.01
        assert (np.abs(counts[large] / 51_200 / share[large] - 1) < 0.01).all()


# --- batches ---


def whole(batches: StageBatches, step: int) -> list:
    return batches.load(step, list(range(batches.units)))


def test_every_batch_has_its_tokens_and_labels_are_the_next_tokens(batches):
    for step in (0, 1, 50, 99):
        groups = whole(batches, step)
        assert sum(group.ids.numel() for group in groups) == 64 == batches.targets(step)
        assert all(torch.equal(group.labels, group.ids + 1) for group in groups)  # the streams count upwards
        assert all(group.positions is None for group in groups)


def test_no_token_is_taken_twice_within_an_epoch(batches):
    seen = torch.cat([group.ids.flatten() for step in range(batches.steps) for group in whole(batches, step)])
    assert len(seen) == 6400 == len(torch.unique(seen))
    assert batches.mixture_tokens() == {"a": 4480, "b": 1920}  # 70 % and 30 % of 6,400


def test_packing_leaves_out_less_than_a_chunk(batches):
    assert batches.packing() == {"a": 1124 * 8 / 9000, "b": 562 * 16 / 9000}  # 99.91 %: the last chunk needs a token beyond its end


def test_a_second_epoch_takes_every_chunk_once_more_in_another_order(tmp_path):
    streams = lay_down(tmp_path, {"a": counting(0, 10, 65)})  # 650 tokens: 81 chunks of 8, of which 80 make ten batches
    small = Stage(name="s", tokens=2 * 648, batch_tokens=8, optimizer_state="keep", mixture=[entry("a", 1.0, 8, epochs=2.0)])
    batches = StageBatches(small, 1, streams, {"a": (0, 650)})
    starts = [batches.sequences(step, [0])[0].start for step in range(162)]
    assert sorted(starts[:81]) == sorted(starts[81:]) == list(range(0, 648, 8))
    assert starts[:81] != starts[81:]


def test_a_step_needs_no_earlier_step_and_no_memory_of_any(batches):
    fresh = pickle.loads(pickle.dumps(batches))
    one, two = fresh.load(63, [2]), [whole(batches, step) and batches.load(step, [2]) for step in (5, 99, 63)][-1]
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(one, two, strict=True))


@given(st.integers(0, 99), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
@settings(max_examples=30, deadline=None)
def test_the_global_batch_is_the_same_for_every_world_size_and_micro_batch(batches_for_all, step, world, micro):
    """Ranks take every world-th unit, some at a time; put together again they are the sequences of the batch, in its order."""
    dealt: dict[int, list] = {}
    for rank in range(world):
        mine = list(range(rank, batches_for_all.units, world))
        for start in range(0, len(mine), micro):
            for unit in mine[start : start + micro]:
                dealt[unit] = batches_for_all.sequences(step, [unit])
            together = batches_for_all.sequences(step, mine[start : start + micro])
            assert together == [sequence for unit in mine[start : start + micro] for sequence in dealt[unit]]
    assert [sequence for unit in sorted(dealt) for sequence in dealt[unit]] == batches_for_all.sequences(step, list(range(4)))


@pytest.fixture(scope="module")
def batches_for_all() -> StageBatches:
    return StageBatches(stage(), 5, {}, {"a": (0, 9000), "b": (0, 9000)})


def test_another_seed_and_another_stage_take_other_chunks(batches):
    other = StageBatches(batches.stage, 6, batches.streams, batches.ranges)
    later = StageBatches(batches.stage.model_copy(update={"name": "t"}), 5, batches.streams, batches.ranges)
    first = [one.sequences(0, [0, 1, 2, 3]) for one in (batches, other, later)]
    assert first[0] != first[1] and first[0] != first[2] and first[1] != first[2]


def test_every_visit_of_a_document_is_found_without_looking_at_the_batches(tmp_path):
    streams = lay_down(tmp_path, {"a": counting(0, 20, 50, shards=4), "b": counting(5000, 9, 100)})
    short = Stage(name="s", tokens=1920, batch_tokens=64, optimizer_state="keep", mixture=[entry("a", 0.7, 8, 2.0), entry("b", 0.3, 16)])
    batches = StageBatches(short, 3, streams, {"a": (100, 990), "b": (0, 900)})
    seen: dict[int, list] = {}  # by token
    for step in range(batches.steps):
        for unit in range(batches.units):
            for sequence in batches.sequences(step, [unit]):
                for token in streams[sequence.source].read([(sequence.start, sequence.start + sequence.tokens)])[0].tolist():
                    seen.setdefault(token, []).append((step, unit, sequence))
    for document in range(20):
        expected = sorted({visit for token in range(document * 50, document * 50 + 50) for visit in seen.get(token, [])})
        assert batches.visits("a", document * 50, document * 50 + 50) == expected
    assert Counter(map(len, seen.values())).keys() <= {1, 2} and any(len(visits) == 2 for visits in seen.values())
    assert batches.visits("a", 0, 100) == [] and batches.visits("nowhere", 0, 10) == []


# --- supply, portions, documents ---


def test_a_source_that_is_too_small_says_how_many_epochs_it_would_need():
    with pytest.raises(
        BadInput,
        match=r"stage 's' takes 1,920 tokens from 'b', which has 992 in whole chunks of 16: that is 1.94 epochs, and max_epochs is 1",
    ):
        check_supply(stage(), {"a": (0, 9000), "b": (0, 1000)})
    check_supply(stage(), {"a": (0, 9000), "b": (0, 2000)})


@pytest.mark.parametrize("shards", [1, 2, 5, 16])
def test_portions_are_ranges_of_document_ids_and_share_no_document(tmp_path: Path, shards: int):
    stream = lay_down(tmp_path, {"": counting(0, 16, 10, shards)})[""]  # 16 documents, evenly spread, the first at 2^-96 or so

    def documents(shard: int) -> list:
        return list(read_lines(tmp_path / "tokens/1" / documents_file("", shard)))

    assert portion_range(stream, None, documents) == (0, 160)
    assert portion_range(stream, [0.0, 0.5], documents) == (0, 80)
    assert portion_range(stream, [0.5, 1.0], documents) == (80, 160)
    assert portion_range(stream, [0.26, 0.74], documents) == (50, 120)
    assert portion_range(lay_down(tmp_path / "none", {"x": [[]]})["x"], [0.0, 0.5], documents) == (0, 0)


def test_new_documents_move_none_from_one_portion_to_the_other(tmp_path: Path):
    few, many = (lay_down(tmp_path / str(n), {"": counting(0, n, 10)})[""] for n in (16, 32))

    def ids_of(stream, portion: list[float]) -> set[str]:
        rows = list(read_lines(Path(stream.store) / "tokens/1" / documents_file("", 0)))
        first, end = portion_range(stream, portion, lambda shard: rows)
        return {row["id"] for row in rows if first <= row["start"] < end}

    for portion in ([0.0, 0.3], [0.3, 1.0]):
        assert ids_of(few, portion) < ids_of(many, portion)


def test_positions_begin_again_behind_each_separator():
    ids = np.array([[5, 6, 2, 7, 2, 2, 8, 9], [2, 1, 1, 1, 1, 1, 1, 2]])
    assert positions_in_documents(ids, 2).tolist() == [[0, 1, 2, 0, 1, 0, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6]]


def test_attention_within_documents_gives_positions_with_the_batch(tmp_path):
    streams = lay_down(tmp_path, {"a": [[[7, 7, 2], [8, 8, 8, 8, 2], [9, 9, 9, 9, 9, 9, 9, 9, 2]]]})
    one = Stage(name="s", tokens=16, batch_tokens=16, optimizer_state="keep", mixture=[entry("a", 1.0, 16)])
    (group,) = StageBatches(one, 1, streams, {"a": (0, 17)}, separator=2).load(0, [0])
    assert group.ids.tolist() == [[7, 7, 2, 8, 8, 8, 8, 2, 9, 9, 9, 9, 9, 9, 9, 9]]
    assert group.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7]]
