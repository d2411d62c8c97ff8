"""What the Images and Importance panels are sent, and means over chosen images."""

import numpy as np
import pytest
import xarray as xr

from headscope.analysis.importance.intervals import t_interval
from headscope.app.figures import atlas, profile
from headscope.app.figures.board import images, importance

from .test_payloads import N_HEADS, NAN, per_head, study

__all__ = ["study"]


def of_images(**extra: np.ndarray) -> xr.Dataset:
    data = {
        "top_class": (("image", "rank"), [[2, 0], [1, 0], [0, 1]]),
        "top_probability": (("image", "rank"), [[0.9, 0.1], [0.6, 0.3], [NAN, NAN]]),
        "target_probability": ("image", [0.9, 0.3, NAN], {"long_name": "p(target)"}),
        "token_norm": (("image", "layer"), np.ones((3, 2))),
    }
    coords = {"image": ["a", "b", "c"]}
    return xr.Dataset({**data, **{k: ("image", v) for k, v in extra.items()}}, coords=coords)


def test_images_payload() -> None:
    points = np.arange(6.0).reshape(3, 2)
    data = of_images(label=np.array([2, 0, -1]))
    sent = images.payload(data, ("x", "y", "z"), points)
    assert sent["names"] == ["a", "b", "c"]
    assert sent["label"].tolist() == [2, 0, -1]
    assert sent["prediction"].tolist() == [2, 1, 0]
    assert [each["key"] for each in sent["numbers"]] == ["top_probability", "target_probability"]
    assert sent["numbers"][0]["values"].tolist()[:2] == [0.9, 0.6]
    assert np.isnan(sent["numbers"][1]["values"][2])
    np.testing.assert_array_equal(sent["points"], points)


def test_images_without_classes_or_known_labels() -> None:
    unknown = of_images(label=np.full(3, -1))
    assert images.payload(unknown, ("x",), np.zeros((3, 2)))["label"] is None
    bare = unknown.drop_vars(["top_class", "top_probability", "target_probability", "label"])
    sent = images.payload(bare, (), np.zeros((3, 2)))
    assert sent["label"] is None
    assert sent["prediction"] is None
    assert sent["numbers"] == []


def test_thumbnails_are_the_middle_of_pictures() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, 30:60] = (200, 100, 50)  # the middle square
    made = images.sprite(2, lambda index: wide if index else np.rot90(wide))
    assert made.shape == (2, images.SIDE, images.SIDE, 3)
    assert (made == (200, 100, 50)).all()


def test_numbers_of_heads_stand_layer_after_layer() -> None:
    values = np.array([[[1.0, 2.0], [3.0, NAN]], [[4.0, 5.0], [6.0, NAN]]])
    np.testing.assert_array_equal(images.of_heads(values, N_HEADS), [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(importance.flat(values[1], N_HEADS), [4, 5, 6])


def test_how_images_are_laid_out_is_said() -> None:
    both = {"kinds": 17, "n_heads": 24, "explained": 0.344, "trustworthiness": 0.876}
    pca = images.words(method="pca", of="attention", **both)
    assert "17 numbers of each of 24 heads" in pca
    assert "34% of the variance" in pca
    umap = images.words(method="umap", of="importance", **both)
    assert "trustworthiness 0.88" in umap
    assert "what changes without each head" in umap


def test_whiskers_are_those_of_the_interval() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 2, 2))
    scores[:, 1, 1] = NAN
    interval = t_interval(scores)
    sent = importance.whisker(interval.low, interval.high, interval.n_images, N_HEADS)
    assert sent["n"] == 5
    of_head = t_interval(scores[:, 1:2, 0:1])
    assert sent["low"][2] == pytest.approx(of_head.low[0, 0], rel=1e-12)
    assert sent["high"][2] == pytest.approx(of_head.high[0, 0], rel=1e-12)


def test_ablations_of_a_metric_are_found_by_name() -> None:
    part = "class-to-patch:renormalised"
    metrics = atlas.head_metrics(
        [
            per_head("drop", units="", ablation="zero"),
            per_head("drop", units="", ablation=part),
            per_head("entropy", units="nats"),
        ]
    )
    parts = [{"name": "zero"}, {"name": part}]
    expected = {"drop": {"zero": "drop:zero", part: f"drop:{part}"}}
    assert importance.families(metrics, parts) == expected
    alone = atlas.head_metrics([per_head("drop", units="", ablation="mean")])
    assert importance.families(alone, [{"name": "mean"}]) == {"drop": {"mean": "drop"}}


def test_means_are_over_the_chosen_images() -> None:
    metrics = atlas.head_metrics([per_head("entropy", units="nats")])
    (first,) = atlas.payload(metrics, 1, N_HEADS, (0,))
    assert first["image"] == [[0.5, 0.6], [None]]
    assert first["mean"] == [[0.1, 0.2], [0.3]]
    (second,) = atlas.payload(metrics, 0, N_HEADS, (1,))
    assert second["mean"] == [[0.5, 0.6], [None]]
    of_all = per_head("constancy", units="share").isel(image=0, drop=True)
    (fixed,) = atlas.payload(atlas.head_metrics([of_all]), 0, N_HEADS, (1,))
    assert fixed["mean"] == [[0.1, 0.2], [0.3]]


def test_profiles_are_over_the_chosen_images(study: xr.Dataset) -> None:
    two = xr.concat([study, study.assign(hop_share=study["hop_share"] / 2)], "image")
    chosen = profile.payload(two, 0, N_HEADS, [], (1,))
    second = profile.payload(two, 1, N_HEADS, [])
    assert chosen is not None
    assert second is not None
    assert chosen["mean"] == second["image"]
    assert chosen["image"] != second["image"]
