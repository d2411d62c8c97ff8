"""Attention metrics: closed forms on the known-answer ViT, replicas from the papers, contracts."""

import math

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.metrics import attention_metrics, dimension_named
from headscope.models.capture import watch

GRID, PATCH_PX, SINK = 4, 8, (1, 1)
N_PATCHES, N_TOKENS = GRID**2, GRID**2 + 1
IDENTITY, LEFT, UNIFORM, FIXED = range(4)
CELLS = [(row, column) for row in range(GRID) for column in range(GRID)]


def hop(a, b):
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))


def far(a, b):
    return PATCH_PX * math.hypot(a[0] - b[0], a[1] - b[1])


@pytest.fixture(scope="module")
def results(known, known_crops):
    """Every metric of layer 0 of the known-answer ViT: name → `image head …`."""
    values = {}

    def compute(layer):
        if layer.layer == 0:
            values.update({n: m.compute(layer).numpy() for n, m in attention_metrics().items()})

    watch(known, known.prepare(known_crops), compute)
    return values


# e⁻⁶⁰ of the mass is where it should not be, and rounding of sums of 17 numbers adds 1e-16 each.
CLOSED = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (IDENTITY, 0),
        (LEFT, PATCH_PX * (GRID - 1) / GRID),  # the first column looks at itself
        (UNIFORM, np.mean([far(a, b) for a in CELLS for b in CELLS])),
        (FIXED, np.mean([far(a, SINK) for a in CELLS])),
    ],
)
def test_distance_has_its_closed_form(results, head, expected):
    np.testing.assert_allclose(results["distance"][:, head], expected, **CLOSED)


@pytest.mark.parametrize(
    ("head", "expected"), [(IDENTITY, 0), (LEFT, 0), (UNIFORM, math.log(N_TOKENS)), (FIXED, 0)]
)
def test_entropy_has_its_closed_form(results, head, expected):
    np.testing.assert_allclose(results["entropy"][:, head], expected, **CLOSED)


def expected_hops(head):
    """Attention of a patch by hop, mean over patches."""
    shares = np.zeros(GRID)
    for a in CELLS:
        if head == IDENTITY:
            shares[0] += 1
        elif head == LEFT:
            shares[min(a[1], 1)] += 1
        elif head == FIXED:
            shares[hop(a, SINK)] += 1
        else:
            for b in CELLS:
                shares[hop(a, b)] += 1 / N_TOKENS
    return shares / N_PATCHES


@pytest.mark.parametrize("head", [IDENTITY, LEFT, UNIFORM, FIXED])
def test_hops_have_their_closed_form(results, head):
    pairs = np.bincount([hop(a, b) for a in CELLS for b in CELLS])
    for image in range(3):
        np.testing.assert_allclose(results["hop_share"][image, head], expected_hops(head), **CLOSED)
        np.testing.assert_allclose(
            results["hop_mean"][image, head], expected_hops(head) * N_PATCHES / pairs, **CLOSED
        )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # rows: class query, patch query; columns: class key, patch key
        (IDENTITY, [[1, 0], [0, 1]]),
        (LEFT, [[1, 0], [0, 1]]),
        (UNIFORM, [[1 / N_TOKENS, N_PATCHES / N_TOKENS]] * 2),
        (FIXED, [[0, 1], [0, 1]]),
    ],
)
def test_shares_have_their_closed_form(results, head, expected):
    for image in range(3):
        np.testing.assert_allclose(results["share"][image, head], expected, **CLOSED)


def naive_distance(weights, layout):
    """Mean attention distance as Dosovitskiy et al. describe it, query by query.

    They average over queries the distances weighted by attention. Where prefix tokens take part of
    the mass we divide by what the patches give to patches, over all queries together.
    """
    travelled = mass = 0.0
    n_prefix, columns = layout.n_prefix, layout.grid[1]
    height, width = layout.patch_px
    for query in range(layout.n_patches):
        for key in range(layout.n_patches):
            weight = float(weights[n_prefix + query, n_prefix + key])
            rows = query // columns - key // columns
            across = query % columns - key % columns
            travelled += weight * math.hypot(rows * height, across * width)
            mass += weight
    return travelled / mass


def test_distance_agrees_with_its_naive_replica_on_a_grid_that_is_not_square(small):
    batch = torch.randn(1, 3, *small.preprocessing.size, generator=torch.Generator().manual_seed(0))
    distance = attention_metrics()["distance"]
    seen = []

    def compare(layer):
        ours = distance.compute(layer)[0]
        naive = [naive_distance(weights, layer.queries) for weights in layer.weights[0]]
        # float32 sums of 225 weights
        np.testing.assert_allclose(ours.numpy(), naive, rtol=1e-5)
        seen.append(max(naive) - min(naive))

    watch(small, batch, compare)
    assert len(seen) == small.n_layers
    assert max(seen) > 0.01, "the heads differ, or the comparison says nothing"


@pytest.mark.parametrize("name", sorted(attention_metrics()))
def test_every_metric_keeps_its_contract(small, name):
    metric = attention_metrics()[name]
    assert metric.units
    assert len(metric.description) > 40, "its docstring says how to read it"
    sizes = [dimension_named(dim).size(small.common) for dim in metric.dims]
    batch = torch.randn(2, 3, *small.preprocessing.size, generator=torch.Generator().manual_seed(0))

    def check(layer):
        before = layer.weights.clone()
        values = metric.compute(layer)
        assert values.shape == (2, 3, *sizes)
        assert torch.isfinite(values).all()
        assert torch.equal(layer.weights, before), "a metric does not edit its input"

    watch(small, batch, check)


def test_parts_of_a_patch_query_sum_to_one(demo):
    study = hs.analyze(demo, [np.full((96, 96, 3), 90, np.uint8)])
    share = study.data["share"].sel(query_kind="patch")
    np.testing.assert_allclose(share.sum("key_kind"), 1, rtol=1e-6)  # float32 in the study
    total = study.data["hop_share"].sum("hop") + share.sel(key_kind="class")
    np.testing.assert_allclose(total, 1, rtol=1e-6)
