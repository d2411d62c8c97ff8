"""Checkpoints: preprocessing is timm's own, images come from anywhere, probabilities are right."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

import headscope as hs


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_preprocessing_is_timms_own(pixels, crop_mode):
    options = {
        "interpolation": "bicubic",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "crop_pct": 0.8,
        "crop_mode": crop_mode,
    }
    expected = create_transform((3, 48, 64), is_training=False, **options)(Image.fromarray(pixels))
    preprocessing = hs.Preprocessing(size=(48, 64), **options)
    crop = preprocessing.crop(hs.read_image(pixels))
    assert crop.shape == (48, 64, 3)
    torch.testing.assert_close(preprocessing.normalise(crop[None])[0], expected)
    assert "64×48 px" in preprocessing.describe()


def test_a_batch_is_made_of_images_from_anywhere(small, pixels, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    expected = small.batch(hs.read_image(pixels))
    assert expected.shape == (1, 3, 48, 80)
    for one in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), pixels):
        assert torch.equal(small.batch(one), expected)
    assert torch.equal(small.batch([path, pixels]), expected.repeat(2, 1, 1, 1))
    assert torch.equal(small.batch(expected), expected)


def test_probabilities_sum_to_one(small, pixels):
    probabilities = small.probabilities(small.batch(pixels))
    assert probabilities.shape == (1, 1000)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)  # 1,000 float32 numbers


def test_a_model_without_classes_has_no_probabilities():
    checkpoint = hs.load("vit_small_patch16_dinov3", pretrained=False, image_size=32)
    assert not checkpoint.has_classes
    with pytest.raises(hs.HeadscopeError, match="features only"):
        checkpoint.probabilities(torch.zeros(1, 3, 32, 32))
    with pytest.raises(hs.HeadscopeError, match="its classes: none"):
        checkpoint.class_index(0)
