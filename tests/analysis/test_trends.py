"""Numbers over layers, by group of images, and two studies of the same images."""

import numpy as np
import pytest
import timm
import zarr

import headscope as hs
from headscope.analysis.compare import compare
from headscope.analysis.importance.intervals import bootstrap_interval, t_interval
from headscope.analysis.series import Series
from headscope.analysis.trends import trend
from headscope.app.figures.atlas import by_ablation, head_metrics

METRICS = ["sink_token", "js_divergence", "entropy", "share", "content_share"]
N_IMAGES = 12


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [
        hs.read_image(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8), name=f"photo {i}")
        for i in range(N_IMAGES)
    ]


@pytest.fixture(scope="module")
def study(small, photographs):
    """With labels: the predicted class in every other image, an unknown one in the last."""
    top = small.probabilities(small.batch(photographs)).argmax(-1)
    labels = {
        f"photo {i}": int(top[i]) if i % 2 == 0 else int(top[i] + 1) % 1000
        for i in range(N_IMAGES - 1)
    }
    return hs.analyze(
        small, photographs, metrics=METRICS, labels=labels, ablations=("zero", "keep")
    )


@pytest.fixture(scope="module")
def other(photographs):
    """Another checkpoint of the same build, on the same images in another order."""
    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, seed=2, image_size=(48, 80))
    return hs.analyze(checkpoint, photographs[::-1], metrics=["entropy", "content_share"])


def test_a_trend_is_the_mean_over_heads_with_an_interval_over_images(study):
    found = trend(study, "entropy")
    scores = study.data["entropy"].mean("head").values
    assert found.groups == ("all",)
    assert (found.units, found.reason) == ("nats", "")
    np.testing.assert_allclose(found.mean[0], scores.mean(0), rtol=1e-6)  # float32 in the study
    expected = bootstrap_interval(study.data["entropy"].values.astype(float).mean(2))
    np.testing.assert_allclose(found.low[0], expected.low, rtol=1e-12)
    np.testing.assert_allclose(found.high[0], expected.high, rtol=1e-12)
    assert (found.n_images == N_IMAGES).all()
    assert (found.low < found.mean).all()
    assert (found.mean < found.high).all()
    by_t = trend(study, "entropy", method="t", confidence=0.9)
    expected = t_interval(study.data["entropy"].values.astype(float).mean(2), 0.9)
    np.testing.assert_allclose(by_t.high[0], expected.high, rtol=1e-12)


def test_a_trend_of_groups_is_that_of_their_images(study):
    entropy = study.data["entropy"].values.astype(float).mean(2)
    found = trend(study, "entropy", by="correctness")
    assert found.groups == ("right", "wrong")
    np.testing.assert_allclose(found.mean[0], entropy[0:11:2].mean(0))
    np.testing.assert_allclose(found.mean[1], entropy[1:11:2].mean(0))
    assert found.n_images[:, 0].tolist() == [6, 5], "the last one's label is not known"
    assert np.isfinite(found.low[0]).all()
    assert np.isnan(found.low[1]).all()
    assert "5 image(s) are too few" in found.reason

    predicted = study.data["top_class"].values[:, 0]
    found = trend(study, "entropy", by="prediction", method="t")
    assert len(found.groups) == len(set(predicted))
    assert found.n_images[:, 0].sum() == N_IMAGES
    first = min(predicted)
    assert found.groups[0].startswith(study.labels[first])
    np.testing.assert_allclose(found.mean[0], entropy[predicted == first].mean(0))
    assert trend(study, "entropy", by="label", method="t").n_images[:, 0].sum() == N_IMAGES - 1

    mine = ["b", "a", None] * 4
    found = trend(study, "entropy", by=mine, method="t")
    assert found.groups == ("a", "b")
    np.testing.assert_allclose(found.mean[0], entropy[1::3].mean(0))
    # Class 0 and False are groups; only -1, None and "" are none.
    assert trend(study, "entropy", by=[0, -1] * 6, method="t").groups == ("0",)


def test_a_trend_chooses_among_the_numbers_of_a_metric(study):
    found = trend(study, "share", at={"query_kind": "patch", "key_kind": "class"})
    share = study.data["share"].sel(query_kind="patch", key_kind="class").mean(("image", "head"))
    np.testing.assert_allclose(found.mean[0], share, rtol=1e-6)
    found = trend(study, "js_divergence", ablation="keep")
    drop = study.data["js_divergence"].sel(ablation="keep").mean(("image", "head"))
    np.testing.assert_allclose(found.mean[0], drop, rtol=1e-6)


def test_a_number_of_all_images_has_no_interval(study):
    found = trend(study, "content_share")
    np.testing.assert_allclose(found.mean[0], study.data["content_share"].mean("head"), rtol=1e-6)
    assert np.isnan(found.low).all()
    assert "all images together" in found.reason


@pytest.mark.parametrize(
    ("metric", "options", "sentence"),
    [
        ("entropie", {}, r"no number 'entropie'.*entropy"),
        ("label", {}, "no number 'label'"),
        ("share", {}, r"several numbers.*query_kind='class'"),
        ("share", {"at": {"query_kind": "fish"}}, r"no query_kind 'fish'; it has: class, patch"),
        ("entropy", {"at": {"hop": 1}}, "no dimension 'hop'"),
        ("js_divergence", {}, "name one of: zero, keep"),
        ("entropy", {"by": "size"}, "label, prediction or correctness"),
        ("entropy", {"by": [1, 2]}, "2 groups for 12 images"),
        ("entropy", {"by": [-1] * 12}, "in any group"),
        ("content_share", {"by": "label"}, "no value by group"),
        ("sink_token", {}, "a mean of indices"),
    ],
)
def test_what_cannot_be_shown_gets_a_sentence(study, metric, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        trend(study, metric, **options)


def test_correctness_needs_labels(other):
    with pytest.raises(hs.HeadscopeError, match="analyse with labels"):
        trend(other, "entropy", by="correctness")


def test_a_comparison_is_paired_whatever_the_order(study, other):
    found = compare(study, other, "entropy")
    a = study.data["entropy"].values.astype(float)
    b = other.data["entropy"].values.astype(float)[::-1]
    expected = bootstrap_interval((b - a).mean(2))
    np.testing.assert_allclose(found.layers.mean, expected.mean)
    np.testing.assert_allclose(found.layers.low, expected.low)
    np.testing.assert_allclose(found.whole.mean, [(b - a).mean()])
    np.testing.assert_allclose(found.means, [a.mean(), b.mean()])
    np.testing.assert_allclose(found.means[1] - found.means[0], found.whole.mean[0])
    assert (found.n_images, found.units) == (N_IMAGES, "nats")
    back = compare(other, study, "entropy", method="t")
    np.testing.assert_allclose(back.layers.mean, -found.layers.mean)
    # What images have in common cancels: narrower than the spread of images would have it.
    same = compare(study, study, "entropy")
    assert (same.layers.low == 0).all()
    assert (same.layers.high == 0).all()


def test_other_images_are_told(small, study, photographs):
    fewer = hs.analyze(small, photographs[:3], metrics=["entropy"])
    with pytest.raises(
        hs.HeadscopeError,
        match=r"different images: 9 image\(s\) such as 'photo 3' are in the first only\. Analyse",
    ):
        compare(study, fewer, "entropy")


def test_checkpoints_of_other_depth_are_compared_as_a_whole(study, photographs):
    shallow = hs.Checkpoint.of(
        timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3),
        name="shallow",
        architecture="shallow",
        preprocessing=hs.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3),
        labels=("a", "b", "c"),
    )
    two = hs.analyze(shallow, photographs, metrics=["entropy"])
    found = compare(study, two, "entropy")
    assert found.layers is None
    expected = two.data["entropy"].values.mean() - study.data["entropy"].values.mean()
    np.testing.assert_allclose(found.whole.mean, [expected], rtol=1e-5)  # float32 in the studies


def test_numbers_of_all_images_have_no_pairs(study, other):
    with pytest.raises(hs.HeadscopeError, match="no images to pair"):
        compare(study, other, "content_share")


def test_what_is_infinite_in_both_is_no_difference(small, photographs):
    """As the concentration of a sink is where most keys get nothing at all."""
    one = hs.analyze(small, photographs[:3], metrics=["sink_concentration"])
    numbers = zarr.open_group(one.store, mode="r+")["sink_concentration"]
    numbers[:, 0, 0] = np.inf
    infinite = hs.Study(one.store)
    found = compare(infinite, infinite, "sink_concentration")
    assert np.isnan(found.whole.mean).all()
    assert found.layers.n_images[0] == found.whole.n_images[0] == 0
    np.testing.assert_allclose(found.layers.mean[1:], 0)


def test_numbers_of_other_ablations_are_not_subtracted(small, photographs):
    zero, keep, both = (
        hs.analyze(small, photographs[:2], metrics=["js_divergence"], ablations=modes)
        for modes in (("zero",), ("keep",), ("zero", "keep"))
    )
    told = r"'js_divergence' was measured by other ablations in each study \(zero, keep\)"
    with pytest.raises(hs.HeadscopeError, match=told):
        compare(zero, keep, "js_divergence")
    found = compare(zero, both, "js_divergence", ablation="zero")
    np.testing.assert_allclose(found.whole.mean, [0], atol=1e-7)  # the same numbers

    tracks = np.zeros((1, 2, 2), int)
    images = np.array([[0, 1], [0, 1]])
    in_a_row = Series((zero, keep), ("a", "b"), np.arange(2.0), (), tracks, images)
    with pytest.raises(hs.HeadscopeError, match=told):
        in_a_row.trajectory("js_divergence")
    ((first, second),) = in_a_row.trajectory("js_divergence", ablation="zero")
    assert first == pytest.approx(zero.data["js_divergence"].values[..., 0, 0].mean(), rel=1e-6)
    assert np.isnan(second)

    a, b, c = by_ablation([head_metrics(each.head_metrics()) for each in (zero, keep, both)])
    assert set(a) == {"js_divergence:zero"}
    assert set(b) == {"js_divergence:keep"}
    assert set(c) == {"js_divergence:zero", "js_divergence:keep"}
    assert a["js_divergence:zero"].label.endswith("(zero ablation)")
    (alone, again) = by_ablation([head_metrics(zero.head_metrics())] * 2)
    assert set(alone) == set(again) == {"js_divergence"}
