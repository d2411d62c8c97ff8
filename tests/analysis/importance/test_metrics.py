"""Importance metrics: each against its naive replica, image by image in numpy."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance import Outputs, importance_metrics
from headscope.analysis.importance.metrics import _METRICS
from headscope.models.layout import TokenLayout

N_HEADS, N_IMAGES, N_CLASSES = 3, 40, 8
LAYOUT = TokenLayout(("class", *["patch"] * 6), (2, 3), (8, 8))


@pytest.fixture(scope="module")
def outputs():
    """Random outputs, of which every metric sees changes."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    layer, model = draw(N_IMAGES, 7, 5), draw(N_IMAGES, N_CLASSES)
    label = torch.randint(-1, N_CLASSES, (N_IMAGES,), generator=random)
    return Outputs(
        layer,
        layer + draw(N_HEADS, N_IMAGES, 7, 5),
        model,
        model + draw(N_HEADS, N_IMAGES, N_CLASSES),
        torch.randint(0, N_CLASSES, (N_IMAGES,), generator=random),
        LAYOUT,
        label,
    )


def softmax(z):
    return np.exp(z) / np.exp(z).sum()


def margin(z, target):
    return z[target] - max(value for index, value in enumerate(z) if index != target)


def place(z, index):
    return sorted(range(len(z)), key=lambda other: -z[other]).index(index)


def cosine(a, b):
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def l2(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(a)


def divergence(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def js(p, q):
    m = (p + q) / 2
    return (divergence(p, m) + divergence(q, m)) / 2


def accuracy_drop(z, w, label, top):
    return np.nan if label < 0 else (place(z, label) < top) - (place(w, label) < top)


def rows(of, a, b, chosen):
    return np.mean([of(a[row], b[row]) for row in chosen])


class Case(NamedTuple):
    """One image and head."""

    x: np.ndarray
    """The layer's rows with all heads; `y` without the head."""
    y: np.ndarray
    z: np.ndarray
    """The logits with all heads; `w` without the head."""
    w: np.ndarray
    t: int
    """The target."""
    n: int
    """The label."""


NAIVE = {
    "probability_drop": lambda c: softmax(c.z)[c.t] - softmax(c.w)[c.t],
    "logit_drop": lambda c: c.z[c.t] - c.w[c.t],
    "margin_drop": lambda c: margin(c.z, c.t) - margin(c.w, c.t),
    "cross_entropy_increase": lambda c: np.log(softmax(c.z)[c.t] / softmax(c.w)[c.t]),
    "js_divergence": lambda c: js(softmax(c.z), softmax(c.w)),
    "kl_divergence": lambda c: divergence(softmax(c.z), softmax(c.w)),
    "flip": lambda c: float(np.argmax(c.z) != np.argmax(c.w)),
    "rank_change": lambda c: place(c.w, c.t) - place(c.z, c.t),
    "top5_lost": lambda c: float(place(c.z, c.t) < 5 <= place(c.w, c.t)),
    "top1_drop": lambda c: accuracy_drop(c.z, c.w, c.n, 1),
    "top5_drop": lambda c: accuracy_drop(c.z, c.w, c.n, 5),
    "feature_cosine": lambda c: cosine(c.z, c.w),
    "class_cosine": lambda c: cosine(c.x[0], c.y[0]),
    "class_l2": lambda c: l2(c.x[0], c.y[0]),
    "patch_cosine": lambda c: rows(cosine, c.x, c.y, range(1, 7)),
    "patch_l2": lambda c: rows(l2, c.x, c.y, range(1, 7)),
    "all_cosine": lambda c: rows(cosine, c.x, c.y, range(7)),
    "all_l2": lambda c: rows(l2, c.x, c.y, range(7)),
}


def test_every_metric_has_a_replica_and_says_how_to_read_it():
    assert set(NAIVE) == set(_METRICS.all)
    for metric in _METRICS.all.values():
        assert metric.units
        assert metric.long_name
        assert len(metric.description) > 80, metric.name


@pytest.mark.parametrize("name", NAIVE)
def test_a_metric_agrees_with_its_naive_replica(outputs, name):
    before = outputs.ablated_layer.clone(), outputs.ablated_model.clone()
    ours = _METRICS.all[name].compute(outputs)
    naive = np.array(
        [
            [
                NAIVE[name](
                    Case(
                        outputs.layer[image].numpy(),
                        outputs.ablated_layer[head, image].numpy(),
                        outputs.model[image].numpy(),
                        outputs.ablated_model[head, image].numpy(),
                        int(outputs.target[image]),
                        int(outputs.label[image]),
                    )
                )
                for image in range(N_IMAGES)
            ]
            for head in range(N_HEADS)
        ]
    )
    assert np.nanmax(naive) > np.nanmin(naive), "the replica is not constant"
    assert np.isnan(naive).any() == (name in ("top1_drop", "top5_drop")), "some have no label"
    np.testing.assert_allclose(ours, naive, rtol=1e-11, atol=1e-13)  # float64 both
    assert torch.equal(outputs.ablated_layer, before[0]), "a metric does not edit its input"
    assert torch.equal(outputs.ablated_model, before[1]), "a metric does not edit its input"


@pytest.mark.parametrize("name", NAIVE)
def test_no_change_is_exactly_zero(outputs, name):
    same = Outputs(
        outputs.layer,
        outputs.layer.expand(N_HEADS, *outputs.layer.shape),
        outputs.model,
        outputs.model.expand(N_HEADS, *outputs.model.shape),
        outputs.target,
        LAYOUT,
        outputs.label.clamp_min(0),
    )
    assert (_METRICS.all[name].compute(same) == 0).all()


def test_a_small_change_is_not_lost_in_rounding(outputs):
    """1 − cos of a change of 1e-8 is about 1e-16: 1 − a·b would see nothing of it."""
    step = torch.zeros_like(outputs.layer)
    step[..., 0] = 1e-8
    layer = torch.zeros_like(outputs.layer)
    layer[..., 1] = 1  # at a right angle to the step
    nearby = Outputs(
        layer, (layer + step)[None], outputs.model, outputs.model[None], outputs.target, LAYOUT
    )
    np.testing.assert_allclose(nearby.row_cosine, 0.5e-16, rtol=1e-6)
    np.testing.assert_allclose(nearby.row_l2, 1e-8, rtol=1e-6)


def test_rows_that_are_not_there_are_nan(outputs):
    """The last layer of a class-token model: what leaves its patches is read by nobody."""
    last = Outputs(
        outputs.layer[:, :1],
        outputs.ablated_layer[:, :, :1],
        outputs.model,
        outputs.ablated_model,
        outputs.target,
        LAYOUT,
    )
    metrics = _METRICS.all
    for name in ("patch_cosine", "patch_l2"):
        assert metrics[name].compute(last).isnan().all()
    for name in ("cosine", "l2"):
        of_class = metrics[f"class_{name}"].compute(last)
        assert torch.equal(metrics[f"all_{name}"].compute(last), of_class)
        assert torch.equal(of_class, metrics[f"class_{name}"].compute(outputs))


def test_metrics_are_those_that_fit_the_model(known, small):
    of_known, of_small = set(importance_metrics(known)), set(importance_metrics(small))
    assert "top5_lost" not in of_known, "two classes have no first five"
    assert "top5_lost" in of_small
    assert of_small == set(importance_metrics(small, labelled=True)) - {"top1_drop", "top5_drop"}
    assert "feature_cosine" not in of_small


def test_models_without_classes_are_scored_by_their_features():
    checkpoint = hs.load("vit_small_patch14_reg4_dinov2", pretrained=False, image_size=56)
    local = {f"{part}_{kind}" for part in ("class", "patch", "all") for kind in ("cosine", "l2")}
    assert set(importance_metrics(checkpoint)) == {"feature_cosine", *local}
    study = hs.analyze(checkpoint, [np.zeros((56, 56, 3), np.uint8)])
    assert (study.data["feature_cosine"] >= 0).all()
    assert "target" not in study.data
