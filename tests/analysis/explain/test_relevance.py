"""Chefer's relevance and its parts by head: a replica from the paper, all paths, closed forms."""

from itertools import product

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.heads import head_shares, without_heads
from headscope.models.gradients import attention_gradients

from ...contracts.networks import noise
from ...contracts.networks import small as network
from . import plain
from .test_rollout import KINDS, prefix_of, read_row


def naive_relevance(maps: list[np.ndarray], slopes: list[np.ndarray]) -> np.ndarray:
    """R of one image by equations 5 and 6, in loops; maps are `head query key`."""
    n_heads, n, _ = maps[0].shape
    relevance = np.eye(n)
    for attention, slope in zip(maps, slopes, strict=True):
        mean = np.zeros((n, n))
        for head in range(n_heads):
            for i in range(n):
                for j in range(n):
                    mean[i, j] += max(0.0, attention[head, i, j] * slope[head, i, j]) / n_heads
        relevance = relevance + mean @ relevance
    return relevance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("against", [None, 3])
def test_relevance_is_the_papers(kind: str, against: int | None) -> None:
    checkpoint = plain.vit(**KINDS[kind])
    batch, prefix = plain.images(), prefix_of(checkpoint)
    maps, slopes = plain.maps_and_slopes(checkpoint.model, batch, 0, against)
    found = explain(checkpoint, batch, "relevance", target=0, against=against)
    for image, values in enumerate(found.values):
        of_image = [[part[image] for part in parts] for parts in (maps, slopes)]
        whole = naive_relevance(*of_image) - np.eye(len(maps[0][0, 0]))
        # float64 in both; sums of products of three layers.
        np.testing.assert_allclose(values, read_row(kind, whole, prefix), rtol=1e-8)
    assert (found.values > 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_by_head_are_paths_shared_equally(kind: str) -> None:
    checkpoint = plain.vit(**KINDS[kind])
    batch, prefix = plain.images(1), prefix_of(checkpoint)
    maps, slopes = plain.maps_and_slopes(checkpoint.model, batch, 2)
    found = explain(checkpoint, batch, "relevance", target=2)
    assert found.heads is not None
    passed = [np.maximum(a[0] * s[0], 0) / 3 for a, s in zip(maps, slopes, strict=True)]
    n = passed[0].shape[-1]
    expected = np.zeros((3, 3, *plain.GRID))
    # Every way up: in each layer through one of the three heads, or past all of them.
    for way in product([None, 0, 1, 2], repeat=3):
        hops = [(layer, head) for layer, head in enumerate(way) if head is not None]
        if not hops:
            continue
        matrix = np.eye(n)
        for layer, head in hops:
            matrix = passed[layer][head] @ matrix
        for layer, head in hops:
            expected[layer, head] += read_row(kind, matrix, prefix) / len(hops)
    np.testing.assert_allclose(found.heads[0], expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.heads.sum((1, 2)), found.values, rtol=1e-9)
    shares = head_shares(found)
    assert shares.shape == (1, 3, 3)
    np.testing.assert_allclose(shares.sum((1, 2)), 1)
    assert np.ptp(shares) > 0.01


def test_only_what_decides_the_logit_is_relevant(known: hs.Checkpoint) -> None:
    """The logit is 2 × the mean content (head 2) less half the content of the sink (head 3)."""
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    bright = explain(known, batch, "relevance", target=0)
    content = batch.mean(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4)).numpy()
    # ∂S/∂A ⊙ A = 2 v_j / 17 in head 2; head 3 speaks against it, and layer 1 adds nothing.
    np.testing.assert_allclose(bright.values, 2 * content / 17 / 5, rtol=1e-9)
    shares = head_shares(bright)
    np.testing.assert_allclose(shares[:, 0, 2], 1)
    dark = explain(known, batch, "relevance", target=1, against=0)
    expected = np.zeros((2, 4, 4))
    expected[:, 1, 1] = 0.5 * content[:, 1, 1] / 5
    np.testing.assert_allclose(dark.values, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(head_shares(dark)[:, 0, 3], 1)
    assert (bright.classes == 0).all()
    # Class 1's own logit is 0 whatever the image: nothing speaks for it, and shares are none.
    nothing = explain(known, batch, "relevance", target=1)
    assert not nothing.values.any()
    assert np.isnan(head_shares(nothing)).all()


def test_without_the_head_that_decides_nothing_is_left(known: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = without_heads(known, batch, [(0, 2)], target=0)
    np.testing.assert_allclose(found.after.values, 0, atol=1e-15)
    np.testing.assert_allclose(found.difference, found.before.values)
    pixels = torch.cat([torch.zeros(2, 1, dtype=torch.float64), _content(batch)], dim=1)
    np.testing.assert_allclose(found.score_lost, 2 * pixels.mean(1), rtol=1e-9)
    other = without_heads(known, batch, [(0, 0), (1, 1)], target=0)
    np.testing.assert_allclose(other.difference, 0, atol=1e-15)
    np.testing.assert_allclose(other.score_lost, 0, atol=1e-12)


def _content(batch: torch.Tensor) -> torch.Tensor:
    return batch.mean(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4)).flatten(1)


@pytest.mark.parametrize("method", ["relevance", "grad-cam", "grad-cam-plus-plus", "legrad"])
@pytest.mark.parametrize("mode", ["zero", "mean", "resample"])
def test_an_ablation_holds_in_backward_passes(method: str, mode: str) -> None:
    """And `zero` is the same as a projection that does not read the head."""
    checkpoint, batch = plain.vit(), plain.images()
    reference = hs.reference(checkpoint, plain.images(4))
    found = without_heads(
        checkpoint, batch, [(1, 0)], method, target=0, mode=mode, reference=reference
    )
    with hs.ablate(checkpoint, [(1, 0)], mode=mode, reference=reference):
        passed = attention_gradients(checkpoint, batch, lambda output: output[:, 0])
        # The model's own pass of the same ablation.
        torch.testing.assert_close(passed.output, checkpoint.run(batch))
    assert np.isfinite(found.after.values).all()
    assert np.abs(found.difference).max() > 1e-6
    np.testing.assert_array_equal(found.before.classes, found.after.classes)
    if method in ("relevance", "legrad"):
        assert found.after.heads is not None
        assert not found.after.heads[:, 1, 0].any()
    if mode == "zero":
        cut = plain.vit()
        with torch.no_grad():
            cut.model.get_submodule("blocks.1.attn.proj").weight[:, :8] = 0
        expected = explain(cut, batch, method, target=0)
        # Zeros in two places of the same sum: rounding of float64.
        np.testing.assert_allclose(found.after.values, expected.values, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(found.after.score, expected.score, rtol=1e-9)


def test_without_heads_the_target_is_still_the_whole_models(known: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = without_heads(known, batch, [(0, 2)])
    # Without head 2 the prediction would be class 1.
    assert (found.before.classes == 0).all()
    assert (found.after.classes == 0).all()
    assert (found.after.score < 0).all()


def test_shares_need_parts_by_head() -> None:
    with pytest.raises(hs.HeadscopeError, match="no parts by head"):
        head_shares(explain(plain.vit(), plain.images(1), "rollout"))


@pytest.mark.parametrize(
    "name", ["cait", "vision_transformer parallel", "vision_transformer pool", "naflexvit pool"]
)
def test_columns_of_other_builds(name: str) -> None:
    """Class tokens that come in late, attentions side by side, a pooling at the end."""
    checkpoint = network(name)
    batch = noise(checkpoint, 1)
    found = explain(checkpoint, batch, "relevance", target=0)
    passed = attention_gradients(checkpoint, batch, lambda output: output[:, 0])
    maps = [
        (layer.attention.mixed_weights * layer.gradient.mixed_weights)
        .double()
        .clamp_min(0)[0]
        .mean(0)
        .numpy()
        for layer in passed.layers
    ]
    if name == "cait":
        result = np.eye(7)  # the class token first
        for layer, mean in enumerate(maps):
            whole = np.zeros((7, 7))
            rows = slice(1, None) if layer < 2 else slice(0, 1)
            whole[rows, 7 - mean.shape[1] :] = mean
            result = result + whole @ result
        row = result[0, 1:]
    elif name == "vision_transformer parallel":
        result = np.eye(7)
        for one, other in (maps[:2], maps[2:]):
            result = result + (one + other) @ result
        row = result[0, 1:]
    else:
        n = len(maps[0])
        result = np.eye(n)
        for mean in maps[:2]:
            result = result + mean @ result
        row = (maps[2] @ result[n - maps[2].shape[1] :])[0, n - 6 :]
    # Derivatives are the same float32 pass; the products are in float64 in both.
    np.testing.assert_allclose(found.values[0].reshape(-1), row, rtol=1e-5)
    assert found.heads is not None
    np.testing.assert_allclose(np.nansum(found.heads, axis=(1, 2)), found.values, rtol=1e-9)
