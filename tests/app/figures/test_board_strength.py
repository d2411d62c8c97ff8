"""Offset maps and trends as the panel "Strength" takes them."""

import numpy as np
import pytest
import xarray as xr

from headscope.analysis.trends import Trend
from headscope.app.figures.atlas import HeadMetric
from headscope.app.figures.board import strength

NAN = np.nan
N_HEADS = (3, 2, 2)
PATCHES = ((8.0, 8.0), (16.0, 32.0), (1.0, 1.0))


def offsets(n_images: int = 4) -> xr.DataArray:
    """Layers with offsets up to (3, 2), up to (1, 1), and without patches; padded with NaN."""
    values = np.random.default_rng(0).random((n_images, 3, 3, 7, 5)).astype(np.float32)
    values[:, 1, :, [0, 1, 5, 6]] = NAN
    values[:, 1, :, :, [0, 4]] = NAN
    values[:, 1, 2] = values[:, 2] = NAN  # no such head; no patches
    values[1, 0, 1] = NAN  # an image without numbers for one head
    return xr.DataArray(
        values,
        dims=("image", "layer", "head", "row_offset", "column_offset"),
        coords={"row_offset": np.arange(-3, 4), "column_offset": np.arange(-2, 3)},
    )


def test_maps_are_the_mean_over_the_images_that_have_one() -> None:
    variable = offsets()
    sent = strength.offset_maps(variable, N_HEADS, PATCHES)
    assert sent["exact"]
    first, second, third = sent["layers"]
    assert third is None
    assert (first["rows"], first["columns"]) == (list(range(-3, 4)), list(range(-2, 3)))
    assert (second["rows"], second["columns"]) == ([-1, 0, 1], [-1, 0, 1])
    assert (first["patch_px"], second["patch_px"]) == ([8, 8], [16, 32])
    for layer, head in [(0, 0), (0, 1), (0, 2)]:
        images = [0, 2, 3] if head == 1 else [0, 1, 2, 3]
        naive = sum(variable.values[i, layer, head].astype(float) for i in images) / len(images)
        # float32 on the way: 24 bits
        np.testing.assert_allclose(first["shares"][head], naive, rtol=1e-6)
        assert first["ends"][head] == pytest.approx(naive.max(), rel=1e-6)
    naive = variable.values[:, 1, :2, 2:5, 1:4].astype(float).mean(0)
    np.testing.assert_allclose(second["shares"], naive, rtol=1e-6)


def test_one_image_is_itself() -> None:
    variable = offsets()
    layers = strength.offset_maps_of_image(variable, N_HEADS, PATCHES, 1)
    assert layers is not None
    np.testing.assert_array_equal(layers[0]["shares"][0], variable.values[1, 0, 0])
    assert np.isnan(layers[0]["ends"][1])  # measured in the other images only
    assert np.isnan(layers[0]["shares"][1]).all()
    assert layers[2] is None


def test_large_maps_travel_as_steps_of_their_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = strength.offset_maps(offsets(), N_HEADS, PATCHES)
    monkeypatch.setattr(strength, "EXACT_BYTES", 10)
    variable = offsets()
    variable.values[:, 0, 0, 0, 0] = NAN
    sent = strength.offset_maps(variable, N_HEADS, PATCHES)
    assert not sent["exact"]
    assert sent["bytes"] == 3 * 35 + 2 * 9
    layer = sent["layers"][0]
    assert layer["shares"].dtype == np.uint8
    assert layer["shares"][0, 0, 0] == 0
    assert (layer["shares"][1:] > 0).all()
    ends = layer["ends"][1:, None, None]
    again = ends * ((layer["shares"][1:].astype(float) - 1) / strength.STEPS) ** 2
    # Half a step of the 254, on the square-root scale that colours have.
    wrong = np.sqrt(again / ends) - np.sqrt(exact["layers"][0]["shares"][1:] / ends)
    assert np.abs(wrong).max() <= 0.5 / strength.STEPS + 1e-6
    assert strength.offset_maps_of_image(variable, N_HEADS, PATCHES, 0) is None


def test_what_is_too_large_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strength, "MOST_BYTES", 4 * 105 + 1)
    sent = strength.offset_maps(offsets(), N_HEADS, PATCHES)
    assert isinstance(sent["layers"][0], dict)
    assert sent["layers"][1:] == ["left out", None]
    assert sent["bytes"] == 4 * 105
    assert sent["most"] == 4 * 105 + 1


def test_zero_everywhere_is_no_division() -> None:
    steps = strength.steps(np.zeros((1, 2, 2)), np.zeros(1))
    assert (steps == 1).all()


def metric(key: str) -> HeadMetric:
    return HeadMetric(key, key, "px", "", "Attention", signed=False, values=np.zeros((1, 2, 2)))


def test_trends_carry_interval_and_reason() -> None:
    numbers = {"mean": np.array([[1.0, 2]]), "low": np.array([[0.5, NAN]])}
    over = Trend(
        metric="a",
        long_name="A",
        units="px",
        groups=("all",),
        **numbers,
        high=np.array([[1.5, NAN]]),
        n_images=np.array([[4, 1]]),
        confidence=0.9,
        method="bca",
        reason="too few",
    )
    told: list[float] = []
    found = strength.trends(
        [metric("a"), metric("b")], lambda key: over if key == "a" else "no way", told.append
    )
    assert [each["key"] for each in found] == ["a", "b"]
    np.testing.assert_array_equal(found[0]["low"], [0.5, NAN])
    assert (found[0]["confidence"], found[0]["reason"]) == (0.9, "too few")
    assert found[1]["reason"] == "no way"
    assert "mean" not in found[1]
    assert told == [0, 0.5]
