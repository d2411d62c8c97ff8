"""Images for the deciles of a number, and one head's maps for them."""

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.maps import head_maps
from headscope.analysis.multiples import by_decile


@pytest.mark.parametrize("n", [10, 23, 60, 1000])
def test_each_image_is_of_its_decile(n):
    values = np.random.default_rng(n).normal(size=n)
    places = by_decile(values)
    assert [place.part for place in places] == list(range(1, 11))
    assert {place.n_parts for place in places} == {10}
    for place in places:
        assert place.value == values[place.image]
        below = (values < place.value).mean()  # the share of images that are weaker
        assert (place.part - 1) / 10 <= below < place.part / 10


def test_few_images_are_each_shown_once_and_what_has_no_value_is_not():
    values = np.array([3.0, np.nan, 1.0, 1.0, np.inf, 2.0])
    places = by_decile(values)
    assert [place.image for place in places] == [2, 3, 5, 0]
    assert [(place.part, place.n_parts) for place in places] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert by_decile(np.full(5, np.nan)) == ()


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (5, 2)])
def test_the_maps_are_those_of_each_image_alone(small, layer, head):
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)
    found = head_maps(small, crops, layer, head)
    assert len(found) == 3
    for crop, of in zip(crops, found, strict=True):
        alone = hs.attention_maps(small, crop).layers[layer]
        assert of.heads == (head,)
        # Other batches, other sums in float32: a weight may round to the next level.
        assert np.abs(of.weights[0].astype(int) - alone.weights[head]).max() <= 1
        np.testing.assert_allclose(of.row_max[0], alone.row_max[head], rtol=1e-5)
        np.testing.assert_allclose(of.mean[0], alone.mean[head], rtol=1e-4, atol=1e-7)


def test_windows_stay_windows():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, seed=1, image_size=(96, 128))
    crops = np.random.default_rng(1).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    found = head_maps(swin, crops, 1, 2)
    alone = hs.attention_maps(swin, crops[1], [(1, 2)]).layers[1]
    assert found[1].weights.shape == alone.weights.shape
    assert len(found[1].layout.query_tokens) > 1
    np.testing.assert_allclose(found[1].row(40)[0], alone.row(40)[0], atol=3 / 510)


def test_a_pass_that_ends_early_leaves_nothing_behind(small):
    crops = np.random.default_rng(2).integers(0, 256, (1, 48, 80, 3), dtype=np.uint8)
    batch = small.prepare(crops)
    before = small.run(batch)
    head_maps(small, crops, 0, 1)
    assert (small.run(batch) == before).all()
    with pytest.raises(hs.HeadscopeError, match="no layer 40"):
        head_maps(small, crops, 40, 0)
