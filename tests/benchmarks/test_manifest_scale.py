"""The order of batches at the size of the real thing: 3 trillion tokens in 50,000 shards, Fox-1's second stage."""

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.manifest_scale import GOALS, SHARDS, TOKENS, lay_down, measure, second_stage
from tasks.artifacts.manifest import read_manifest
from tasks.artifacts.store import Store
from tasks.curriculum.batches import StageBatches
from tasks.runtime.production import Reader
from tasks.training.supply import open_batches

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    lay_down(folder, second_stage(), TOKENS, SHARDS)
    return folder


@pytest.fixture(scope="module")
def batches(root: Path) -> StageBatches:
    manifest = read_manifest(Store(str(root)), "tokens/big")
    assert manifest is not None
    return open_batches(Reader(Store(str(root)), manifest), second_stage(), 1234, across_documents=True)


def test_the_budget_and_every_share_hold_to_within_one_unit(batches):
    stage, taken = batches.stage, batches.mixture_tokens()
    assert sum(taken.values()) == batches.steps * stage.batch_tokens == 376_701 * 4_194_304  # the whole batches of 1.58 T
    total = sum(entry.share for entry in stage.mixture)
    for entry in stage.mixture:
        assert abs(taken[entry.source] - entry.share / total * sum(taken.values())) <= stage.unit_tokens


def test_batches_at_random_steps_are_whole_within_range_and_never_share_a_chunk(batches):
    chance, seen = random.Random(1), set()
    for step in {0, batches.steps - 1, *(chance.randrange(batches.steps) for _ in range(100))}:
        found = batches.sequences(step, list(range(batches.units)))
        assert sum(sequence.tokens for sequence in found) == batches.stage.batch_tokens
        for sequence in found:
            first, end = batches.ranges[sequence.source]
            assert first <= sequence.start and sequence.start + sequence.tokens < end
        assert not seen & set(found)
        seen |= set(found)
    halves = {entry.source for entry in batches.stage.mixture if entry.portion}
    for source in halves:
        first, end = batches.ranges[source]
        assert end == batches.streams[source].tokens and 0.49 < first / end < 0.51


def test_a_chunk_is_found_again_at_the_one_step_that_takes_it(batches):
    chance = random.Random(2)
    for step in (chance.randrange(batches.steps) for _ in range(20)):
        unit = chance.randrange(batches.units)
        for sequence in batches.sequences(step, [unit]):
            assert batches.visits(sequence.source, sequence.start, sequence.start + sequence.tokens) == [(step, unit, sequence)]


def test_a_hundred_batches_hold_the_mixture_and_the_two_chunk_lengths_to_within_one_percent(batches):
    long = np.array([entry.chunk_tokens == 8192 for entry in batches.stage.mixture])
    share = batches.order.counts[long].sum() / batches.order.units
    for step in (0, 100_000, batches.steps - 100):
        sources, _ = batches.order.window(step * batches.units, (step + 100) * batches.units)
        assert abs(long[sources].mean() / share - 1) < 0.01


def test_a_reader_needs_less_than_a_gigabyte(root):
    (row,) = measure(root, 1)
    assert row["reader_megabytes"] < GOALS["reader_megabytes"]
