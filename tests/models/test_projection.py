"""The part of a head in the output projection: against what taking the head away changes."""

import numpy as np
import pytest
import torch
from torch import nn

import headscope as hs
from headscope.models.capture import watch
from headscope.models.projection import _channels

from ..contracts.networks import NETWORKS, noise, read

FAMILIES = (
    "cait",
    "crossvit",
    "deit",
    "fastvit",  # a convolution projects
    "gcvit",
    "gemma4_vit",  # grouped queries
    "mobilenetv5",
    "nest",
    "pit",
    "pvt_v2",
    "swin_transformer_v2",
    "tnt",
    "vision_transformer parallel",
    "vision_transformer pool",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_head_writes_its_output_through_its_part(name):
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    batch = noise(checkpoint, 1)
    # What fills windows up is projected too, and belongs to no token.
    layer = [each for each in checkpoint.layers if (each.layout.query_tokens >= 0).all()][-1]
    assert layer.projection is not None
    owner = next(
        module
        for module in checkpoint.model.modules()
        if getattr(module, "weight", None) is layer.projection.weight
    )
    given = []
    handle = owner.register_forward_hook(lambda _module, _args, output: given.append(output))
    outputs = {}
    watch(checkpoint, batch, lambda seen: outputs.update({seen.layer: seen.head_output}))
    axis = 1 if isinstance(owner, nn.Conv2d) else -1
    try:
        for head in range(layer.n_heads):
            del given[:-1]
            with hs.ablate(checkpoint, heads=[(layer.index, head)], mode="zero"):
                checkpoint.run(batch)
            change = (given[0] - given[-1]).movedim(axis, -1).flatten(0, -2).sum(0)
            written = layer.projection.of_head[head] @ outputs[layer.index][0, head].sum(0)
            # Sums of a few hundred rows in float64, whatever their order.
            torch.testing.assert_close(change, written, rtol=1e-9, atol=1e-11)
            assert change.abs().max() > 1e-3
            given[:] = given[:1]
    finally:
        handle.remove()


@pytest.mark.parametrize("name", ["levit", "mvitv2", "vision_transformer differential"])
def test_where_something_comes_between_there_is_none(name):
    """An activation, added queries, a norm: no linear map is the head's own."""
    network = NETWORKS[name]
    assert all(layer.projection is None for layer in read(network.build(), network.size).layers)


def test_norms_are_those_of_what_is_written(small):
    layer = next(iter(hs.capture(small, torch.zeros(1, 3, *small.preprocessing.size))))
    projection = layer.of.projection
    assert projection is not None
    written = torch.einsum("ihkc,hoc->ihko", layer.value, projection.of_head)
    norms = projection.norms(layer.value[:, None])[:, 0]
    # float32 sums of 64 and of 192 squares
    torch.testing.assert_close(norms, written.norm(dim=-1), rtol=1e-5, atol=1e-7)
    part = projection.part(slice(1, 2)).norms(layer.value[:, None, 1:2])
    torch.testing.assert_close(part[:, 0], norms[:, 1:2])


def test_torch_multi_head_attention_has_one():
    """It calls its projection by a function, not as a module."""
    layer = nn.TransformerEncoderLayer(24, 3, 48, batch_first=True, dropout=0).eval()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 24, 8, 8)
            self.block = layer
            self.head = nn.Linear(24, 5)

        def forward(self, x):
            return self.head(self.block(self.patches(x).flatten(2).mT).mean(1))

    checkpoint = read(Model(), (32, 40))
    projection = checkpoint.layers[0].projection
    assert projection is not None
    assert projection.weight is layer.self_attn.out_proj.weight
    np.testing.assert_array_equal(projection.channels, np.arange(24).reshape(3, 8))


def test_channels_are_found_in_any_order_of_rows_and_channels():
    generator = np.random.default_rng(0)
    heads = generator.normal(size=(12, 6))
    heads[3] = heads[4]  # two tokens that are alike
    heads[:, 5] = 0  # a dead channel
    order = generator.permutation(6)
    given = np.empty((9, 6))
    given[:, order] = heads[generator.permutation(12)[:9]]
    np.testing.assert_array_equal(_channels(given, heads), order)
    given[2, 3] += 1e-6
    assert _channels(given, heads) is None
