"""What the browser is sent."""

import base64
import io
import json
import struct

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from headscope.app.figures import atlas, encode, maps, predictions, profile

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
    sent = profile.payload(study, 0, N_HEADS, kinds)
    assert sent is not None
    assert sent["prefix"] == [{"kind": "class", "tokens": 1}, {"kind": "register", "tokens": 2}]
    assert sent["hops"] == [0, 1]
    for scope in ("image", "mean"):
        for layer, heads in enumerate(N_HEADS):
            for head in range(heads):
                parts = sent[scope]["prefix"][layer][head] + sent[scope]["hop_sum"][layer][head]
                assert sum(parts) == pytest.approx(1)


def test_no_profile_without_its_numbers(study: xr.Dataset) -> None:
    assert profile.payload(study.drop_vars("hop_share"), 0, N_HEADS, ("patch",)) is None


def unpacked(feed: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The header, and the arrays as linked/feed.js reads them."""
    (length,) = struct.unpack("<I", feed[:4])
    header, body = json.loads(feed[4 : 4 + length]), feed[4 + length :]

    def part(place: dict) -> np.ndarray:
        return np.frombuffer(body[place["offset"] : place["offset"] + place["size"]], np.uint8)

    slabs = {slab["name"]: part(slab) for slab in header["slabs"]}
    return header, {
        **slabs,
        "pixels": part(header["pixels"]),
        "row_max": part(header["row_max"]).view("<f4"),
    }


@pytest.fixture
def parts() -> dict:
    rng = np.random.default_rng(0)
    return {
        "name": "digest",
        "n_heads": N_HEADS,
        "pixels": rng.integers(0, 256, (3, 5, 3), np.uint8),
        "weights": rng.integers(0, 256, (2, 2, 4, 4), np.uint8),
        "row_max": rng.random((2, 2, 4)).astype(np.float32),
    }


def test_all_maps_go_at_once_where_they_fit(parts: dict) -> None:
    header, arrays = unpacked(maps.feed(**parts))
    assert header["n_tokens"] == 4
    assert (header["pixels"]["height"], header["pixels"]["width"]) == (3, 5)
    np.testing.assert_array_equal(arrays["pixels"].reshape(3, 5, 3), parts["pixels"])
    np.testing.assert_array_equal(arrays["all"].reshape(2, 2, 4, 4), parts["weights"])
    np.testing.assert_array_equal(arrays["row_max"].reshape(2, 2, 4), parts["row_max"])


def test_else_what_is_wanted_goes(parts: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_BYTES", parts["weights"].nbytes - 1)
    header, _ = unpacked(maps.feed(**parts))
    assert header["slabs"] == []
    _, arrays = unpacked(maps.feed(**parts, wanted=(1, 0, 3)))
    np.testing.assert_array_equal(arrays["head 1 0"].reshape(4, 4), parts["weights"][1, 0])
    np.testing.assert_array_equal(arrays["query 3"].reshape(2, 2, 4), parts["weights"][:, :, 3])


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
