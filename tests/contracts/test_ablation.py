"""Ablating a head is zeroing its part of what the projection gets, in every family."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import headscope as hs
from headscope.models.replay import Replay

from .networks import NETWORKS, noise, small

PROJECTIONS = ("proj", "o_proj", "output.proj")
"""What the layer is called, in an attention module, that the joined heads go through."""

NO_COLUMNS = {
    "CascadedGroupAttention": "the next head gets what a head gives",
    "DiffAttention": "heads are subtracted before the projection",
    "MultiScaleAttention": "queries are added before the projection",
    "Attention2d": "values are added before the projection",
    "Attention2dDownsample": "values are added before the projection",
}
"""Attention whose heads are no columns of its projection, and why."""


@contextmanager
def zeroed(module, columns, *, of_input=True):
    """Channels of what goes into a module, or of what comes out of it, are 0."""

    def zero(joined):
        joined = joined.clone()
        channels_first = joined.dim() == 4 and not isinstance(module, nn.Linear)
        (joined[:, columns] if channels_first else joined[..., columns]).zero_()
        return joined

    if of_input:
        handle = module.register_forward_pre_hook(lambda _module, args: (zero(args[0]), *args[1:]))
    else:
        handle = module.register_forward_hook(lambda _module, _args, output: zero(output))
    try:
        yield
    finally:
        handle.remove()


def by_columns(checkpoint, layer, head, channels):
    """A context in which a head's columns of the projection are zeroed; None if it has none."""
    of = checkpoint.layers[layer]
    attention = checkpoint.model.get_submodule(of.module)
    parts = dict(attention.named_modules())
    columns = slice(head * channels, (head + 1) * channels)
    if type(attention).__name__ in ("HaloAttn", "BottleneckAttn"):  # no projection of its own
        return zeroed(attention, columns, of_input=False)
    projection = next((parts[name] for name in PROJECTIONS if name in parts), None)
    if projection is None or type(attention).__name__ in NO_COLUMNS:
        return None
    if type(attention).__module__ == "timm.models.nest":
        columns = slice(head, None, of.n_heads)  # channel by channel, the heads side by side
    return zeroed(projection, columns)


class ByProduct(TorchFunctionMode):
    """Zeroes a head in the product that follows a softmax, or in a fused attention, by hand."""

    def __init__(self, checkpoint, layer, head):
        super().__init__()
        of = checkpoint.layers[layer]
        self.module = checkpoint.model.get_submodule(of.module)
        self.n_heads = of.axes.n_heads
        self.at, self.head = divmod(head, self.n_heads)
        self.calls, self.inside, self.pending = 0, False, False

    @contextmanager
    def run(self):
        enter = self.module.register_forward_pre_hook(lambda *_: self.__dict__.update(inside=True))
        leave = self.module.register_forward_hook(lambda *_: self.__dict__.update(inside=False))
        try:
            with self:
                yield
        finally:
            enter.remove()
            leave.remove()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not self.inside:
            return result
        fused = func is functional.scaled_dot_product_attention
        if func.__name__ == "softmax":
            self.pending = True
        elif fused or (self.pending and func.__name__ in ("matmul", "__matmul__")):
            self.pending = False
            if self.calls == self.at:
                result = result.clone()
                (result if self.n_heads == 1 else result[:, self.head]).zero_()
            self.calls += 1
        return result


def probes(checkpoint):
    """A head of the first, of the middle and of the last layer, and the first of all.

    Where heads are computed one after the other, only the last is followed by none.
    """
    n = checkpoint.n_layers
    layers = sorted({0, n // 2, n - 1})
    return [(0, 0), *((layer, checkpoint.n_heads[layer] - 1) for layer in layers)]


@pytest.mark.parametrize("name", NETWORKS)
def test_ablating_a_head_is_zeroing_its_columns(name):
    checkpoint = small(name)
    # CSATv2's spatial attention is across the images of a batch (timm 1.0.31): one at a time.
    batch = noise(checkpoint, 1 if name == "csatv2" else 2)
    before = checkpoint.run(batch)
    replay = Replay(checkpoint, batch)
    torch.testing.assert_close(replay.output, before)
    for layer, head in probes(checkpoint):
        with hs.ablate(checkpoint, [(layer, head)]):
            ablated = checkpoint.run(batch)
        change = (ablated - before).abs().max()
        assert change > 1e-6 * before.abs().max(), "a head without effect proves nothing"
        # Sums in another order: errors of rounding, well below what the head changes.
        tolerance = {"rtol": 1e-4, "atol": max(1e-6, 1e-2 * float(change))}
        clean = replay.heads(layer)
        columns = by_columns(checkpoint, layer, head, clean.shape[-1])
        with columns or ByProduct(checkpoint, layer, head).run(), torch.inference_mode():
            brute = checkpoint.readout(checkpoint.model(batch))
        torch.testing.assert_close(ablated, brute, **tolerance)
        rows, output = replay.resume(layer, clean[None])
        torch.testing.assert_close(output[0], before, **tolerance)
        torch.testing.assert_close(rows[0], replay.layer_output(layer), rtol=1e-4, atol=1e-4)
        without = clean.clone()
        without[:, head] = 0
        _, output = replay.resume(layer, without[None])
        torch.testing.assert_close(output[0], ablated, **tolerance)
        assert torch.equal(checkpoint.run(batch), before)
