"""Batches of conversations: every conversation once in an epoch, little padding, targets counted exactly."""

from pathlib import Path

import numpy as np
import pytest

from tasks.artifacts.store import sha256_file
from tasks.artifacts.token_streams import FlatFile
from tasks.sft.conversations import ChatBatches
from tasks.sft.template import NOT_TRAINED


@pytest.fixture
def batches(tmp_path: Path) -> ChatBatches:
    chance = np.random.default_rng(0)
    lengths = chance.integers(3, 60, 240)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.repeat(np.arange(1, 241), lengths)  # every token of conversation n is n + 1
    labels = np.where(np.arange(len(ids)) % 3 == 0, NOT_TRAINED, ids)
    files = {}
    for name, values, kind in (("ids", ids, "int32"), ("labels", labels, "int32"), ("starts", starts, "int64")):
        (tmp_path / name).write_bytes(values.astype(kind).tobytes())
        files[name] = FlatFile(str(tmp_path), name, sha256_file(tmp_path / name), kind)
    return ChatBatches(seed=3, conversations=240, batch_conversations=8, steps=60, pad_id=0, **files)


def test_each_epoch_takes_every_conversation_once(batches):
    first = np.sort(batches.order[:240])
    assert np.array_equal(np.unique(batches.order, return_counts=True)[1], np.full(240, 2))
    assert len(np.unique(first)) >= 200  # grouping by length mixes the last group of an epoch with the next epoch's first


def test_targets_are_what_the_loaded_labels_hold_and_padding_is_none(batches):
    for step in (0, 13, 59):
        ids, labels, _ = batches.load(step, list(range(8)))[0]
        assert int((labels != NOT_TRAINED).sum()) == batches.targets(step)
        assert ((ids == 0) <= (labels == NOT_TRAINED)).all()
        assert all(set(row.tolist()) - {0} == {row[0].item()} for row in ids)


def test_grouping_by_length_leaves_little_padding(batches):
    padding = [float((batches.load(step, list(range(8)))[0][0] == 0).float().mean()) for step in range(60)]
    assert np.mean(padding) < 0.1
