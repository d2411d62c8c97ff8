"""Every metric of the six heads of `six` by its closed form."""

import math

import numpy as np
import pytest
import torch

from headscope.analysis.metrics import attention_metrics
from headscope.analysis.metrics.values import norm_weighted
from headscope.models.capture import watch

from ...conftest import GRID, PATCH_PX, SINK_PATCH, SIX, six_maps

N, TOKENS = GRID**2, GRID**2 + 1
CELLS = [(row, column) for row in range(GRID) for column in range(GRID)]
SINK = CELLS[SINK_PATCH]
KINDS = "class", "patch"
# Where a map has 0 the checkpoint has e⁻⁸⁰; sums of a few hundred float64 are good to 1e-13, and
# Lanczos stops at 1e-8 of σ₁².
CLOSED = {"rtol": 1e-8, "atol": 1e-12}


def measure(checkpoint, crops):
    """Every metric of the first layer: name → `image head …`."""
    values = {}

    def compute(layer):
        if layer.layer == 0:
            values.update({n: m.compute(layer).numpy() for n, m in attention_metrics().items()})

    watch(checkpoint, checkpoint.prepare(crops), compute)
    return values


@pytest.fixture(scope="module")
def results(six, known_crops):
    return measure(six, known_crops)


def far(a, b):
    return PATCH_PX * math.hypot(a[0] - b[0], a[1] - b[1])


def entropy_of(*weights):
    """Of weights that come so many times: pairs of (weight, times)."""
    return -sum(times * weight * math.log(weight) for weight, times in weights)


MEAN_FAR = float(np.mean([far(a, b) for a in CELLS for b in CELLS]))
TO_SINK = float(np.mean([far(a, SINK) for a in CELLS]))
LEFT_KEYS = entropy_of((1 / TOKENS, 1), (2 / TOKENS, 4), (1 / TOKENS, 8))
LEFT_PATCHES = entropy_of((2 / N, 4), (1 / N, 8))
LEFT_SIGMAS = np.array([1.0] * 9 + [math.sqrt(2)] * 4) / (9 + 4 * math.sqrt(2))
ONE_KEY = 1 - 1 / TOKENS
TOP_OF_ONE = [0.01 * TOKENS, 0.05 * TOKENS, 1]

EXPECTED = {
    # what the class head leaves to patches is e⁻⁸⁰ for each alike: it looks as the uniform one does
    "distance": [0, PATCH_PX * 3 / 4, MEAN_FAR, PATCH_PX * 5 / 4, MEAN_FAR, TO_SINK],
    "non_locality": [
        0,
        3 / 4,
        MEAN_FAR / PATCH_PX * N / TOKENS,
        5 / 4,
        0,
        TO_SINK / PATCH_PX,
    ],
    "entropy": [0, 0, math.log(TOKENS), math.log(GRID), 0, 0],
    "effective_keys": [1, 1, TOKENS, GRID, 1, 1],
    "entropy_share": [0, 0, 1, math.log(GRID) / math.log(TOKENS), 0, 0],
    "gini": [ONE_KEY, ONE_KEY, 0, 1 - GRID / TOKENS, ONE_KEY, ONE_KEY],
    "top_mass": [
        TOP_OF_ONE,
        TOP_OF_ONE,
        [0.01, 0.05, 0.1],
        [0.01 * TOKENS / GRID, 0.05 * TOKENS / GRID, 0.1 * TOKENS / GRID],
        TOP_OF_ONE,
        TOP_OF_ONE,
    ],
    "self_share": [1, 1 / GRID, 1 / TOKENS, 1 / GRID, 0, 1 / N],
    "self_share_by_kind": [
        [1, 1],
        [1, 1 / GRID],
        [1 / TOKENS, 1 / TOKENS],
        [1, 1 / GRID],
        [1, 0],
        [0, 1 / N],
    ],
    "row_offset_mean": [0, 0, 0, 0, 0, PATCH_PX * (SINK[0] - 1.5)],
    "column_offset_mean": [0, -PATCH_PX * 3 / 4, 0, 0, 0, PATCH_PX * (SINK[1] - 1.5)],
    "directionality": [0, 1, 0, 0, 0, PATCH_PX * math.hypot(0.5, 0.5) / TO_SINK],
    "nmi": [
        1,
        math.sqrt(LEFT_KEYS / math.log(TOKENS)),
        0,
        1 - N / TOKENS * math.log(GRID) / math.log(TOKENS),
        0,
        0,
    ],
    "nmi_patches": [1, math.sqrt(LEFT_PATCHES / math.log(N)), 0, 1 / 2, 0, 0],
    # squares sum to 17 for one key a row; columns are orthogonal, two keys are looked at by two
    "stable_rank": [TOKENS, TOKENS / 2, 1, 1 + GRID, 1, 1],
    "effective_rank": [
        TOKENS,
        math.exp(-(LEFT_SIGMAS * np.log(LEFT_SIGMAS)).sum()),
        1,
        1 + GRID,
        1,
        1,
    ],
    "share": [
        # class query, patch query; to class, to patches
        [[1, 0], [0, 1]],
        [[1, 0], [0, 1]],
        [[1 / TOKENS, N / TOKENS]] * 2,
        [[1, 0], [0, 1]],
        [[1, 0], [1, 0]],
        [[0, 1], [0, 1]],
    ],
    # six writes nothing: its projection is 0
    "value_share": np.full((6, 2, 2), np.nan),
    "value_distance": [np.nan] * 6,
    "value_norm_ratio": [np.nan] * 6,
}


def by_offset(weights):
    """Attention between patches by offset, summed pair by pair."""
    maps = np.full((2 * GRID - 1, 2 * GRID - 1), 0.0)
    for query, a in enumerate(CELLS):
        for key, b in enumerate(CELLS):
            offset = b[0] - a[0] + GRID - 1, b[1] - a[1] + GRID - 1
            maps[offset] += weights[1 + query, 1 + key] / N
    return maps


BY_OFFSET = [by_offset(weights) for weights in six_maps()]
EXPECTED["offset_map"] = BY_OFFSET
HOPS = np.abs(np.indices((2 * GRID - 1, 2 * GRID - 1)) - (GRID - 1)).max(0)
EXPECTED["hop_share"] = [np.bincount(HOPS.flat, maps.flat) for maps in BY_OFFSET]
PAIRS = by_offset(np.ones((TOKENS, TOKENS)))
EXPECTED["hop_mean"] = [
    np.bincount(HOPS.flat, maps.flat) / np.bincount(HOPS.flat, PAIRS.flat) for maps in BY_OFFSET
]
SINKS = {name for name in attention_metrics() if name.startswith("sink")}


@pytest.mark.parametrize("head", range(6), ids=SIX)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_metric_has_its_closed_form(results, name, head):
    for image in results[name]:
        np.testing.assert_allclose(image[head], EXPECTED[name][head], **CLOSED)


def test_every_metric_has_one():
    elsewhere = SINKS  # test_sinks
    assert set(attention_metrics()) - elsewhere == set(EXPECTED)


def test_the_left_head_is_one_offset_to_the_left(results):
    maps = results["offset_map"][0, SIX.index("left")]
    middle = GRID - 1
    np.testing.assert_allclose(maps[middle, middle - 1], 3 / 4, **CLOSED)
    np.testing.assert_allclose(maps[middle, middle], 1 / 4, **CLOSED)
    np.testing.assert_allclose(maps.sum(), 1, **CLOSED)


@pytest.fixture(scope="module")
def writing(of_maps):
    """The six heads, of which each writes its values, five times as long from one to the next."""
    checkpoint = of_maps(six_maps())
    with torch.no_grad():
        for block in checkpoint.model.blocks:
            for head in range(6):
                # To channels that no head reads, so that the second layer is as the first.
                block.attn.proj.weight[TOKENS + 1 + head, head * TOKENS] = 5.0**head
    return checkpoint


@pytest.fixture(scope="module")
def written(writing, known_crops):
    return measure(writing, known_crops)


def contents(checkpoint, crops):
    """What the value of each token is: the mean of a patch's pixels, 0 for the class token."""
    pixels = checkpoint.prepare(crops).numpy()
    blocks = pixels.reshape(len(crops), 3, GRID, PATCH_PX, GRID, PATCH_PX).mean((1, 3, 5))
    return np.concatenate([np.zeros((len(crops), 1)), blocks.reshape(len(crops), N)], axis=1)


def test_norm_weighted_attention_has_its_closed_form(writing, written, known_crops):
    content = contents(writing, known_crops)
    between = np.array([[far(a, b) for b in CELLS] for a in CELLS])
    seen = {}
    watch(writing, writing.prepare(known_crops), lambda x: seen.update({x.layer: norm_weighted(x)}))
    for image, values in enumerate(content):
        patches = values[1:]
        mean = values.mean()
        uniform = (between @ patches).sum() / (N * patches.sum())
        of_rows = [
            (between[4 * r : 4 * r + 4, 4 * r : 4 * r + 4] @ patches[4 * r : 4 * r + 4]).sum()
            / patches[4 * r : 4 * r + 4].sum()
            for r in range(GRID)
        ]
        distance = [0, PATCH_PX * 3 / 4, uniform, sum(of_rows) / N, None, TO_SINK]
        left = np.array([patches[max(i - 1, i // GRID * GRID)] for i in range(N)])
        ratio = [patches.mean(), left.mean(), mean, patches.mean(), 0, patches[SINK_PATCH]]
        for head, name in enumerate(SIX):
            if name != "class":
                # The class token's own row writes nothing where it looks at itself.
                to_patches = [0, 1]
                np.testing.assert_allclose(
                    written["value_share"][image, head, 1], to_patches, **CLOSED
                )
                np.testing.assert_allclose(
                    written["value_distance"][image, head], distance[head], **CLOSED
                )
            np.testing.assert_allclose(
                written["value_norm_ratio"][image, head], ratio[head] / mean, **CLOSED
            )
        maps = seen[0][image].numpy()
        of_uniform = np.tile(values / values.sum(), (TOKENS, 1))
        np.testing.assert_allclose(maps[SIX.index("uniform")], of_uniform, **CLOSED)


def test_attention_to_a_token_that_writes_nothing_does_not_count(written):
    """The class token of the uniform head has 1/17 of attention, and 0 of what is written."""
    head = SIX.index("uniform")
    assert written["share"][0, head, 1, 0] > 0.05
    assert written["value_share"][0, head, 1, 0] == 0


def test_keys_that_no_head_looks_at_are_keys_all_the_same(of_maps, known_crops):
    """One window has no mask, however sharp all heads of a layer are."""
    found = measure(of_maps([np.eye(TOKENS)] * 2, depth=1), known_crops)
    np.testing.assert_allclose(found["gini"], 1 - 1 / TOKENS, **CLOSED)
    np.testing.assert_allclose(found["entropy_share"], 0, **CLOSED)
    np.testing.assert_allclose(found["top_mass"][..., 0], 0.01 * TOKENS, **CLOSED)
