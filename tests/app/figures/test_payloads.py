"""What the browser is sent."""

import base64
import io
import json
import re
import struct

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import headscope as hs
from headscope.analysis.maps import AttentionMaps, LayerMaps
from headscope.app import services
from headscope.app.figures import atlas, encode, layers, maps, palette, predictions, profile
from headscope.models.layout import AttentionLayout, TokenLayout

N_HEADS = (2, 1)
NAN = np.nan


def per_head(name: str, *, units: str, **coords: object) -> xr.DataArray:
    """Two images, two layers with two heads and one; the second image lacks layer 1."""
    values = [[[0.1, 0.2], [0.3, NAN]], [[0.5, 0.6], [NAN, NAN]]]
    attributes = {"long_name": f"The {name}", "units": units, "description": "How to read it."}
    return xr.DataArray(
        values, dims=("image", "layer", "head"), coords=coords, name=name, attrs=attributes
    )


def test_mean_leaves_out_what_is_not_there() -> None:
    mean = encode.mean_over_images(per_head("x", units="nats").values)
    np.testing.assert_allclose(mean, [[0.3, 0.4], [0.3, NAN]])


def test_plain_numbers_are_json_without_padding() -> None:
    values = np.array([[1 / 3, NAN], [np.inf, 9.0]])
    assert json.loads(json.dumps(encode.plain(values, N_HEADS))) == [[0.333333, None], [None]]


def test_atlas_payload() -> None:
    metrics = atlas.head_metrics([per_head("entropy", units="nats")])
    (sent,) = atlas.payload(metrics, 1, N_HEADS)
    assert sent == {
        "key": "entropy",
        "label": "The entropy",
        "unit": "nats",
        "description": "How to read it.",
        "group": "Attention",
        "signed": False,
        "image": [[0.5, 0.6], [None]],
        "mean": [[0.3, 0.4], [0.3]],
        "mass": None,
    }


def test_ablations_are_told_apart_only_where_there_are_several() -> None:
    zero = per_head("drop", units="probability", ablation="zero")
    mean = per_head("drop", units="probability", ablation="mean")
    assert [m.key for m in atlas.head_metrics([zero])] == ["drop"]
    both = atlas.head_metrics([zero, mean])
    assert [m.key for m in both] == ["drop:zero", "drop:mean"]
    assert both[1].label == "The drop (mean ablation)"


def test_metrics_are_listed_by_what_they_compare() -> None:
    local = per_head("rows", units="", ablation="zero")
    local.attrs["long_name"] = "Change of the class row"
    sent = atlas.payload(
        atlas.head_metrics(
            [per_head("entropy", units="nats"), local, per_head("drop", units="", ablation="zero")]
        ),
        0,
        N_HEADS,
    )
    assert [metric["key"] for metric in sent] == ["drop", "rows", "entropy"]
    assert [metric["group"] for metric in sent] == list(atlas.GROUPS)


def test_a_sign_that_means_something_is_told() -> None:
    drop = per_head("drop", units="probability", ablation="zero")
    assert not atlas.head_metrics([drop])[0].signed
    assert atlas.head_metrics([(drop - 0.2).assign_attrs(drop.attrs)])[0].signed
    drop.attrs["description"] = "Positive: the head speaks for the target."
    assert atlas.head_metrics([drop])[0].signed


def test_what_a_study_says_of_a_metric_is_not_guessed() -> None:
    drop = per_head("drop", units="probability", ablation="zero")
    drop.attrs |= {"signed": False, "scope": "local", "description": "Positive or not."}
    (metric,) = atlas.head_metrics([(drop - 0.2).assign_attrs(drop.attrs)])
    assert not metric.signed
    assert metric.group == "Layer's output changes"
    drop.attrs |= {"signed": True, "scope": "global", "long_name": "Change of the class row"}
    (metric,) = atlas.head_metrics([drop])
    assert metric.signed
    assert metric.group == "Model's output changes"


def test_a_number_of_all_images_is_that_of_each() -> None:
    of_all = per_head("constancy", units="share").isel(image=0, drop=True)
    metrics = atlas.head_metrics([of_all, per_head("entropy", units="nats")])
    for image in (0, 1):
        sent = atlas.payload(metrics, image, N_HEADS)
        assert sent[0]["key"] == "constancy"
        assert sent[0]["image"] == sent[0]["mean"] == [[0.1, 0.2], [0.3]]


def test_palettes_are_what_a_browser_reads() -> None:
    for scale in palette.payload().values():
        assert all(re.fullmatch("#[0-9a-f]{6}", colour.lower()) for colour in scale)
    assert len(palette.SIGNED) % 2 == 1  # 0 has a colour of its own


def test_a_distance_says_which_mass_it_rests_on() -> None:
    kinds = ["class", "patch"]
    share = per_head("share", units="share").expand_dims(query_kind=kinds, key_kind=kinds)
    (sent,) = atlas.payload(
        atlas.head_metrics([per_head("distance", units="px")], share * 0.5), 0, N_HEADS
    )
    assert sent["mass"]["image"] == [[0.05, 0.1], [0.15]]


@pytest.fixture
def study() -> xr.Dataset:
    """Attention of one image that splits as 1/2, 1/4 (class, registers), and hops 1/8, 1/8."""
    kinds = ["class", "register", "patch"]
    share = np.zeros((1, 2, 2, 3, 3))
    share[..., 2, :] = [0.5, 0.25, 0.25]
    hops = np.full((1, 2, 2, 2), 0.125)
    head = ("image", "layer", "head")
    return xr.Dataset(
        {
            "share": ((*head, "query_kind", "key_kind"), share),
            "hop_share": ((*head, "hop"), hops),
            "hop_mean": ((*head, "hop"), hops / 3),
        },
        coords={"query_kind": kinds, "key_kind": kinds},
    )


def test_profile_parts_sum_to_one(study: xr.Dataset) -> None:
    kinds = ("class", "register", "register", *4 * ("patch",))
    tokens = TokenLayout(kinds, (2, 2), (8.0, 8.0))
    sent = profile.payload(study, 0, N_HEADS, [layers.LayerSides(tokens, tokens, "global")] * 2)
    assert sent is not None
    assert (
        sent["prefix"]
        == [[{"at": 0, "kind": "class", "tokens": 1}, {"at": 1, "kind": "register", "tokens": 2}]]
        * 2
    )
    assert sent["hops"] == [2, 2]
    for scope in ("image", "mean"):
        for layer, heads in enumerate(N_HEADS):
            for head in range(heads):
                parts = sent[scope]["prefix"][layer][head] + sent[scope]["hop_sum"][layer][head]
                assert sum(parts) == pytest.approx(1)


def test_no_profile_without_its_numbers(study: xr.Dataset) -> None:
    assert profile.payload(study.drop_vars("hop_share"), 0, N_HEADS, []) is None
    no_patch = study.sel(query_kind=["class"])
    assert profile.payload(no_patch, 0, N_HEADS, []) is None


def test_a_layer_has_its_own_hops_and_kinds_of_key(study: xr.Dataset) -> None:
    patches = TokenLayout(("patch",) * 4, (2, 2), (8.0, 8.0))
    one, all_ = (
        TokenLayout(("class",), (0, 0), (1.0, 1.0)),
        TokenLayout(("class", *patches.kinds), (2, 2), (8.0, 8.0)),
    )
    sides = [
        layers.LayerSides(patches, patches, "windows"),
        layers.LayerSides(one, all_, "class attention"),
    ]
    sent = profile.payload(study, 0, N_HEADS, sides)
    assert sent is not None
    assert sent["hops"] == [2, 0]
    assert sent["prefix"] == [[], [{"at": 0, "kind": "class", "tokens": 1}]]
    told = layers.payload(sides)
    assert told["layers"][1] == {"queries": 1, "keys": 2, "attention": "class attention"}
    assert told["tokens"][2]["kinds"] == [["class", 1], ["patch", 4]]
    assert layers.n_queries(sides) == (4, 1)


def unpacked(feed: bytes) -> tuple[dict, list[np.ndarray]]:
    """The header, and weights of each slab; a weight is its byte times the row's scale / 255."""
    (length,) = struct.unpack("<I", feed[:4])
    header, body = json.loads(feed[4 : 4 + length]), feed[4 + length :]

    def part(place: dict, kind: object = np.uint8) -> np.ndarray:
        data = body[place["offset"] : place["offset"] + place["size"]]
        return np.frombuffer(data, kind)  # pyright: ignore

    slabs = [
        part(slab["weights"]).reshape(slab["scale"]["size"] // 4, -1)
        / 255
        * part(slab["scale"], "<f4")[:, None]
        for slab in header["slabs"]
    ]
    for table in header["tables"]:
        for name in ("query_tokens", "key_tokens"):
            if name in table:
                table[name] = part(table[name], "<i4")
    for layer in header["layers"]:
        layer["mean"] = part(layer["mean"], "<f4")
    header["pixels"]["bytes"] = part(header["pixels"])
    return header, slabs


def layer_maps(layout: AttentionLayout, n_heads: int, seed: int) -> LayerMaps:
    rng = np.random.default_rng(seed)
    shape = (n_heads, *layout.query_tokens.shape, layout.key_tokens.shape[1])
    weights = rng.integers(0, 256, shape, np.uint8)
    weights[..., 0] = 255
    row_max = rng.random(shape[:-1]).astype(np.float32)
    mean = rng.random((n_heads, layout.keys.n_tokens)).astype(np.float32)
    return LayerMaps(layout, tuple(range(n_heads)), weights, row_max, mean)


@pytest.fixture
def given() -> AttentionMaps:
    """A layer of two windows of two patches, and one in which all four attend to all."""
    patches = TokenLayout(("patch",) * 4, (2, 2), (8.0, 8.0))
    halves = np.array([[0, 2], [1, 3]])
    windows = AttentionLayout(patches, patches, halves, halves)
    return AttentionMaps(
        (layer_maps(windows, 2, seed=0), layer_maps(AttentionLayout.of_all(patches), 1, seed=1))
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)


def test_all_maps_go_at_once_where_they_fit(given: AttentionMaps) -> None:
    header, slabs = unpacked(maps.feed(name="digest", pixels=PIXELS, maps=given))
    assert (header["pixels"]["height"], header["pixels"]["width"]) == (3, 5)
    np.testing.assert_array_equal(header["pixels"]["bytes"].reshape(3, 5, 3), PIXELS)
    assert [slab["layer"] for slab in header["slabs"]] == [0, 1]
    windows, dense = header["tables"]
    assert windows["query_tokens"].tolist() == [0, 2, 1, 3]
    assert "query_tokens" not in dense
    np.testing.assert_allclose(slabs[1].reshape(1, 4, 4)[0], given.layers[1].dense(0), rtol=1e-6)
    # Row 1 of window 1 is query 3; its keys are 1 and 3.
    seen = slabs[0].reshape(2, 2, 2, 2)[1, 1, 1]
    np.testing.assert_allclose(seen, given.layers[0].dense(1)[3, [1, 3]], rtol=1e-6)
    np.testing.assert_array_equal(header["layers"][0]["mean"], given.layers[0].mean.ravel())


def test_else_what_is_wanted_goes(given: AttentionMaps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_BYTES", 0)
    assert not maps.fits(given)
    header, _ = unpacked(maps.feed(name="digest", pixels=PIXELS, maps=given))
    assert header["slabs"] == []
    wanted = {"layer": 0, "head": 1, "tokens": (3, None)}
    header, slabs = unpacked(maps.feed(name="digest", pixels=PIXELS, maps=given, **wanted))
    head, row = header["slabs"]
    assert (head["layer"], head["head"]) == (0, 1)
    np.testing.assert_allclose(
        slabs[0].reshape(2, 2, 2)[1, 1], given.layers[0].dense(1)[3, [1, 3]], rtol=1e-6
    )
    assert (row["layer"], row["token"]) == (0, 3)
    exact = given.layers[0].row(3)
    assert (np.abs(slabs[1] - exact) <= exact.max(-1, keepdims=True) / 510 * 1.001).all()


def test_what_a_browser_wants_is_checked(given: AttentionMaps) -> None:
    look = services.Look("digest", hs.load("demo/supervised"), PIXELS, None, given)
    told = {"layer": 0, "head": 1, "tokens": [3, None]}
    assert services.Wanted.told(told, look) == services.Wanted(0, 1, (3, None))
    for wrong in (
        None,
        {**told, "layer": 2},
        {**told, "layer": -1},
        {**told, "head": 2},
        {**told, "tokens": [3]},
        {**told, "tokens": [4, None]},
        {**told, "tokens": ["x", None]},
    ):
        assert services.Wanted.told(wrong, look) is None


def test_maps_that_were_not_kept_are_made_when_they_are_wanted() -> None:
    checkpoint = hs.load("demo/supervised")
    crop = np.random.default_rng(2).integers(0, 256, (96, 96, 3), np.uint8)
    whole = hs.attention_maps(checkpoint, crop)
    none = hs.attention_maps(checkpoint, crop, heads=())
    look = services.Look("not kept", checkpoint, crop, None, none)
    header, _ = unpacked(services.feed(look, None))
    assert header["slabs"] == []
    wanted = services.Wanted(4, 1, (7,) * 6)
    header, slabs = unpacked(services.feed(look, wanted))
    assert [slab.get("token") for slab in header["slabs"]] == [None, *[7] * 6]
    np.testing.assert_allclose(slabs[0], whole.layers[4].dense(1), atol=1e-6)
    exact = whole.layers[2].row(7)
    assert (np.abs(slabs[3] - exact) <= exact.max(-1, keepdims=True) / 250).all()


def test_top_classes_come_largest_first_ties_in_order() -> None:
    classes, shares = predictions.top(np.array([0.1, 0.4, 0.1, 0.4]), 3)
    assert classes.tolist() == [1, 3, 0]
    assert shares.tolist() == [0.4, 0.4, 0.1]


def test_predictions_leave_out_ranks_that_are_not_there() -> None:
    sent = predictions.payload([1, 0, -1], [0.7, 0.3, NAN], ["cat", "dog"], target=0)
    assert [row["name"] for row in sent["rows"]] == ["dog", "cat"]
    assert sent["target"] == 0


def test_thumbnail_is_the_middle_square() -> None:
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, 40:80] = (200, 100, 50)
    head, _, data = encode.thumbnail(pixels, side=20).partition(",")
    assert head == "data:image/jpeg;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert image.shape == (20, 20, 3)
    assert np.abs(image.astype(int) - (200, 100, 50)).max() < 12  # JPEG
