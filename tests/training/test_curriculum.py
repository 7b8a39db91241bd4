"""Batches as a pure function of the step: whole, exact in their mixture, the same for every number of readers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.errors import BadInput
from recipes.schema import MixtureEntry, Stage
from tasks.artifacts.store import sha256_file
from tasks.artifacts.token_streams import StreamFile
from tasks.training.curriculum import StageBatches, check_supply, portion_range, units_per_source


def entry(source: str, weight: float, chunk: int, epochs: float = 1.0) -> MixtureEntry:
    return MixtureEntry(source=source, weight=weight, chunk_tokens=chunk, max_epochs=epochs)


def stage(tokens: int = 6400, batch: int = 64) -> Stage:
    return Stage(name="s", tokens=tokens, batch_tokens=batch, optimizer_state="keep", mixture=[entry("a", 0.7, 8), entry("b", 0.3, 16)])


@pytest.fixture
def batches(tmp_path: Path) -> StageBatches:
    streams, ranges = {}, {}
    for number, source in enumerate(("a", "b")):
        tokens = (np.arange(9000) + number * 10_000).astype(np.uint16)
        path = tmp_path / source
        path.write_bytes(tokens.tobytes())
        streams[source] = StreamFile(str(tmp_path), source, sha256_file(path), "uint16")
        ranges[source] = (0, 9000)
    return StageBatches(stage(), 5, streams, ranges)


def test_every_batch_has_its_tokens_and_labels_are_the_next_tokens(batches):
    for step in (0, 1, 50, 99):
        groups = batches.load(step, list(range(batches.units)))
        assert sum(ids.numel() for ids, _ in groups) == 64 == batches.targets(step)
        assert all(torch.equal(labels, ids + 1) for ids, labels in groups)  # the streams count upwards


def test_no_token_is_taken_twice_within_an_epoch(batches):
    seen = torch.cat([ids.flatten() for step in range(batches.steps) for ids, _ in batches.load(step, list(range(batches.units)))])
    assert len(seen) == 6400 == len(torch.unique(seen))


def test_the_mixture_holds_within_a_unit_at_every_prefix(batches):
    share = np.cumsum(batches.order[0] == 0) / np.arange(1, len(batches.order[0]) + 1)
    units = np.arange(1, len(share) + 1)
    assert (np.abs(share * units - 0.7 * units) <= 1.0).all()
    assert batches.mixture_tokens() == {"a": 4480, "b": 1920}  # 70 % and 30 % of 6,400


def test_the_batch_is_the_same_however_many_readers_share_it(batches):
    def tokens(parts: list[list[int]]) -> list[int]:
        return sorted(int(t) for part in parts for ids, _ in batches.load(7, part) for t in ids.flatten())

    assert tokens([[0, 1, 2, 3]]) == tokens([[0, 2], [1, 3]]) == tokens([[0], [1], [2], [3]])


def test_a_step_needs_no_earlier_step(batches, tmp_path):
    fresh = StageBatches(batches.stage, batches.seed, batches.streams, batches.ranges)
    one, two = fresh.load(63, [2]), batches.load(63, [2])
    assert all(torch.equal(a, b) for pair in zip(one, two, strict=True) for a, b in zip(*pair, strict=True))


def test_another_seed_takes_other_chunks(batches):
    other = StageBatches(batches.stage, 6, batches.streams, batches.ranges)
    assert not torch.equal(other.load(0, [0])[0][0], batches.load(0, [0])[0][0])


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), st.integers(1, 100_000))
@settings(max_examples=200)
def test_units_are_divided_exactly_and_within_one(weights, units):
    counts = units_per_source(weights, units)
    assert counts.sum() == units
    assert (np.abs(counts - np.asarray(weights) / sum(weights) * units) <= 1.0 + 1e-6 * units).all()


def test_a_source_that_is_too_small_says_how_many_epochs_it_would_need():
    with pytest.raises(
        BadInput,
        match=r"stage 's' takes 1,920 tokens from 'b', which has 992 in whole chunks of 16: that is 1.94 epochs, and max_epochs is 1",
    ):
        check_supply(stage(), {"a": (0, 9000), "b": (0, 1000)})
    check_supply(stage(), {"a": (0, 9000), "b": (0, 2000)})


def test_portions_are_ranges_of_document_ids_and_share_no_document():
    index = [{"id": f"{n * 16:02x}" + "0" * 30, "start": n * 10, "tokens": 10} for n in range(16)]  # 16 documents, evenly spread
    assert portion_range(index, None) == (0, 160)
    assert (portion_range(index, [0.0, 0.5]), portion_range(index, [0.5, 1.0])) == ((0, 80), (80, 160))
    assert portion_range([], [0.0, 0.5]) == (0, 0)
