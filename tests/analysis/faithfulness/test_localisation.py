"""Localisation on drawn masks, and masks themselves."""

import numpy as np
import pytest
from PIL import Image

import headscope as hs
from headscope.analysis.faithfulness import (
    energy_in_mask,
    iou,
    pointing_game,
    read_mask,
    scene_masks,
)
from headscope.models.demo.scenes import scene


def box(size: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((1, *size), bool)
    mask[:, rows, columns] = True
    return mask


def test_the_pointing_game_asks_for_the_largest_value() -> None:
    mask = box((8, 12), slice(2, 4), slice(3, 6))
    maps = np.zeros((1, 4, 6))
    maps[0, 1, 1] = 1  # rows 2…4, columns 2…4: its centre (3, 3) touches the mask
    assert pointing_game(maps, mask) == [1]
    maps[0, 0, 5] = 2
    assert pointing_game(maps, mask) == [0]
    maps[0, 1, 2] = maps[0, 1, 1] = 2
    np.testing.assert_allclose(pointing_game(maps, mask), 2 / 3)  # of three as large, two hit
    # The centre of cell (0, 5) is (1, 11); the nearest pixel of it (0 or 1, 10 or 11), the
    # nearest of the mask (2, 5): √(1 + 25) away.
    alone = maps * 0
    alone[0, 0, 5] = 1
    assert pointing_game(alone, mask, tolerance_px=5.0) == [0]
    assert pointing_game(alone, mask, tolerance_px=5.1) == [1]


def test_the_pointing_game_is_the_same_in_a_mirror() -> None:
    generator = np.random.default_rng(0)
    maps, masks = generator.random((20, 4, 6)), generator.random((20, 8, 12)) < 0.2
    found = pointing_game(maps, masks)
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(pointing_game(maps[:, ::-1, ::-1], masks[:, ::-1, ::-1]), found)


def test_energy_is_the_share_of_positive_values() -> None:
    mask = box((4, 4), slice(0, 2), slice(0, 3))
    maps = np.array([[[3.0, 4], [1, -7]]])
    # The upper right cell lies half in the mask; the negative one does not count.
    np.testing.assert_allclose(energy_in_mask(maps, mask), (3 + 2) / 8)
    np.testing.assert_allclose(energy_in_mask(np.ones((1, 2, 2)), mask), mask.mean())
    assert np.isnan(energy_in_mask(-np.ones((1, 2, 2)), mask)).all()


def test_iou_at_the_masks_own_area() -> None:
    mask = box((4, 4), slice(0, 2), slice(0, 4))
    rising = np.arange(16.0)[::-1].reshape(1, 4, 4)
    np.testing.assert_allclose(iou(rising, mask), 1)
    np.testing.assert_allclose(iou(-rising, mask), 0)
    np.testing.assert_allclose(iou(rising * 1e6 - 3, mask), 1)  # the scale does not count
    # A flat map takes half of everything, mask or not: 4 / (8 + 8 − 4).
    np.testing.assert_allclose(iou(np.ones((1, 2, 2)), mask), 1 / 3)
    columns = np.tile([3.0, 2, 1, 0], (1, 4, 1))
    np.testing.assert_allclose(iou(columns, mask), 4 / 12)
    # Three of four columns' worth cannot be had by "area"; "best" may take all 16.
    np.testing.assert_allclose(iou(columns, mask, threshold="best"), 8 / 16)


def test_best_and_otsu_against_a_naive_loop() -> None:
    from skimage.filters import threshold_otsu

    generator = np.random.default_rng(0)
    maps, masks = (
        generator.integers(0, 9, (5, 6, 6)).astype(float),
        generator.random((5, 6, 6)) < 0.3,
    )
    best, otsu = iou(maps, masks, threshold="best"), iou(maps, masks, threshold="otsu")
    for index, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        overlaps = [
            (mask & (values >= level)).sum() / (mask | (values >= level)).sum()
            for level in range(9)
        ]
        assert best[index] == pytest.approx(max(overlaps))
        top = values > threshold_otsu(values)
        assert otsu[index] == pytest.approx((mask & top).sum() / (mask | top).sum())
    assert (iou(maps, masks) <= best + 1e-12).all()
    with pytest.raises(hs.HeadscopeError, match="threshold 'luck'"):
        iou(maps, masks, threshold="luck")  # type: ignore[arg-type]


def test_masks_that_do_not_fit_get_a_sentence() -> None:
    maps, mask = np.ones((1, 2, 2)), box((4, 4), slice(0, 2), slice(0, 2))
    with pytest.raises(hs.HeadscopeError, match="image 0 is empty"):
        iou(maps, np.zeros((1, 4, 4), bool))
    with pytest.raises(hs.HeadscopeError, match="whole image"):
        iou(maps, np.ones((1, 4, 4), bool))
    with pytest.raises(hs.HeadscopeError, match=r"values from 0\.0 to 255"):
        pointing_game(maps, mask * 255.0)
    with pytest.raises(hs.HeadscopeError, match="expected"):
        energy_in_mask(maps, mask[0])
    with pytest.raises(hs.HeadscopeError, match="1 image"):
        energy_in_mask(np.ones((2, 2, 2)), mask)
    with pytest.raises(hs.HeadscopeError, match="coarser"):
        iou(np.ones((1, 8, 8)), mask)
    np.testing.assert_array_equal(iou(maps, mask * 1.0), iou(maps, mask))


def test_the_truth_of_a_scene_is_what_its_class_is_about() -> None:
    drawn = scene(8)
    both = scene_masks([8, 9])
    assert both.shape == (2, 96, 96)
    np.testing.assert_array_equal(both[0], drawn.target.mask | drawn.star.mask)
    np.testing.assert_array_equal(scene_masks([drawn], roles=["target"])[0], drawn.target.mask)
    with pytest.raises(hs.HeadscopeError, match="role moon"):
        scene_masks([8], roles=["moon"])


@pytest.mark.parametrize("bright", [1, 255])
def test_a_mask_is_cropped_as_the_image_is(tmp_path, bright: int) -> None:
    small = hs.Preprocessing((48, 80), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.9)
    photograph = np.zeros((120, 300, 3), np.uint8)
    photograph[30:90, 100:180] = 200
    # The mask is half as large, and grey.
    grey = (photograph[::2, ::2, 0] > 0).astype(np.uint8) * bright
    path = tmp_path / "mask.png"
    Image.fromarray(grey).save(path)
    mask = read_mask(path, small)
    seen = small.crop(hs.read_image(photograph))[..., 0] >= 100
    assert mask.shape == (48, 80)
    # Resampling at half the resolution moves an edge by a pixel at most.
    assert (mask & seen).sum() / (mask | seen).sum() > 0.9
    for flat in (0, 255):
        Image.fromarray(np.full((60, 150), flat, np.uint8)).save(path)
        with pytest.raises(hs.HeadscopeError, match="marks"):
            read_mask(path, small)
