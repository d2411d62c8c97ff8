"""Tokens are where the layout says: by another route than the one that found it.

One token of what goes into a layer's block is changed, and the scores between queries and keys are
watched as the model computes them: a query that moved changes its whole row, a key its whole
column. Those must be the ones that the layout puts in the token's place.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import headscope as hs

from .networks import NETWORKS, noise, read, small

MOVED = 1e-6
"""Scores that change by less have not moved, in float64: rounding is 1e-14."""


class Scores(TorchFunctionMode):
    """Keeps what goes into each softmax of one module: the scores of queries and keys."""

    def __init__(self, module):
        super().__init__()
        self.module, self.inside, self.found = module, False, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if self.inside and func is functional.scaled_dot_product_attention:
            query, key = args[:2]
            self.found.append(query @ key.transpose(-2, -1))
        elif self.inside and func.__name__ == "softmax":
            self.found.append(args[0].clone())
        return func(*args, **(kwargs or {}))

    @contextmanager
    def watched(self):
        enter = self.module.register_forward_pre_hook(lambda *_: self.__dict__.update(inside=True))
        leave = self.module.register_forward_hook(lambda *_: self.__dict__.update(inside=False))
        try:
            with self:
                yield self
        finally:
            enter.remove()
            leave.remove()


@contextmanager
def changed(module, where, grid, *, of_output=False):
    """One token of what goes into a module, or comes out of it, is another."""

    def change(given):
        hidden = given.clone()
        generator = torch.manual_seed(5)
        row, column = where
        if hidden.dim() == 4 and tuple(hidden.shape[-2:]) == grid:
            place = hidden[:, :, row, column]
        elif hidden.dim() == 4 and tuple(hidden.shape[1:3]) == grid:
            place = hidden[:, row, column]
        else:
            n_prefix = hidden.shape[1] - grid[0] * grid[1]
            assert hidden.dim() == 3
            assert 0 <= n_prefix < 10, (tuple(hidden.shape), grid)
            place = hidden[:, n_prefix + row * grid[1] + column]
        place += torch.randn(place.shape, generator=generator, dtype=place.dtype)
        return hidden

    if of_output:
        handle = module.register_forward_hook(lambda _module, _args, output: change(output))
    else:
        handle = module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()


def scores_of(model, layer, batch):
    """`image window head query key`, of the layer's first call; None before the token changes."""
    scores = Scores(model.get_submodule(layer.module))
    with scores.watched(), torch.inference_mode():
        model(batch)
    return layer.axes.fold(scores.found[layer.sites[0].call])


def moves(before, after, layout):
    """How far each query and each key moved: `window query`, `window key`; 0 if it did not.

    In a window, a query that stayed has as many scores that changed as there are keys that moved;
    one that moved has more. How far is told by the scores with what stayed on the other side.
    What a window is filled up with may score 0 with all, and is left out.
    """
    # Masks are −∞ or −100 before and after.
    change = (after - before).nan_to_num(0.0).abs()[0].sum(1).numpy()
    real_rows = (layout.query_tokens >= 0)[:, :, None]
    n_keys = layout.keys.n_tokens - ("padding" in layout.keys.kinds)
    real = real_rows & (layout.key_tokens < n_keys)[:, None, :]
    moved = []
    for axis in (-1, -2):
        counts = ((change > MOVED) & real).sum(axis, keepdims=True)
        of_real = np.where(real.any(axis, keepdims=True), counts, change.size)
        moved.append(counts > of_real.min((-1, -2), keepdims=True))
    rows, columns = moved
    change = np.where(real, change, 0)
    of_rows = np.where(rows & ~columns, change, 0).sum(-1)
    of_columns = np.where(columns & ~rows, change, 0).sum(-2)
    return of_rows, of_columns


def part(levels, reach=0, only=""):
    return levels, reach, only


# Family: how many names up from the attention module the input is on the grid; how many tokens
# far convolutions mix on the way from there; and what the names of the modules must end in, where
# only some have the grid before them.
MODULES = {
    "byoanet halo": part(0),
    "cait": part(1),
    "crossvit": part(1),
    "davit": part(1, 1),
    "deepseek_vit": part(1),
    "efficientvit_msra": part(1, 2),
    "gcvit": part(1),
    "gemma4_vit": part(1),
    "hieradet_sam2": part(1),
    "levit": part(0),
    "maxxvit block and grid": part(1),
    "mobilevit": part(3, 1, only="transformer.0.attn"),
    "mvitv2": part(1, 1),
    "nest": part(3, only="transformer_encoder.0.attn"),
    "nextvit": part(1),
    "pvt_v2": part(1),
    "swin_transformer": part(1),
    "swin_transformer_v2": part(1),
    "swin_transformer_v2_cr": part(1),
    "tiny_vit": part(1),
    "twins pcpvt": part(1),
    "twins svt": part(1),
    "vision_transformer": part(1),
    "vision_transformer_sam": part(1),
}


def above(name, levels):
    for _ in range(levels):
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("name", MODULES)
def test_the_token_that_changes_is_the_one_that_moves(name):
    levels, reach, only = MODULES[name]
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    model, batch = checkpoint.model, noise(checkpoint, 1)
    n_checked = 0
    for layer in checkpoint.layers:
        if not layer.layout.queries.n_patches or not layer.module.endswith(only):
            continue
        held = above(layer.module, levels)
        if name == "nest":  # what comes out of the pooling is on the grid
            held = f"{above(layer.module, 3)}.pool"
        held = model.get_submodule(held)
        # What goes in is on the finer grid of the two, where they are pooled.
        fine = max((layer.layout.keys, layer.layout.queries), key=lambda side: side.n_patches)
        if name == "mvitv2" and layer.index in (1, 3, 4):
            continue  # both are pooled
        rows, columns = fine.grid
        before = scores_of(model, layer, batch)
        for where in {(0, 0), (rows - 1, columns - 1), (rows // 2, (columns + 1) // 2)}:
            if alone(layer.layout, fine, where) or all_move(fine, where, reach):
                continue
            with changed(held, where, fine.grid, of_output=name == "nest"):
                moved = moves(before, scores_of(model, layer, batch), layer.layout)
            shared = getattr(model.get_submodule(layer.module), "use_global", False)
            assert moved[0].max() > MOVED or shared or fine.grid != layer.layout.queries.grid
            assert moved[1].max() > MOVED or fine.grid != layer.layout.keys.grid
            check(layer.layout, moved, fine, where, reach, skip_queries=shared)
            n_checked += 1
    assert n_checked


def alone(layout, fine, where):
    """Whether all else in the token's window is padding: then nothing stays to compare with."""
    if layout.queries.grid != fine.grid:
        return False
    token = np.flatnonzero(layout.queries.is_patch)[where[0] * fine.grid[1] + where[1]]
    window = next(window for window in layout.query_tokens if token in window)
    return (window >= 0).sum() < 2


def all_move(fine, where, reach):
    """Whether convolutions reach from a token to all others."""
    cell = where[0] * fine.grid[1] + where[1]
    return bool((np.abs(fine.cells - fine.cells[cell]).max(-1) <= reach).all())


def check(layout, moved, fine, where, reach, *, skip_queries=False):
    sides = [
        (moved[0], layout.queries, layout.query_tokens),
        (moved[1], layout.keys, layout.key_tokens),
    ]
    cell = where[0] * fine.grid[1] + where[1]
    for moves_of, side, tokens in sides[skip_queries:]:
        patches = np.flatnonzero(side.is_patch)
        if side.grid == fine.grid:
            changed = set(tokens[moves_of > MOVED].tolist())
            hops = np.abs(fine.cells - fine.cells[cell]).max(-1)
            assert patches[cell] in changed
            assert changed <= set(patches[hops <= reach].tolist())
            if not reach:
                np.testing.assert_array_equal(moves_of > MOVED, tokens == patches[cell])
        elif moves_of.max() > MOVED:  # on a coarser grid: subsampling leaves tokens out
            distance = np.linalg.norm(side.centres - fine.centres[cell], axis=1)
            token = tokens.flat[moves_of.argmax()]
            near = distance[np.flatnonzero(patches == token)[0]]
            # Averages of several tokens: next to the one that changed.
            assert near <= distance.min() + 0.51 * max(side.patch_px)


@pytest.mark.parametrize(("name", "reach"), [("hiera", 2), ("tnt", 1)])
def test_a_pixel_moves_the_tokens_that_see_it(name, reach):
    """Where a model shuffles tokens before its first block: from the image on."""
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    layer, batch = checkpoint.layers[0], noise(checkpoint, 1)
    before = scores_of(checkpoint.model, layer, batch)
    fine = layer.layout.queries
    height, width = (int(px) for px in fine.patch_px)
    for row, column in ((0, 0), (fine.grid[0] - 1, fine.grid[1] - 1), (3, 5)):
        other = batch.clone()
        other[..., row * height : (row + 1) * height, column * width : (column + 1) * width] += 3
        moved = moves(before, scores_of(checkpoint.model, layer, other), layer.layout)
        check(layer.layout, moved, fine, (row, column), reach)


def windows_of_the_paper(grid, window, shift):
    """Swin's windows, written from the paper (arXiv 2103.14030, section 3.2 and figure 4)."""
    rows, columns = grid
    tokens = np.roll(np.arange(rows * columns).reshape(grid), (-shift[0], -shift[1]), (0, 1))
    tokens = tokens.reshape(rows // window, window, columns // window, window)
    return tokens.transpose(0, 2, 1, 3).reshape(-1, window * window)


def region(position, size, window, shift):
    """Which part of a rolled axis a position is in: what was apart before stays apart."""
    rolled = (position - shift) % size
    return 0 if rolled < size - window else 1 if rolled < size - shift else 2


@pytest.mark.parametrize(
    "name", ["swin_transformer", "swin_transformer_v2", "swin_transformer_v2_cr"]
)
def test_windows_of_swin_are_those_of_the_paper(name):
    checkpoint = small(name)
    layers = list(hs.capture(checkpoint, noise(checkpoint, 1)))
    assert [layer.of.kind for layer in layers[:4]] == ["windows", "shifted windows"] * 2
    for layer in layers[:4]:
        grid, tokens = layer.queries.grid, layer.layout.query_tokens
        # Along an axis of one window there is nothing to shift to.
        half = 2 if layer.layer % 2 else 0
        shift = tuple(half if size > 4 else 0 for size in grid)
        expected = windows_of_the_paper(grid, 4, shift)
        np.testing.assert_array_equal(tokens, expected)
        np.testing.assert_array_equal(layer.layout.key_tokens, expected)
        window = {int(token): index for index, row in enumerate(expected) for token in row}
        regions = [
            tuple(
                region(int(position), size, 4, by) if by else 0
                for position, size, by in zip(cell, grid, shift, strict=True)
            )
            for cell in layer.queries.cells
        ]
        together = np.array(
            [
                [window[a] == window[b] and regions[a] == regions[b] for b in range(len(regions))]
                for a in range(len(regions))
            ]
        )
        attends = (layer.weights[0] > 1e-12).all(0).numpy()
        np.testing.assert_array_equal(attends, together)
        assert (layer.weights[0].numpy()[:, ~together] < 1e-30).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_places_at_all_strides_share_the_frame_of_the_image(name):
    """Distances in pixels compare: grids lie on the whole image, whatever their stride."""
    checkpoint = small(name)
    size = np.array(checkpoint.preprocessing.size)
    for layer in checkpoint.layers:
        for side in (layer.layout.queries, layer.layout.keys):
            if not side.n_patches or side.scattered is not None:
                continue
            np.testing.assert_allclose(np.array(side.grid) * side.patch_px, size)
            np.testing.assert_allclose(side.centres.mean(0), size / 2)
        for tokens, side in (
            (layer.layout.query_tokens, layer.layout.queries),
            (layer.layout.key_tokens, layer.layout.keys),
        ):
            present = np.unique(tokens[tokens >= 0])
            np.testing.assert_array_equal(present, np.arange(side.n_tokens))
