"""Batches of conversations: each once in an epoch, in full rows of equal length, with the loss that they have alone."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.schema import Model
from tasks.artifacts.documents import write_lines
from tasks.artifacts.store import sha256_bytes, sha256_file
from tasks.artifacts.token_streams import STREAMS, FlatFile, block_hashes, open_streams, targets_hash
from tasks.engine.prefetch import target_pieces
from tasks.model.decoder import Decoder, Group
from tasks.sft.conversations import ChatBatches
from tasks.sft.packing import alike, pack
from tasks.sft.rendering import SOURCE, TRAINED
from tasks.sft.template import NOT_TRAINED

CONVERSATIONS, LONGEST = 240, 60


@pytest.fixture
def batches(tmp_path: Path) -> ChatBatches:
    """Conversation n consists of the token n + 1; every third of its tokens is not trained on."""
    lengths = np.random.default_rng(0).integers(3, LONGEST + 1, CONVERSATIONS)
    ids = np.repeat(np.arange(1, CONVERSATIONS + 1), lengths).astype(np.uint32)
    within = np.concatenate([np.arange(length) for length in lengths])
    folder = tmp_path / "conversations" / "1" / "tokens" / SOURCE
    folder.mkdir(parents=True)
    flat = np.where(within % 3 > 0, ids | TRAINED, ids).astype(np.uint32)
    (folder / "00000.bin").write_bytes(flat.tobytes())
    (folder / "00000.blocks").write_bytes(block_hashes(flat))
    row = {"source": SOURCE, "tokens": len(flat), "first_id": "", "blocks": sha256_bytes(block_hashes(flat))}
    write_lines(tmp_path / STREAMS, [row])
    stream = open_streams(str(tmp_path), "conversations/1", tmp_path / STREAMS, np.dtype(np.uint32), [SOURCE])[SOURCE]
    trained = [int((np.arange(length)[1:] % 3 > 0).sum()) for length in lengths]
    files = {}
    for name, values in (("lengths", lengths), ("targets", trained)):
        (tmp_path / name).write_bytes(np.array(values, dtype=np.uint32).tobytes())
        files[name] = FlatFile(str(tmp_path), name, sha256_file(tmp_path / name), "uint32")
    return ChatBatches(
        seed=3, batch_conversations=8, steps=60, max_tokens=100, workers=2, rows_at_once=3, stream=stream, lengths=files["lengths"],
        targets_of=files["targets"],
    )  # fmt: skip


def all_rows(batches: ChatBatches, step: int) -> list[Group]:
    return batches.load(step, list(range(batches.units)))


def flat(groups: list[Group]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, labels and positions of all rows, one after the other."""
    return tuple(np.concatenate([tensor.numpy().ravel() for tensor in tensors]) for tensors in zip(*groups, strict=True))


def test_each_epoch_takes_every_conversation_once(batches):
    order = np.concatenate([batches.numbers(step) for step in range(60)])
    assert sorted(order[:CONVERSATIONS]) == sorted(order[CONVERSATIONS:]) == list(range(CONVERSATIONS))
    assert not np.array_equal(order[:CONVERSATIONS], order[CONVERSATIONS:])


def test_a_conversation_is_visited_in_the_steps_that_have_it(batches):
    for number in (0, 17, 239):
        assert batches.visits(number) == [step for step in range(60) if number in batches.numbers(step)]


def test_a_steps_rows_hold_its_conversations_whole_and_each_once(batches):
    for step in (0, 13, 59):
        groups = all_rows(batches, step)
        assert max(group.ids.shape[1] for group in groups) <= 100
        ids, _, positions = flat(groups)
        seen, counts = np.unique(ids[ids > 0] - 1, return_counts=True)
        assert seen.tolist() == sorted(batches.numbers(step)) and counts.tolist() == batches.places[seen].tolist()
        assert int(((positions == 0) & (ids > 0)).sum()) == 8  # positions begin again with each conversation


def test_targets_are_what_the_loaded_labels_hold_and_padding_has_none(batches):
    for step in (0, 13, 59):
        ids, labels, _ = flat(all_rows(batches, step))
        assert int((labels != NOT_TRAINED).sum()) == batches.targets(step)
        assert ((ids == 0) <= (labels == NOT_TRAINED)).all()
        assert ((labels == NOT_TRAINED) | (labels == ids)).all()


def test_workers_share_a_steps_rows_equally_and_none_is_lost(batches):
    for workers in (1, 2, 3, 7):
        own = replace(batches, workers=workers)
        assert own.units % workers == 0
        for step in (0, 31):
            parts = [flat(own.load(step, list(range(rank, own.units, workers))))[1] for rank in range(workers)]
            assert sum(int((labels != NOT_TRAINED).sum()) for labels in parts) == batches.targets(step)


def test_what_a_step_trains_on_has_one_hash_however_it_is_packed(batches):
    hashes = {
        targets_hash(piece for group in all_rows(replace(batches, workers=workers), 5) for piece in target_pieces(group))
        for workers in (1, 2, 5)
    }
    assert hashes == {batches.targets_hash(5)}


def test_rows_without_a_conversation_are_one_token_of_padding(batches):
    (group,) = batches.load(0, [10_000])
    assert group.ids.shape == (1, 1) and group.labels.tolist() == [[NOT_TRAINED]]


def test_a_packed_step_has_the_loss_and_the_gradients_of_its_conversations_alone(batches):
    torch.manual_seed(0)
    model = Decoder(Model(
        family="llama", vocabulary_size=CONVERSATIONS + 1, hidden_size=16, intermediate_size=32, layers=2, heads=2, kv_heads=1, head_size=8,
        context_tokens=128, rope_theta=10000.0, norm_eps=1e-5, tied_embeddings=True, sliding_window=None, initialization="scratch",
        initializer_range=0.3)).double()  # fmt: skip
    model.initialize(1)
    packed = all_rows(batches, 4)
    assert sum(len(group.ids) for group in packed) < 8, "several conversations share a row"
    together = model(packed)
    together.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    alone = [
        Group(torch.from_numpy(ids)[None], torch.from_numpy(labels)[None]) for ids, labels in batches.tokens(batches.numbers(4).tolist())
    ]
    total = sum(model([one]) for one in alone)
    total.backward()
    assert together.item() == pytest.approx(total.item(), rel=1e-9)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[name], rtol=1e-6, atol=1e-9), name


def test_batches_are_sent_to_workers_with_the_number_of_rows_and_without_the_data(batches):
    sent = pickle.dumps(batches)
    again = pickle.loads(sent)
    assert len(sent) < 10_000 and again.__dict__["units"] == batches.units
    assert np.array_equal(flat(all_rows(again, 7)), flat(all_rows(batches, 7)))


def test_describe_names_the_conversations_of_rows(batches):
    told = batches.describe(9, list(range(batches.units)))
    assert sorted(n for one in told for n in one["conversations"]) == sorted(batches.numbers(9).tolist())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=80), st.integers(1, 9))
def test_rows_are_never_too_long_and_as_many_as_workers_can_share(lengths: list[int], multiple: int):
    packing = pack(np.array(lengths), 50, multiple)
    filled = np.bincount(packing.row_of, weights=lengths, minlength=len(packing.tokens))
    assert filled.tolist() == packing.tokens.tolist() == sorted(filled, reverse=True)
    assert len(filled) % multiple == 0 and filled.max() <= 50


def test_rows_of_equal_length_are_found_where_there_are_some():
    assert pack(np.array([60, 40, 50, 50, 70, 30]), 100, 1).tokens.tolist() == [100, 100, 100]


@given(st.lists(st.integers(1, 5000), max_size=40))
def test_rows_in_a_group_are_nearly_of_one_length(sizes: list[int]):
    ordered = sorted(sizes, reverse=True)
    groups = alike(ordered)
    assert [number for group in groups for number in group] == list(range(len(ordered)))
    assert all(ordered[number] >= ordered[group[0]] * 31 / 32 for group in groups for number in group)


def test_hardly_any_place_of_a_batch_is_padding(batches):
    computed = [
        sum(group.ids.numel() for group in batches.load(step, list(range(rank, batches.units, 2)))) for step in range(60) for rank in (0, 1)
    ]
    assert batches.efficiency() == pytest.approx(
        sum(batches.places[batches.numbers(step)].sum() for step in range(60)) / sum(computed), abs=0.01
    )
    assert batches.efficiency() > 0.97
