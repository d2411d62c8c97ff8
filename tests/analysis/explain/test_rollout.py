"""Raw attention, rollout and gradient rollout: replicas from the papers, and closed forms."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain

from . import plain

KINDS = {
    "class": {},
    "registers": {"reg_tokens": 2},
    "average": {"class_token": False, "global_pool": "avg"},
    "average beside a class token": {"global_pool": "avg"},
}


def prefix_of(checkpoint: hs.Checkpoint) -> int:
    return checkpoint.layout.n_prefix


def read_row(kind: str, matrix: np.ndarray, prefix: int) -> np.ndarray:
    """The row that the output reads of a matrix of tokens, at the patches."""
    row = matrix[prefix:].mean(0) if kind.startswith("average") else matrix[0]
    return row[prefix:].reshape(plain.GRID)


def naive_rollout(
    maps: list[np.ndarray], fusion: str, discard: float, start: int, kept: list[int]
) -> np.ndarray:
    """Of one image; maps are `head query key`. Abnar and Zuidema's with Gildenblat's options.

    Attention to the tokens `kept` is not discarded.
    """
    n = maps[0].shape[-1]
    result = np.eye(n)
    for attention in maps[start:]:
        fused = {"mean": attention.mean(0), "max": attention.max(0), "min": attention.min(0)}[
            fusion
        ]
        order = sorted((value, i, j) for (i, j), value in np.ndenumerate(fused))
        for _, i, j in order[: int(discard * n * n)]:
            if j not in kept:
                fused[i, j] = 0
        with_residual = (fused + np.eye(n)) / 2
        for row in with_residual:
            row /= row.sum()
        result = with_residual @ result
    return result


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fusion", "discard", "start"),
    [("mean", 0.0, 0), ("max", 0.0, 1), ("min", 0.5, 0), ("max", 0.9, 2)],
)
def test_rollout_is_the_papers(kind: str, fusion: str, discard: float, start: int) -> None:
    checkpoint = plain.vit(**KINDS[kind])
    batch, prefix = plain.images(), prefix_of(checkpoint)
    _, maps = plain.run(checkpoint.model, batch)
    found = explain(checkpoint, batch, "rollout", fusion=fusion, discard_ratio=discard, start=start)
    kept = [0] if "class" in checkpoint.prefix_kinds else []
    for image, values in enumerate(found.values):
        of_image = [attention[image].detach().numpy() for attention in maps]
        result = naive_rollout(of_image, fusion, discard, start, kept)
        # float64 in both: rounding.
        np.testing.assert_allclose(values, read_row(kind, result, prefix), rtol=1e-10)
    assert np.ptp(found.values) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_rollout_is_gildenblats(kind: str) -> None:
    checkpoint = plain.vit(**KINDS[kind])
    batch, prefix = plain.images(), prefix_of(checkpoint)
    maps, slopes = plain.maps_and_slopes(checkpoint.model, batch, 0)
    found = explain(checkpoint, batch, "gradient-rollout", target=0)
    for image, values in enumerate(found.values):
        n = maps[0].shape[-1]
        result = np.eye(n)
        for attention, slope in zip(maps, slopes, strict=True):
            fused = np.maximum((attention[image] * slope[image]).mean(0), 0)
            with_residual = (fused + np.eye(n)) / 2
            result = (with_residual / with_residual.sum(1, keepdims=True)) @ result
        np.testing.assert_allclose(values, read_row(kind, result, prefix), rtol=1e-9)


def test_rollout_is_the_same_for_every_class() -> None:
    checkpoint = plain.vit()
    first, second = (explain(checkpoint, plain.images(), "rollout", target=t) for t in (0, 1))
    np.testing.assert_array_equal(first.values, second.values)
    assert not first.method.of_target


def test_rollout_of_two_given_maps(of_maps) -> None:
    """Class tokens that look at one patch: what they hold in the end has a closed form."""
    eye = np.eye(17)
    to_sink = eye.copy()
    to_sink[0], to_sink[0, 6] = 0, 1
    checkpoint = of_maps([to_sink, to_sink], depth=2)
    batch = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    values = explain(checkpoint, batch, "rollout").values[0]
    # (A + I)/2 twice: 1/2 goes to the patch in the upper layer, and half of what is left below.
    expected = np.zeros((4, 4))
    expected[1, 1] = 0.75
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_raw_attention_shows_the_heads(six: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    sink = explain(six, batch, "raw-attention", layer=0, head=5)
    expected = np.zeros((4, 4))
    expected[1, 1] = 1
    np.testing.assert_allclose(sink.values[0], expected, atol=1e-12)
    uniform = explain(six, batch, "raw-attention", head=2)
    np.testing.assert_allclose(uniform.values, 1 / 17)
    assert uniform.where.startswith("blocks.1.attn")
    assert sink.heads is not None
    assert sink.heads.shape == (2, 2, 6, 4, 4)
    np.testing.assert_allclose(sink.heads[:, 0, 5], sink.values)
    mean = explain(six, batch, "raw-attention", layer=0)
    np.testing.assert_allclose(mean.values, sink.heads[:, 0].mean(1))


def test_raw_attention_without_a_class_token_is_the_patches_mean() -> None:
    checkpoint = plain.vit(**KINDS["average"])
    _, maps = plain.run(checkpoint.model, plain.images())
    found = explain(checkpoint, plain.images(), "raw-attention", layer=1, head=2)
    expected = maps[1][:, 2].detach().mean(1).unflatten(1, plain.GRID)
    np.testing.assert_allclose(found.values, expected)


def test_a_layer_or_head_that_is_not_there_is_named() -> None:
    checkpoint = plain.vit()
    for method, options in (
        ("raw-attention", {"layer": 3}),
        ("raw-attention", {"layer": 0, "head": 3}),
        ("rollout", {"start": 3}),
    ):
        with pytest.raises(hs.HeadscopeError, match=r"There is no .* 3"):
            explain(checkpoint, plain.images(), method, **options)
    with pytest.raises(hs.HeadscopeError, match=r"discard_ratio a number up to 0\.99"):
        explain(checkpoint, plain.images(), "rollout", discard_ratio=1.0)
