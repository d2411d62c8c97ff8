"""Head importance: closed forms, the naive loop over whole forward passes, null heads."""

import math

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.models.ablations import reference
from headscope.models.replay import Replay

UNIFORM, SINK, SILENT = 2, 3, 4
MODES = (
    *("zero", "mean", "resample", "noise", "uniform", "self", "keep"),
    *("class-to-patch", "any-to-any:renormalised", "patch-to-patch", "hops<=1:renormalised"),
)


def scores_of(checkpoint, batch, target, mode="zero", **options):
    """Every importance metric: name → `image layer head`."""
    labelled = "label" in options
    metrics = list(importance_metrics(checkpoint, labelled=labelled).values())
    replay = Replay(checkpoint, batch)
    layers = [s for _, s in head_importance(replay, target, mode, metrics, **options)]
    return {
        metric.name: np.stack([layer[metric.name].numpy() for layer in layers], axis=1)
        for metric in metrics
    }


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture(scope="module")
def known_scores(known, known_crops):
    return scores_of(known, known.prepare(known_crops), torch.zeros(3, dtype=torch.long))


def parts_of_logit(known_crops, image):
    """What the uniform and the sink head add to the logit of class 0."""
    content = known_crops[image].reshape(4, 8, 4, 8, 3).mean((1, 3, 4)) / 255
    return 2 * content.sum() / 17, -0.5 * content[1, 1]


@pytest.mark.parametrize("image", [0, 1, 2])
def test_probability_drop_has_its_closed_form(known_scores, known_crops, image):
    uniform, sink = parts_of_logit(known_crops, image)
    expected = np.zeros((2, 5))
    expected[0, UNIFORM] = sigmoid(uniform + sink) - sigmoid(sink)
    expected[0, SINK] = sigmoid(uniform + sink) - sigmoid(uniform)
    assert expected[0, SINK] < -0.01 < 0.01 < expected[0, UNIFORM], "both signs occur"
    # The crops pass through float32 pixels: 1e-7 of a logit of about 1.
    np.testing.assert_allclose(known_scores["probability_drop"][image], expected, atol=1e-7)


@pytest.mark.parametrize("image", [0, 1, 2])
def test_js_divergence_has_its_closed_form(known_scores, known_crops, image):
    uniform, sink = parts_of_logit(known_crops, image)

    def divergence(a, b):
        p, q = np.array([sigmoid(a), sigmoid(-a)]), np.array([sigmoid(b), sigmoid(-b)])
        m = (p + q) / 2
        return ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()) / 2

    expected = np.zeros((2, 5))
    expected[0, UNIFORM] = divergence(uniform + sink, sink)
    expected[0, SINK] = divergence(uniform + sink, uniform)
    np.testing.assert_allclose(known_scores["js_divergence"][image], expected, atol=1e-7)


@pytest.mark.parametrize("image", [0, 1, 2])
def test_class_cosine_has_its_closed_form(known_scores, known_crops, image):
    # The class row is its position (a 1) and what heads 2 and 3 wrote.
    uniform, sink = parts_of_logit(known_crops, image)
    row = np.array([1, uniform / 2, sink / -0.5])
    expected = np.zeros((2, 5))
    for head, channel in ((UNIFORM, 1), (SINK, 2)):
        without = row.copy()
        without[channel] = 0
        expected[0, head] = 1 - row @ without / np.linalg.norm(row) / np.linalg.norm(without)
    np.testing.assert_allclose(known_scores["class_cosine"][image], expected, atol=1e-7)


@pytest.fixture(scope="module")
def compared(known, known_crops):
    """What the three images compare with, and their labels."""
    batch = known.prepare(known_crops)
    return {"stand_ins": reference(known, batch).of(batch), "label": torch.tensor([0, 1, -1])}


@pytest.mark.parametrize("mode", MODES)
def test_a_head_whose_projection_is_zero_has_importance_exactly_zero(
    known, known_crops, compared, mode
):
    target = torch.zeros(3, dtype=torch.long)
    scores = scores_of(known, known.prepare(known_crops), target, mode, **compared)
    assert len(scores) > 10
    for name, values in scores.items():
        # The last layer's patches, and an image without a label, have no number.
        nothing = values[:, 1] == 0
        assert (nothing | np.isnan(values[:, 1])).all(), name
        if mode != "keep":  # alone in its layer, it does the work of no other
            silent = values[:, 0, SILENT]
            assert ((silent == 0) | np.isnan(silent)).all(), name
            assert np.isfinite(silent[:2]).all(), name


def test_a_head_that_keeps_its_layer_alone_does_what_it_does(known, known_crops):
    target = torch.zeros(3, dtype=torch.long)
    kept = scores_of(known, known.prepare(known_crops), target, "keep")["logit_drop"]
    for image in range(3):
        uniform, sink = parts_of_logit(known_crops, image)
        expected = [uniform + sink] * 5  # what is lost is the work of the others
        expected[UNIFORM], expected[SINK] = sink, uniform
        np.testing.assert_allclose(kept[image, 0], expected, atol=1e-6)


def test_ablations_have_their_closed_forms_in_the_logit(known, known_crops, compared):
    target = torch.zeros(3, dtype=torch.long)
    parts = np.array([parts_of_logit(known_crops, image) for image in range(3)])
    uniform, sink = parts.T
    donors = [compared["stand_ins"].statistics.donor_of[d] for d in compared["stand_ins"].digests]
    for mode, of_uniform, of_sink in (
        ("zero", uniform, sink),
        ("mean", uniform - uniform.mean(), sink - sink.mean()),
        ("resample", uniform - uniform[donors], sink - sink[donors]),
        ("uniform", 0 * uniform, sink + uniform / 4),  # the sink head writes S/17, times −½
        ("self", uniform, sink),  # the class token's own value is 0
        ("class-to-patch", uniform, sink),
        ("class-to-class:renormalised", uniform - uniform * 17 / 16, 0 * sink),
        ("patch-to-any", 0 * uniform, 0 * sink),
        ("hops<=3", 0 * uniform, 0 * sink),
    ):
        drop = scores_of(known, known.prepare(known_crops), target, mode, **compared)["logit_drop"]
        # The crops pass through float32 pixels: 1e-7 of a logit of about 1.
        np.testing.assert_allclose(drop[:, 0, UNIFORM], of_uniform, atol=1e-6, err_msg=mode)
        np.testing.assert_allclose(drop[:, 0, SINK], of_sink, atol=1e-6, err_msg=mode)


def naive_scores(checkpoint, batch, target):
    """Importance by one whole forward pass a head, its columns of the projection's input zeroed."""

    @torch.inference_mode()
    def run(hooked=None, columns=None):
        rows = {}
        handles = [
            block.register_forward_hook(lambda _m, _a, out, i=i: rows.__setitem__(i, out[:, 0]))
            for i, block in enumerate(checkpoint.model.blocks)
        ]
        if hooked is not None:

            def zero(_module, args):
                joined = args[0].clone()
                joined[..., columns] = 0
                return (joined,)

            handles.append(hooked.register_forward_pre_hook(zero))
        logits = checkpoint.model(batch)
        for handle in handles:
            handle.remove()
        return logits.double().softmax(-1).numpy(), {i: r.double().numpy() for i, r in rows.items()}

    clean, clean_rows = run()
    n_images, picked = len(batch), (np.arange(len(batch)), target.numpy())
    result = {
        name: np.zeros((n_images, checkpoint.n_layers, checkpoint.n_heads[0]))
        for name in ("probability_drop", "js_divergence", "class_cosine")
    }
    for layer, block in enumerate(checkpoint.model.blocks):
        size = block.attn.head_dim
        for head in range(checkpoint.n_heads[layer]):
            p, rows = run(block.attn.proj, slice(head * size, (head + 1) * size))
            m = (clean + p) / 2
            js = ((clean * np.log(clean / m)).sum(1) + (p * np.log(p / m)).sum(1)) / 2
            a, b = clean_rows[layer], rows[layer]
            cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            result["probability_drop"][:, layer, head] = clean[picked] - p[picked]
            result["js_divergence"][:, layer, head] = js
            result["class_cosine"][:, layer, head] = 1 - cosine
    return result


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("demo/supervised", {}),
        ("vit_tiny_patch16_224", {"image_size": (48, 80)}),
        ("deit_tiny_distilled_patch16_224", {"image_size": 64}),  # two prefix rows are read
        ("eva02_tiny_patch14_336", {"image_size": 56}),  # no short cut: blocks run whole
    ],
)
def test_importance_equals_the_naive_loop(name, options):
    checkpoint = hs.load(name, pretrained=False, seed=0, **options)
    batch = torch.randn(2, 3, *checkpoint.preprocessing.size, generator=torch.manual_seed(0))
    target = torch.tensor([0, 3])
    ours, naive = (f(checkpoint, batch, target) for f in (scores_of, naive_scores))
    for metric, expected in naive.items():
        spread = expected.max() - expected.min()
        assert spread > 0, f"{metric} is constant: the comparison says nothing"
        # Two float32 runs that sum in another order: about 1e-6 of a probability of the size of 1.
        np.testing.assert_allclose(
            ours[metric], expected, rtol=1e-4, atol=max(1e-4 * np.abs(expected).max(), 1e-7)
        )


def test_the_order_of_sums_is_all_that_differs_from_the_naive_loop():
    """In float64 the difference shrinks with the precision: it is rounding, and no bug."""
    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, seed=0, image_size=48)
    checkpoint.model.double()
    batch = torch.randn(1, 3, 48, 48, generator=torch.manual_seed(0)).double()
    target = torch.tensor([5])
    ours, naive = (f(checkpoint, batch, target) for f in (scores_of, naive_scores))
    for metric, expected in naive.items():
        np.testing.assert_allclose(ours[metric], expected, rtol=1e-6, atol=1e-14)


def test_the_last_patches_count_where_the_output_reads_them():
    """Patch rows of the last layer: NaN for a class token, a number for pooling over patches."""
    for name, options, reads in (
        ("vit_tiny_patch16_224", {"image_size": 32}, False),
        ("vit_base_patch16_siglip_224", {"image_size": 32}, True),
    ):
        checkpoint = hs.load(name, pretrained=False, **options)
        batch = torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
        scores = scores_of(checkpoint, batch, torch.tensor([-1 if reads else 0]))
        blocks = [i for i, layer in enumerate(checkpoint.layers) if layer.kind == "global"]
        for metric in ("patch_cosine", "patch_l2", "all_l2"):
            assert np.isfinite(scores[metric][:, blocks[:-1]]).all()
            assert np.isfinite(scores[metric][:, blocks[-1]]).all() == (reads or metric == "all_l2")


def test_the_last_layer_counts_for_pooling_over_patches_too():
    """Average pooling reads patch rows: the last layer is not cut down to the prefix."""
    checkpoint = hs.load("vit_base_patch16_siglip_224", pretrained=False, image_size=32)
    batch = torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
    replay = Replay(checkpoint, batch)
    last = checkpoint.n_layers - 1
    heads = replay.heads(last).clone()
    heads[:, 2] = 0
    _, output = replay.resume(last, heads[None])
    with hs.ablate(checkpoint, [(last, 2)]):
        expected = checkpoint.run(batch)
    torch.testing.assert_close(output[0], expected)
    assert not torch.allclose(expected, replay.output)
