"""Similarity of head outputs, against the formula."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.matching.output import output
from headscope.analysis.matching.sides import NotThere, Side
from headscope.models.demo.scenes import scene


def unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012), equation 5, as it is written."""
    n = len(k)
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    trace = np.trace(k @ m)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return float((trace + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3)))


@pytest.fixture(scope="module")
def side() -> Side:
    checkpoint = hs.load("demo/supervised")
    images = [scene(seed).image for seed in range(9)]
    study = hs.analyze(checkpoint, images, metrics=["distance"], importance=False)
    return Side(study, np.arange(9), checkpoint)


def test_cka_of_class_tokens_over_images(side: Side) -> None:
    found, told = output(side, side)
    assert told == ("the class token over images",)
    assert side.checkpoint is not None
    batch = side.checkpoint.prepare(side.study.data["pixels"].values)
    outputs = [
        layer.head_output[:, head, 0].double().numpy()
        for layer in hs.capture(side.checkpoint, batch)
        for head in range(layer.head_output.shape[1])
    ]
    grams = [each @ each.T for each in outputs]
    for a, b in ((0, 5), (3, 20), (17, 17), (8, 9)):
        own = unbiased_hsic(grams[a], grams[a]) * unbiased_hsic(grams[b], grams[b])
        expected = np.clip(unbiased_hsic(grams[a], grams[b]) / np.sqrt(own), 0, 1)
        # Outputs and products are float32.
        assert found[a, b] == pytest.approx(expected, abs=1e-4)
        assert found[24 + a, b] == found[a, b]


def test_rotation_and_scale_change_nothing(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    from headscope.analysis.matching import output as module

    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(32, 32, generator=generator, dtype=torch.float64))
    plain, _ = output(side, side)
    read = module._class
    monkeypatch.setattr(module, "_class", lambda layer: 3 * read(layer).double() @ turn + 1)
    turned, _ = output(side, side)
    np.testing.assert_allclose(turned, plain, atol=1e-4)  # float32 against float64


def test_without_a_checkpoint_there_is_none(side: Side) -> None:
    with pytest.raises(NotThere, match=r"demo/supervised is not there: gone"):
        output(side, Side(side.study, side.images, None, "gone"))


def test_models_without_class_token_are_compared_by_the_mean_of_patches(side: Side) -> None:
    other = hs.load("test_vit4", pretrained=False)  # its class token is none of the patches
    pooled = hs.load("vit_tiny_patch16_224", pretrained=False, image_size=(64, 96))
    for checkpoint in (other, pooled):
        images = [scene(seed).image for seed in range(9)]
        study = hs.analyze(checkpoint, images, metrics=["distance"], importance=False)
        found, _ = output(side, Side(study, np.arange(9), checkpoint))
        assert np.isfinite(found[:24, 24:]).all()
