"""Architectures that timm lacks, written small from their papers: read like any other."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import headscope as hs
from headscope.analysis.metrics.sinks import received
from headscope.analysis.sinks.removal import without_sinks
from headscope.models.ablations import ablation
from headscope.models.replay import Replay

DIM, HEADS, PATCH = 16, 4, 4


def batch_of(size, n=2):
    return torch.randn(n, 3, *size, generator=torch.manual_seed(0))


class Classifier(nn.Module):
    """Patches on a grid, blocks of attention and MLP, and a head."""

    def __init__(self, attentions):
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.blocks = nn.ModuleList(Block(attention) for attention in attentions)
        self.head = nn.Linear(DIM, 3)

    def forward(self, x):
        x = self.patches(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(DIM, 2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class CrossShapedWindows(nn.Module):
    """Half of the heads attend within horizontal stripes, half within vertical ones, each with
    a positional convolution of the values beside it (CSWin, arXiv 2107.00652, sections 3.2-3.3).
    """

    def __init__(self, width=1):
        super().__init__()
        self.width = width
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.lepe = nn.ModuleList(
            nn.Conv2d(DIM // 2, DIM // 2, 3, padding=1, groups=DIM // 2) for _ in range(2)
        )
        self.ablated = None

    def forward(self, x):
        halves = [part.chunk(3, -1) for part in self._halves(self.qkv(x))]
        return self.proj(torch.cat([self._stripes(i, *qkv) for i, qkv in enumerate(halves)], -1))

    def _halves(self, qkv):
        q, k, v = qkv.chunk(3, -1)
        for part in (slice(0, DIM // 2), slice(DIM // 2, DIM)):
            yield torch.cat([q[..., part], k[..., part], v[..., part]], -1)

    def _stripes(self, which, q, k, v):
        n, rows, columns, _ = q.shape
        size = (self.width, columns) if which == 0 else (rows, self.width)
        up, across = rows // size[0], columns // size[1]

        def windows(x):
            x = x.reshape(n, up, size[0], across, size[1], DIM // 2).permute(0, 1, 3, 2, 4, 5)
            return x.reshape(n * up * across, size[0] * size[1], DIM // 2)

        def heads(x):
            return windows(x).unflatten(-1, (HEADS // 2, -1)).transpose(1, 2)

        local = windows(v).transpose(1, 2).unflatten(-1, size)
        local = self.lepe[which](local).flatten(2).transpose(1, 2)
        query, key, value = heads(q), heads(k), heads(v)
        weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(-1)
        out = weights @ value
        if self.ablated is not None and self.ablated // 2 == which:
            out = out.index_fill(1, torch.tensor([self.ablated % 2]), 0)
        out = out.transpose(1, 2).flatten(2) + local
        out = out.reshape(n, up, across, *size, DIM // 2).permute(0, 1, 3, 2, 4, 5)
        return out.reshape(n, rows, columns, DIM // 2)


class BiLevelRouting(nn.Module):
    """Each region's queries attend to the tokens of the `top` regions whose mean keys are most
    like its mean query (BiFormer, arXiv 2303.08810, section 3.2).
    """

    def __init__(self, regions=3, top=2):
        super().__init__()
        self.regions, self.top = regions, top
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.lepe = nn.Conv2d(DIM, DIM, 5, padding=2, groups=DIM)
        self.ablated = None
        self.routed = None

    def forward(self, x):
        n, rows, columns, _ = x.shape
        size = rows // self.regions, columns // self.regions

        def region(x):
            x = x.reshape(n, self.regions, size[0], self.regions, size[1], DIM)
            return x.permute(0, 1, 3, 2, 4, 5).reshape(n, self.regions**2, -1, DIM)

        q, k, v = self.qkv(x).chunk(3, -1)
        local = self.lepe(v.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        q, k, v = region(q), region(k), region(v)
        affinity = q.mean(2) @ k.mean(2).transpose(-2, -1)
        index = affinity.topk(self.top, -1).indices
        self.routed = index

        def gather(x):
            index_ = index[..., None, None].expand(-1, -1, -1, *x.shape[2:])
            every = x[:, None].expand(-1, self.regions**2, -1, -1, -1)
            return torch.gather(every, 2, index_).flatten(2, 3)

        def heads(x):
            return x.unflatten(-1, (HEADS, -1)).transpose(2, 3)

        out = functional.scaled_dot_product_attention(heads(q), heads(gather(k)), heads(gather(v)))
        if self.ablated is not None:
            out = out.index_fill(2, torch.tensor([self.ablated]), 0)
        out = out.transpose(2, 3).flatten(3)
        out = out.reshape(n, self.regions, self.regions, *size, DIM).permute(0, 1, 3, 2, 4, 5)
        return self.proj(out.reshape(n, rows, columns, DIM) + local)


class LongDistance(nn.Module):
    """Groups of tokens that are far apart, or near (CrossFormer, arXiv 2108.00154, section 3.2)."""

    def __init__(self, group=2, *, far):
        super().__init__()
        self.group, self.far = group, far
        self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        n, rows, columns, _ = x.shape
        g = self.group
        if self.far:
            split, order = (n, g, rows // g, g, columns // g, DIM), (0, 2, 4, 1, 3, 5)
        else:
            split, order = (n, rows // g, g, columns // g, g, DIM), (0, 1, 3, 2, 4, 5)
        x = x.reshape(split).permute(order)
        grouped = x.shape
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(x.reshape(-1, g * g, DIM)).chunk(3, -1)
        )
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out = self.proj(out).reshape(grouped).permute(tuple(np.argsort(order).tolist()))
        return out.reshape(n, rows, columns, DIM)


class TokensToToken(nn.Module):
    """Overlapping patches, attended to, then put together to a coarser grid, twice (T2T-ViT,
    arXiv 2101.11986, section 3.1).
    """

    def __init__(self):
        super().__init__()
        self.splits = nn.ModuleList(
            [nn.Unfold(7, stride=4, padding=2), nn.Unfold(3, stride=2, padding=1)]
        )
        self.qkv = nn.ModuleList([nn.Linear(3 * 49, 3 * DIM), nn.Linear(DIM * 9, 3 * DIM)])
        self.attention = nn.ModuleList([SingleHead(), SingleHead()])
        self.head = nn.Linear(DIM, 3)

    def forward(self, x):
        for split, qkv, attention in zip(self.splits, self.qkv, self.attention, strict=True):
            size = [-(-side // (4 if split is self.splits[0] else 2)) for side in x.shape[-2:]]
            x = attention(qkv(split(x).transpose(1, 2))).transpose(1, 2).unflatten(-1, size)
        return self.head(x.mean((2, 3)))


class SingleHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(DIM, DIM)

    def forward(self, qkv):
        q, k, v = (part[:, None] for part in qkv.chunk(3, -1))
        out = functional.scaled_dot_product_attention(q, k, v)
        return v[:, 0] + self.proj(out[:, 0])


def cells(layout, tokens):
    """Row and column of patches by the number of their token."""
    return {tuple(divmod(int(token), layout.grid[1])) for token in tokens}


def check_reading(checkpoint, batch):
    for layer in hs.capture(checkpoint, batch):
        weights, sums = layer.weights, layer.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        torch.testing.assert_close(weights @ layer.value, layer.head_output)


def check_ablation(checkpoint, batch, ablated):
    """Context, replay and a module that leaves the head out itself give the same."""
    replay = Replay(checkpoint, batch)
    for layer, head, module, index in ablated:
        module.ablated = index
        expected = checkpoint.run(batch)
        module.ablated = None
        with hs.ablate(checkpoint, [(layer, head)]):
            torch.testing.assert_close(checkpoint.run(batch), expected)
        heads = replay.heads(layer).clone()
        heads[:, head] = 0
        rows, output = replay.resume(layer, heads[None])
        torch.testing.assert_close(output[0], expected)
        assert rows.shape[2] == checkpoint.layers[layer].layout.queries.n_tokens
        # Not vacuous: the head counts.
        assert not torch.allclose(expected, replay.output, atol=1e-6)


# -- CSWin ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(4, 4), (4, 6)])
@pytest.mark.parametrize("width", [1, 2])
def test_cross_shaped_windows_are_two_layers_of_stripes(grid, width):
    torch.manual_seed(0)
    size = tuple(PATCH * side for side in grid)
    model = Classifier([CrossShapedWindows(width), CrossShapedWindows(width)])
    checkpoint = hs.wrap(model, image_size=size)
    assert [reading.module for reading in checkpoint.report.layers] == [
        "blocks.0.attention",
        "blocks.0.attention (call 1)",
        "blocks.1.attention",
        "blocks.1.attention (call 1)",
    ]
    assert checkpoint.n_heads == (2, 2, 2, 2)
    assert [layer.kind for layer in checkpoint.layers] == [
        "horizontal stripes",
        "vertical stripes",
    ] * 2
    rows, columns = np.indices(grid).reshape(2, -1)
    for layer in hs.capture(checkpoint, batch_of(size)):
        line = (rows if layer.layer % 2 == 0 else columns) // width
        same = torch.from_numpy(line[:, None] == line[None])
        assert ((layer.weights > 0) == same).all()
        assert layer.queries.grid == grid
    check_reading(checkpoint, batch_of(size))
    check_ablation(
        checkpoint,
        batch_of(size),
        [
            (2 * block + call, head, model.blocks[block].attention, 2 * call + head)
            for block in range(2)
            for call in range(2)
            for head in range(2)
        ],
    )


# -- BiFormer ------------------------------------------------------------------------------------


def test_bi_level_routing_has_the_layout_of_each_image():
    torch.manual_seed(0)
    grid, regions = (6, 6), 3
    size = tuple(PATCH * side for side in grid)
    model = Classifier([BiLevelRouting(regions), BiLevelRouting(regions)])
    checkpoint = hs.wrap(model, image_size=size)
    assert [layer.kind for layer in checkpoint.layers] == ["routed windows"] * 2
    assert checkpoint.n_heads == (HEADS, HEADS)
    batch = batch_of(size, 3)
    checkpoint.run(batch)
    routed = [block.attention.routed for block in model.blocks]
    layouts = checkpoint.routed_layouts(batch)
    assert set(layouts) == {0, 1}
    side = grid[0] // regions
    rows, columns = np.indices(grid).reshape(2, -1)
    region_of = rows // side * regions + columns // side

    for layer in hs.capture(checkpoint, batch):
        for image, goes in enumerate(routed[layer.layer]):
            to = torch.zeros(regions**2, regions**2, dtype=torch.bool)
            to[torch.arange(regions**2)[:, None], goes] = True
            expected = to[region_of][:, region_of]
            assert ((layer.weights[image] > 0) == expected).all()
            layout = layouts[layer.layer][image]
            for window in range(layout.n_windows):
                of = {int(region_of[token]) for token in layout.query_tokens[window]}
                keys = {int(region_of[token]) for token in layout.key_tokens[window]}
                (region,) = of
                assert keys == set(goes[region].tolist())
    different = [not torch.equal(goes[0], goes[1]) for goes in routed]
    assert any(different), "images are routed differently"

    check_reading(checkpoint, batch)
    check_ablation(
        checkpoint,
        batch,
        [(b, head, model.blocks[b].attention, head) for b in (1,) for head in range(HEADS)],
    )


def test_sinks_are_removed_in_the_windows_of_each_image():
    torch.manual_seed(0)
    size = (6 * PATCH, 6 * PATCH)
    checkpoint = hs.wrap(Classifier([BiLevelRouting(3), BiLevelRouting(3)]), image_size=size)
    batch = batch_of(size, 3)
    edit = ablation("sinks[1+8]:masked")
    replay = Replay(checkpoint, batch)
    for index in range(2):
        layer = replay.attention(index)
        kept = layer.weights.clone()
        kept[..., [1, 8]] = 0
        kept /= kept.sum(-1, keepdim=True)
        given = edit.apply(layer, [0])
        # float32 of order 1
        torch.testing.assert_close(
            given[:, 0], kept[:, 0] @ layer.value[:, 0], atol=1e-5, rtol=1e-4
        )
        assert not torch.equal(given[:, 0], layer.head_output[:, 0])
        alone = Replay(checkpoint, batch[1:2]).attention(index)
        torch.testing.assert_close(received(layer)[1:2], received(alone), equal_nan=True)
    found = without_sinks(checkpoint, batch, heads=[(0, 0)], how="sinks[1+8]:masked")
    assert np.abs(found.output.change).max() > 1e-5
    assert np.abs(found.metrics["entropy"].change[:, 0, 0]).max() > 1e-3


# -- CrossFormer, T2T-ViT ------------------------------------------------------------------------


def test_long_and_short_distance_groups():
    size = (32, 48)
    checkpoint = hs.wrap(
        Classifier([LongDistance(far=False), LongDistance(far=True)]), image_size=size
    )
    assert [layer.kind for layer in checkpoint.layers] == ["windows", "dilated windows"]
    near, far = checkpoint.layers
    assert cells(near.layout.queries, near.layout.query_tokens[0]) == {
        (0, 0), (0, 1), (1, 0), (1, 1),
    }  # fmt: skip
    assert cells(far.layout.queries, far.layout.query_tokens[0]) == {
        (0, 0), (0, 6), (4, 0), (4, 6),
    }  # fmt: skip
    check_reading(checkpoint, batch_of(size))


def test_overlapping_tokens_lie_on_their_grids():
    size = (32, 48)
    checkpoint = hs.wrap(TokensToToken(), image_size=size)
    assert [layer.layout.queries.grid for layer in checkpoint.layers] == [(8, 12), (4, 6)]
    assert {layer.kind for layer in checkpoint.layers} == {"global"}
    check_reading(checkpoint, batch_of(size))
