"""The decoder against itself and against arithmetic: what a token sees, what the loss sums, what a seed decides."""

import itertools

import pytest
import torch

from recipes.schema import Model
from tasks.model.decoder import Decoder, Group

BASE = dict(
    vocabulary_size=97, hidden_size=48, intermediate_size=80, layers=3, heads=4, kv_heads=2, head_size=16, context_tokens=64, rope_theta=10000.0,
    norm_eps=1e-5, initialization="scratch", initializer_range=0.05,
)  # fmt: skip


def make(family: str = "llama", tied: bool = True, window: int | None = None) -> Model:
    return Model(family=family, tied_embeddings=tied, sliding_window=window, **BASE)


def test_a_sliding_window_hides_what_lies_behind_it():
    model = make("mistral", False, 8)
    decoder = Decoder(model)
    decoder.initialize(3)
    ids = torch.randint(0, 97, (1, 40), generator=torch.Generator().manual_seed(2))
    changed = ids.clone()
    changed[0, 0] = (ids[0, 0] + 1) % 97
    with torch.no_grad():
        same = torch.isclose(decoder.logits(ids), decoder.logits(changed), atol=1e-6).all(-1)[0]
    reach = 3 * (8 - 1)  # three layers of seven steps back
    assert same[reach + 1 :].all() and not same[: reach + 1].all()


@pytest.mark.parametrize("window", [None, 8])
def test_attention_within_documents_gives_each_document_what_it_would_get_alone(window):
    model = make("mistral", False, window)
    decoder = Decoder(model)
    decoder.initialize(3)
    ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(4))
    borders = [[0, 13, 14, 40], [0, 30, 40]]  # of documents, in each row; one has a single token
    positions = torch.stack([torch.cat([torch.arange(b - a) for a, b in itertools.pairwise(row)]) for row in borders])
    with torch.no_grad():
        together = decoder.model(ids, positions)
        for row, cuts in enumerate(borders):
            for a, b in itertools.pairwise(cuts):
                assert torch.allclose(together[row, a:b], decoder.model(ids[row : row + 1, a:b])[0], atol=1e-5)
        assert not torch.allclose(together[:, 14:], decoder.model(ids)[:, 14:], atol=1e-2)  # across documents it is another model


def test_the_loss_within_documents_is_the_sum_of_their_losses():
    decoder = Decoder(make())
    decoder.initialize(3)
    ids = torch.randint(0, 97, (1, 20), generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 97, (1, 20), generator=torch.Generator().manual_seed(2))
    positions = torch.tensor([[*range(12), *range(8)]])
    with torch.no_grad():
        together = decoder([Group(ids, labels, positions)])
        alone = decoder([Group(ids[:, :12], labels[:, :12]), Group(ids[:, 12:], labels[:, 12:])])
    assert torch.isclose(together, alone, rtol=1e-5)


def test_the_loss_is_the_sum_over_target_tokens_and_padding_does_not_count():
    decoder = Decoder(make())
    decoder.initialize(3)
    ids = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(1))
    labels = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(2))
    labels[1, 10:] = -100
    with torch.no_grad():
        log = decoder.logits(ids).log_softmax(-1)
        expected = -sum(log[b, t, labels[b, t]] for b in range(2) for t in range(20) if labels[b, t] != -100)
        assert torch.isclose(decoder([(ids, labels)]), expected, rtol=1e-5)
        halves = decoder([(ids[:1], labels[:1]), (ids[1:], labels[1:])])
    assert torch.isclose(halves, expected, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_the_closed_form_parameter_count_is_the_networks(tied):
    model = make(tied=tied)
    assert sum(p.numel() for p in Decoder(model).parameters()) == model.parameter_count()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    one, two, other = (Decoder(make()) for _ in range(3))
    one.initialize(1), two.initialize(1), other.initialize(2)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.model.embed_tokens.weight, other.model.embed_tokens.weight)


def gradients(decoder: Decoder, ids: torch.Tensor, positions: torch.Tensor | None = None) -> list[torch.Tensor]:
    loss = decoder([Group(ids, ids, positions)])
    return [loss.detach(), *torch.autograd.grad(loss, list(decoder.parameters()))]


@pytest.mark.parametrize("within_documents", [False, True])
def test_checkpointed_blocks_give_the_same_loss_and_gradients_bit_for_bit(within_documents):
    decoder = Decoder(make("mistral", False, 8))
    decoder.initialize(3)
    ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    positions = torch.arange(20).repeat(2, 2) if within_documents else None
    before = gradients(decoder, ids, positions)
    calls = []
    decoder.model.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
    decoder.prepare(compile_blocks=False, checkpoint_blocks=True)
    after = gradients(decoder, ids, positions)
    assert len(calls) == 2  # a second time for the backward pass
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint_blocks", [False, True])
def test_compiled_blocks_keep_names_and_give_the_same_loss_and_gradients(checkpoint_blocks):
    decoder = Decoder(make())
    decoder.initialize(3)
    names, ids = list(decoder.state_dict()), torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    before = gradients(decoder, ids)
    decoder.prepare(compile_blocks=True, checkpoint_blocks=checkpoint_blocks)
    after = gradients(decoder, ids)
    assert list(decoder.state_dict()) == names and all(layer._compiled_call_impl is not None for layer in decoder.model.layers)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)
