"""Maps in a common form: closed forms, a naive replica, and families with other geometry."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.patterns.cells import grid_cells
from headscope.analysis.patterns.forms import FAR, FORMS, NEAR, SIDE, offset_cells
from headscope.analysis.patterns.gathering import maps_of_images
from headscope.analysis.patterns.maps import join, shares
from headscope.analysis.patterns.pairs import pairs_of
from headscope.analysis.patterns.statistics import STATISTICS

from ...conftest import GRID, SINK_PATCH, SIX
from .heads import noise_images

HALF = 2e-3
"""Half precision keeps 11 bits of a square root: twice 2⁻¹¹ of a share of 1, and a little more."""


def heads_of(maps):
    """Channels, values and statistics of the first image's heads in layer 0, by name."""
    rows = np.flatnonzero((maps.image == 0) & (maps.layer == 0))
    pictures = shares(maps.form, maps.values[rows])
    values = np.square(maps.values[rows, -5:].astype(float))
    told = [dict(zip(STATISTICS, row.tolist(), strict=True)) for row in maps.statistics[rows]]
    return {
        name: (
            pictures[i],
            dict(zip(("class", "register", "other", "self", "top"), values[i], strict=True)),
            told[i],
        )
        for i, name in enumerate(SIX)
    }


@pytest.fixture(scope="module")
def six_heads(six):
    return heads_of(maps_of_images(six, noise_images(1)))


@pytest.mark.parametrize("reach", [0, 1, 2, 3, 5, 13])
def test_every_offset_lies_in_cells_whole(reach):
    cells = offset_cells(reach)
    assert cells.shape == (2 * reach + 1, SIDE)
    np.testing.assert_allclose(cells.sum(1), 1)
    np.testing.assert_array_equal(cells, cells[::-1, ::-1])
    middle = NEAR + FAR
    for offset in range(-min(NEAR, reach), min(NEAR, reach) + 1):
        assert cells[reach + offset, middle + offset] == 1
    if reach > NEAR:
        assert cells[-1, -1] > 0, "the farthest offset reaches the edge, on any grid"


def test_places_keep_their_mass_on_any_grid():
    for n in (1, 4, 11, 14):
        np.testing.assert_allclose(grid_cells(n, SIDE).sum(1), 1)
        np.testing.assert_allclose(grid_cells(n, SIDE).sum(0), n / SIDE)
    np.testing.assert_allclose(grid_cells(SIDE, SIDE), np.eye(SIDE), atol=1e-12)


def test_the_six_heads_have_their_closed_forms(six_heads):
    middle = NEAR + FAR
    n, n_tokens = GRID**2, GRID**2 + 1
    offset, received = (np.stack([six_heads[name][0][i] for name in SIX]) for i in (0, 1))
    # Channels sum to what patches give to patches: all but the class token's share.
    for channel in (offset, received):
        expected = [1, 1, n / n_tokens, 1, 0, 1]
        np.testing.assert_allclose(channel.sum((1, 2)), expected, atol=HALF * 11)
    own = SIX.index("self")
    assert offset[own, middle, middle] == pytest.approx(1, abs=HALF)
    # Mean over pairs: 12 of 12 pairs at the left, and 4 of 16 at (0, 0); cells share 1 + 1/4.
    left = offset[SIX.index("left")]
    assert left[middle, middle - 1] == pytest.approx(1 / 1.25, abs=HALF)
    assert left[middle, middle] == pytest.approx(0.25 / 1.25, abs=HALF)
    # Offset 3, the reach of a grid of 4, fills the three outer cells: all cells are alike.
    uniform = offset[SIX.index("uniform")]
    np.testing.assert_allclose(uniform, n / n_tokens / SIDE**2, atol=HALF * 0.01)
    row = offset[SIX.index("row")]
    np.testing.assert_allclose(row[middle], 1 / SIDE, atol=HALF * 0.1)
    assert row.sum() == pytest.approx(row[middle].sum(), abs=1e-6)
    # The sink is at (1, 1) of 4 × 4: the middle of it is a quarter and a half down and right.
    sink = received[SIX.index("sink")]
    corner = SIDE / GRID
    peak = sink[int(1.5 * corner), int(1.5 * corner)]
    assert peak == pytest.approx(1 / corner**2, abs=HALF)
    values = {name: six_heads[name][1] for name in SIX}
    assert values["class"]["class"] == pytest.approx(1, abs=HALF)
    assert values["self"]["self"] == pytest.approx(1, abs=HALF)
    assert values["sink"]["top"] == pytest.approx(1, abs=HALF)
    assert values["uniform"]["class"] == pytest.approx(1 / n_tokens, abs=HALF)
    assert SINK_PATCH == 5, "row 1, column 1"


def test_the_six_heads_have_their_statistics(six_heads):
    told = {name: six_heads[name][2] for name in SIX}
    n = GRID**2
    tight = {"abs": 1e-5}  # float32 of what is float64 in the model

    def check(name, **expected):
        for statistic, value in expected.items():
            assert told[name][statistic] == pytest.approx(value, **tight), (name, statistic)

    check("self", self=1, reach=0, spread=1 / n, received=1, dependence=1, row_lift=4, near=0)
    check("left", left=0.75, self=0.25, right=0, above=0, below=0, spread=1 / n, row=1, near=0.75)
    check("uniform", patch=16 / 17, reach=1, spread=1, received=1, dependence=0, row_lift=1)
    check("uniform", top=1 / n, near_lift=1, column_lift=1)
    check("row", row=1, column=0.25, row_lift=4, spread=4 / n, received=1, dependence=0.5)
    check("sink", received=1 / n, dependence=0, top=1, spread=1 / n)
    check("class", **{"class": 1, "patch": 0})
    assert np.isnan(told["class"]["self"]), "nothing is said of patches that get nothing"


def test_a_naive_replica_agrees(small):
    """Loops over all pairs of patches, for random weights on 3 × 5 patches."""
    image = np.random.default_rng(1).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    maps = maps_of_images(small, [image])
    layer = list(hs.capture(small, image))[2]
    weights = layer.weights[0].double().numpy()
    rows, columns = small.layout.grid
    row = np.flatnonzero((maps.layer == 2) & (maps.head == 1))[0]
    of_patches = weights[1][1:, 1:]
    total, pairs = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    own = key_entropy = given = 0.0
    by_rows, by_columns = offset_cells(rows - 1), offset_cells(columns - 1)
    places = [divmod(patch, columns) for patch in range(rows * columns)]
    for query, (a, b) in enumerate(places):
        for key, (c, d) in enumerate(places):
            cells = np.outer(by_rows[c - a + rows - 1], by_columns[d - b + columns - 1])
            total += of_patches[query, key] / len(places) * cells
            pairs += cells
        own += of_patches[query, query]
    mean = np.divide(total, pairs, out=np.zeros_like(total), where=pairs > 0)
    share = of_patches.sum() / len(places)
    found = shares(maps.form, maps.values[row])
    np.testing.assert_allclose(found[0], mean / mean.sum() * share, rtol=2 * HALF, atol=1e-7)
    joint = of_patches / of_patches.sum()
    for query in range(len(places)):
        p = joint[query] / joint[query].sum()
        given -= joint[query].sum() * (p * np.log(p)).sum()
    received = joint.sum(0)
    key_entropy = -(received * np.log(received)).sum()
    told = dict(zip(STATISTICS, maps.statistics[row].tolist(), strict=True))
    exact = {"rel": 1e-4}  # float32 sums over 225 pairs
    assert told["self"] == pytest.approx(own / of_patches.sum(), **exact)
    assert told["received"] == pytest.approx(np.exp(key_entropy) / len(places), **exact)
    assert told["spread"] == pytest.approx(np.exp(given) / len(places), **exact)
    # A small difference of two entropies of about ln 15, each right to 1e-6.
    information = (key_entropy - given) / np.log(len(places))
    assert told["dependence"] == pytest.approx(information, abs=5e-6)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("swin_tiny_patch4_window7_224", (112, 168)),
        ("cait_xxs24_224", (64, 64)),
        ("crossvit_tiny_240", None),
        ("pvt_v2_b0", (64, 96)),
    ],
)
def test_maps_of_any_family_are_shares(name, size):
    checkpoint = hs.load(name, pretrained=False, image_size=size)
    image = np.random.default_rng(2).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    for form in FORMS:
        maps = maps_of_images(checkpoint, [image], form=form)
        assert len(maps) == sum(checkpoint.n_heads)
        assert np.isfinite(maps.values).all()
        told = dict(zip(STATISTICS, maps.statistics.T, strict=True))
        outside = told["class"] + told["register"] + told["other"]
        np.testing.assert_allclose(outside + told["patch"], 1, rtol=1e-4)
        channels = shares(form, maps.values).sum((-2, -1))
        between = [bool(checkpoint.layers[layer].layout.queries.n_patches) for layer in maps.layer]
        expected = told["patch"][:, None] * np.array([[True] * channels.shape[1]] * len(maps))
        # Without patch queries there are no offsets, and no region that attends.
        expected[:, 0] *= between
        np.testing.assert_allclose(channels, expected, atol=HALF * 11)
        assert np.nanmax(told["spread"], initial=0) <= 1 + 1e-4
        assert np.nanmax(told["reach"]) < 3


def test_windows_alone_are_no_dependence():
    """Uniform attention within Swin's windows, shifted or not, says nothing of what a head does."""
    checkpoint = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    with torch.no_grad():
        for module in checkpoint.model.modules():
            if hasattr(module, "relative_position_bias_table"):
                module.relative_position_bias_table.zero_()
                module.qkv.weight.zero_()
                module.qkv.bias.zero_()
    maps = maps_of_images(checkpoint, [np.zeros((112, 112, 3), np.uint8)])
    assert checkpoint.layers[1].kind == "shifted windows"
    told = dict(zip(STATISTICS, maps.statistics[maps.layer < 2].T, strict=True))
    uniform = {"dependence": 0, "spread": 1, "reach": 1, "received": 1, "near_lift": 1}
    for name, value in uniform.items():
        np.testing.assert_allclose(told[name], value, atol=1e-4, err_msg=name)
    assert layer_pairs(checkpoint, 1).reach == layer_pairs(checkpoint, 0).reach == (6, 6)


def layer_pairs(checkpoint, layer):
    return pairs_of(checkpoint.layers[layer].layout)


def test_raw_maps_are_pooled_by_region(six):
    maps = maps_of_images(six, noise_images(1), form="raw")
    found = {name: picture[0] for name, (picture, _, _) in heads_of(maps).items()}
    n = GRID**2
    np.testing.assert_allclose(found["self"], np.eye(n) / n, atol=HALF)
    np.testing.assert_allclose(found["uniform"], 1 / 17 / n, atol=HALF * 0.1)
    np.testing.assert_allclose(found["sink"].sum(0)[SINK_PATCH], 1, atol=HALF * n)


def test_maps_of_two_forms_do_not_mix(six):
    image = noise_images(1)
    with pytest.raises(hs.HeadscopeError, match="offset and raw"):
        join([maps_of_images(six, image, form=form) for form in ("offset", "raw")])
    with pytest.raises(hs.HeadscopeError, match="no form of maps 'round'"):
        maps_of_images(six, image, form="round")
