"""The activations that a plan counts, against autograd's own list."""

import pytest
import torch

from benchmarks.engine_jobs import decoder
from recipes.schema import Model
from tasks.planning.memory import activation_bytes


@pytest.mark.parametrize(("precision", "kind"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_activations_are_what_autograd_keeps_of_a_block(precision, kind):
    def kept(layers: int) -> tuple[int, Model]:
        from tasks.model.decoder import Decoder, Group

        model = decoder(64, 256, layers, 768, 128)
        network = Decoder(model).to(kind)
        weights, sizes = {one.untyped_storage().data_ptr() for one in network.parameters()}, {}
        alive = []

        def keep(tensor):
            alive.append(tensor)
            if tensor.untyped_storage().data_ptr() not in weights:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        ids = torch.zeros(2, 128, dtype=torch.int64)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network([Group(ids, ids)])
        return sum(sizes.values()), model

    (less, _), (more, model) = kept(2), kept(4)
    assert more - less == pytest.approx(activation_bytes(model, 256, precision) / 2, rel=0.01)
