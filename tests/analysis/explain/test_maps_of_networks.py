"""Maps by attention and derivatives in every family: finite, on a grid, and nothing left behind."""

from typing import Any

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import Question, explain, method_of
from headscope.analysis.explain.target import Target

from ...contracts.networks import NETWORKS, noise
from ...contracts.networks import small as network
from . import plain

METHODS = (
    "raw-attention",
    "rollout",
    "gradient-rollout",
    "relevance",
    "legrad",
    "grad-cam",
    "grad-cam-plus-plus",
)
OF_TARGET = METHODS[2:]
COLUMNS = {
    "beit",
    "cait",
    "convit",
    "deepseek_vit",
    "deit",
    "efficientformer",
    "eva",
    "eva rotary",
    "gemma4_vit",
    "naflexvit",
    "naflexvit pool",
    "qwen3_vit",
    "vision_transformer",
    "vision_transformer pool",
    "vision_transformer parallel",
    "vision_transformer differential",
    "vision_transformer_hybrid",
    "vision_transformer_relpos",
    "vitamin",
}
"""Networks that are one column of attention from all tokens to all (behind a stem, perhaps)."""
NOT_OF_TIMMS_VIT = {
    "cait",
    "convit",
    "deepseek_vit",
    "efficientformer",
    "gemma4_vit",
    "qwen3_vit",
}


def state(checkpoint: hs.Checkpoint) -> list[Any]:
    modules = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
        for name, m in checkpoint.model.named_modules()
    ]
    return [modules, [(p.grad, p.requires_grad) for p in checkpoint.model.parameters()]]


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_finite_on_a_grid_or_a_sentence_says_why_not(name: str) -> None:
    checkpoint, before = network(name), None
    batch = noise(checkpoint)
    for method in METHODS:
        reason = method_of(method).why_not(checkpoint)
        fits = method in ("raw-attention", "grad-cam", "grad-cam-plus-plus") or (
            name in COLUMNS and not (method == "legrad" and name in NOT_OF_TIMMS_VIT)
        )
        assert (reason == "") == fits, reason
        if not fits:
            assert reason.endswith(".")
            with pytest.raises(hs.HeadscopeError, match="does not fit"):
                explain(checkpoint, batch, method)
            continue
        before = before or state(checkpoint)
        found = explain(checkpoint, batch, method, target=0)
        assert np.isfinite(found.values).all()
        assert found.where
        grid = found.values.shape[1:]
        grids = {
            side.grid
            for layer in checkpoint.layers
            for side in (
                layer.layout.queries,
                layer.layout.keys,
                *([] if layer.rows is None else [layer.rows.layout]),
            )
        }
        assert grid in grids
        assert found.values.any()
        if found.heads is not None:
            assert found.heads.shape[1:3] == (checkpoint.n_layers, max(checkpoint.n_heads))
            for layer, n_heads in enumerate(checkpoint.n_heads):
                assert np.isnan(found.heads[:, layer, n_heads:]).all()
        # An image's map is its own: alone it is the same. float32 sums in another order.
        alone = explain(checkpoint, batch[:1], method, target=0)
        limit = 2e-3 * np.abs(found.values[0]).max()
        if method != "grad-cam-plus-plus":  # its weights may blow rounding up
            np.testing.assert_allclose(alone.values[0], found.values[0], atol=limit)
    assert state(checkpoint) == before


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_images_one_by_one(method: str) -> None:
    checkpoint, batch = plain.vit(), plain.images()
    together = explain(checkpoint, batch, method, target=torch.tensor([0, 3, 1]))
    for image, target in enumerate((0, 3, 1)):
        alone = explain(checkpoint, batch[image : image + 1], method, target=target)
        np.testing.assert_allclose(alone.values[0], together.values[image], rtol=1e-9, atol=1e-12)
    parts = explain(checkpoint, batch, method, target=torch.tensor([0, 3, 1]), batch_size=2)
    np.testing.assert_allclose(parts.values, together.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", OF_TARGET)
def test_class_0_is_a_class_like_others(method: str) -> None:
    checkpoint, batch = plain.vit(), plain.images()
    first, by_label = (explain(checkpoint, batch, method, target=t) for t in (0, "a"))
    second = explain(checkpoint, batch, method, target=1)
    np.testing.assert_array_equal(first.values, by_label.values)
    assert np.abs(first.values - second.values).max() > 1e-3 * np.abs(first.values).max()
    assert (first.classes == 0).all()


def test_a_contrast_the_other_way_round_is_the_negative() -> None:
    """Grad-CAM is linear in the score: A against B is A's map less B's."""
    checkpoint, batch = plain.vit(), plain.images()

    def of(**target: Any) -> tuple[np.ndarray, np.ndarray]:
        found = explain(checkpoint, batch, "grad-cam", **target)
        assert found.heads is not None
        return found.values, found.heads

    for one, other, first, second in zip(
        of(target=0, against=3), of(target=3, against=0), of(target=0), of(target=3), strict=True
    ):
        np.testing.assert_allclose(one, -other, rtol=1e-9)
        np.testing.assert_allclose(one, first - second, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", OF_TARGET)
def test_features_can_be_the_target(method: str) -> None:
    checkpoint = network("vision_transformer")
    batch = noise(checkpoint)
    features = checkpoint.run(batch.flip(0))
    found = explain(checkpoint, batch, method, features=features)
    assert found.classes is None
    assert np.isfinite(found.values).all()
    assert found.values.any()


@pytest.mark.parametrize("method", OF_TARGET)
def test_nothing_is_left_behind_by_a_bad_target(method: str) -> None:
    checkpoint, batch = plain.vit(), plain.images()
    before = state(checkpoint)
    with pytest.raises(hs.HeadscopeError, match="no class 7"):
        explain(checkpoint, batch, method, target=7)
    # One that fails only in the pass: a class beyond the output.
    beyond = Target("beyond", classes=torch.full((3,), 7))
    with pytest.raises((RuntimeError, IndexError)):
        _compute(checkpoint, batch, method, beyond)
    assert state(checkpoint) == before
    assert torch.is_grad_enabled()
    assert not batch.requires_grad
    # And it works again.
    assert np.isfinite(explain(checkpoint, batch, method, target=0).values).all()


def _compute(checkpoint: hs.Checkpoint, batch: torch.Tensor, method: str, target: Target) -> None:
    question = Question(checkpoint, batch, target, checkpoint.run(batch))
    method_of(method).compute(question)


@pytest.mark.parametrize("method", OF_TARGET)
def test_a_caller_may_be_in_inference_mode(method: str) -> None:
    checkpoint, batch = plain.vit(), plain.images()
    outside = explain(checkpoint, batch, method, target=0)
    with torch.inference_mode():
        inside = explain(checkpoint, batch.clone(), method, target=0)
    np.testing.assert_allclose(inside.values, outside.values, rtol=1e-12)


@pytest.mark.parametrize("method", ["relevance", "grad-cam", "grad-cam-plus-plus", "legrad"])
def test_passes_are_few(method: str) -> None:
    """Of the model, forward and backward, with the one that gives the scores."""
    checkpoint, batch = plain.vit(), plain.images()
    explain(checkpoint, batch, method)  # what a network depends on is found out once
    begun = 0

    def count(*_: Any) -> None:
        nonlocal begun
        begun += 1

    handle = checkpoint.model.register_forward_pre_hook(count)
    explain(checkpoint, batch, method)
    handle.remove()
    assert begun <= 3
