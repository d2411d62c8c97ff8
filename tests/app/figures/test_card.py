"""What the head card and the small multiples are sent."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import headscope as hs
from headscope.analysis.maps import head_maps
from headscope.analysis.multiples import by_decile
from headscope.app.figures import atlas
from headscope.app.figures.board import card, multiples


def test_keys_are_those_of_the_atlas():
    study = hs.analyze(
        hs.load("demo/supervised"),
        [hs.sample_images()["scene-8"].read()],
        ablations=("zero", "uniform"),
        metrics=["js_divergence", "flip", "entropy", "sink_token", "map_cosine", "sink_constancy"],
    )
    keys = card.keyed(study.head_metrics())
    assert set(keys) == {metric.key for metric in atlas.head_metrics(study.head_metrics())}
    assert "js_divergence:uniform" in keys
    for metric in atlas.head_metrics(study.head_metrics()):
        values = keys[metric.key]
        values = values if "image" in values.dims else values.expand_dims("image")
        np.testing.assert_array_equal(values.transpose("image", "layer", "head"), metric.values)


def test_patterns_are_those_of_the_studys_own_checkpoint():
    found = SimpleNamespace(
        heads=np.array([[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]]),
        modal=np.array([2, -1, 0, 1]),
        stability=np.array([0.9, 0.6, 0.8, 0.7]),
    )
    told = card.patterns(found, ["row", "content", "local"], [0], (2, 2))
    assert told["modal"].tolist() == [[2, card.NOT_LEARNED], [card.NOT_LEARNED, card.NO_PATTERN]]
    np.testing.assert_array_equal(told["share"], [[0.9, np.nan], [np.nan, 0.6]])


def test_sink_tokens_are_named():
    study = hs.analyze(
        hs.load("demo/supervised"), [hs.sample_images()["scene-8"].read()], importance=False
    )
    keys = [layer.keys for layer in study.layer_layouts]
    token = np.full((6, 4), 0)
    token[0, 1], token[5, 3] = 1 + 12 * 3 + 7, -1
    labels = SimpleNamespace(token=token, token_share=None, score=None, lift=None, above=None)
    names = card.sinks(labels, keys)["token"]
    assert (names[0][0], names[0][1], names[5][3]) == ("class", "patch 3, 7", None)


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (3, 48, 80, 3), dtype=np.uint8)


def told(maps, token=None):
    places = by_decile(np.array([0.3, 0.1, 0.2]))
    return multiples.payload(places, ["a", "b", "c"], ["", "", ""], maps, token)


def test_small_maps_travel_whole(small, crops):
    maps = head_maps(small, crops, 3, 1)
    sent = told(maps)
    assert [item["value"] for item in sent["items"]] == [0.1, 0.2, 0.3]
    for image, of in enumerate(maps):
        weights = sent["weights"][image] / 255 * sent["scale"][image][:, None]
        np.testing.assert_allclose(weights, of.dense(1), atol=1e-6)
        np.testing.assert_array_equal(sent["mean"][image], of.mean[0])
    assert sent["weights"].nbytes == 3 * 16 * 16


def test_of_large_maps_the_asked_row_travels(small, crops, monkeypatch):
    monkeypatch.setattr(multiples, "MOST_TOKENS", 15)
    maps = head_maps(small, crops, 3, 1)
    sent = told(maps, token=7)
    assert sent["weights"] is None
    assert sent["row"]["token"] == 7
    np.testing.assert_array_equal(sent["row"]["values"], [of.row(7)[0] for of in maps])
    assert told(maps)["row"] is None  # the mean over queries is always sent
    assert told(maps, token=99)["row"] is None


def test_maps_in_windows_travel_as_maps_between_tokens():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, seed=1, image_size=(56, 56))
    crops = np.random.default_rng(1).integers(0, 256, (3, 56, 56, 3), dtype=np.uint8)
    maps = head_maps(swin, crops, 1, 2)
    assert not maps[0].layout.is_dense
    sent = told(maps)
    for image, of in enumerate(maps):
        exact = of.dense(2)
        shown = sent["weights"][image] / 255 * sent["scale"][image][:, None]
        # Rounded to 255 levels of the row's largest.
        assert (np.abs(shown - exact) <= exact.max(-1, keepdims=True) / 509).all()


def test_a_picture_keeps_its_shape():
    import base64
    import io

    from PIL import Image

    address = multiples.picture(np.zeros((200, 400, 3), np.uint8))
    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert image.size == (multiples.LONGEST, multiples.LONGEST // 2)


def test_an_interval_is_told_with_its_method():
    from headscope.analysis.importance.intervals import bootstrap_interval

    scores = np.random.default_rng(0).normal(size=(20, 2, 3))
    sent = card.interval(bootstrap_interval(scores))
    assert sent["method"] == "BCa bootstrap"
    assert (sent["low"] < scores.mean(0)).all()
    assert (sent["n"] == 20).all()
    nearest = card.nearest(
        SimpleNamespace(heads=None, values=None),
        xr.DataArray(0, name="map_cosine", attrs={"long_name": "Similarity", "units": "cosine"}),
    )
    assert (nearest["key"], nearest["unit"]) == ("map_cosine", "cosine")
