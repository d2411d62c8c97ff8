"""The one-backward estimate: closed forms, finite differences, completeness, nothing left."""

import math

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance import head_importance, importance_metrics
from headscope.analysis.importance.estimate import check, estimate_importance
from headscope.models.replay import Replay

UNIFORM, SINK, SILENT = 2, 3, 4


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def parts_of_logit(crops):
    """What each head adds to the logit of class 0: `image layer head`."""
    content = crops.reshape(len(crops), 4, 8, 4, 8, 3).mean((2, 4, 5)) / 255
    parts = np.zeros((len(crops), 2, 5))
    parts[:, 0, UNIFORM] = 2 * content.sum((1, 2)) / 17
    parts[:, 0, SINK] = -0.5 * content[:, 1, 1]
    return parts


# The crops pass through float32 pixels: 1e-7 of values of about 1.
ATOL = 2e-7


def test_the_first_order_is_exact_for_a_logit_that_is_linear_in_the_heads(known, known_crops):
    estimate = estimate_importance(known, known.prepare(known_crops), 0, objective="logit")
    np.testing.assert_allclose(estimate.scores, parts_of_logit(known_crops), atol=ATOL)
    assert (estimate.scores[:, 0, UNIFORM] > 0.1).all(), "it speaks for the class …"
    assert (estimate.scores[:, 0, SINK] < -0.1).all(), "… and this one against it"


def test_the_first_order_of_a_probability_has_its_closed_form(known, known_crops):
    parts = parts_of_logit(known_crops)
    p = np.array([sigmoid(x) for x in parts.sum((1, 2))])
    estimate = estimate_importance(known, known.prepare(known_crops), "bright")
    slope = (p * (1 - p))[:, None, None]
    np.testing.assert_allclose(estimate.scores, slope * parts, atol=ATOL)
    np.testing.assert_allclose(estimate.value, p, atol=ATOL)
    assert np.isnan(estimate.residual).all(), "a derivative sums to nothing in particular"


def test_the_integral_has_its_closed_form(known, known_crops):
    parts = parts_of_logit(known_crops)
    whole = parts.sum((1, 2))
    expected = parts * ([sigmoid(x) - 0.5 for x in whole] / whole)[:, None, None]
    estimate = estimate_importance(known, known.prepare(known_crops), 0, steps=8)
    # Eight points of Gauss integrate polynomials up to degree 15 exactly, and σ is smooth.
    np.testing.assert_allclose(estimate.scores, expected, atol=ATOL)


@pytest.mark.parametrize("objective", ["probability", "logit", "feature_norm"])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_head_whose_projection_is_zero_scores_exactly_zero(known, known_crops, objective, steps):
    batch = known.prepare(known_crops)
    scores = estimate_importance(known, batch, 0, objective=objective, steps=steps).scores
    assert (scores[:, 0, SILENT] == 0).all()
    assert (scores[:, 1] == 0).all()


@pytest.fixture(scope="module")
def double():
    """A small random ViT in float64: differences of values are no noise."""
    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, seed=1, image_size=48)
    checkpoint.model.double()
    # Weights as timm draws them hardly look at the image; these do.
    for block in checkpoint.family.blocks(checkpoint.model):
        for layer in (block.get_submodule("attn.qkv"), block.get_submodule("attn.proj")):
            layer.get_parameter("weight").mul_(4)
    return checkpoint


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 48, 48, generator=torch.manual_seed(0)).double()


def scaled_value(checkpoint, batch, target, layer, head, scale):
    """Logit of the target with one head's columns of the projection's input scaled: by a hook."""
    attention = checkpoint.model.blocks[layer].attn
    columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)

    def change(_module, args):
        joined = args[0].clone()
        joined[..., columns] *= scale
        return (joined,)

    handle = attention.proj.register_forward_pre_hook(change)
    value = checkpoint.run(batch)[:, target].numpy()
    handle.remove()
    return value


def test_the_estimate_is_the_derivative_by_finite_differences(double, images):
    scores = estimate_importance(double, images, 7, objective="logit").scores
    assert scores.shape == (2, 12, 3)
    for layer, head in [(0, 0), (5, 2), (11, 1)]:
        up, down = (scaled_value(double, images, 7, layer, head, 1 + e) for e in (1e-4, -1e-4))
        # Central differences: 1e-8 of the third derivative, 1e-12 of rounding.
        np.testing.assert_allclose(scores[:, layer, head], (up - down) / 2e-4, rtol=1e-5)


def test_the_residual_is_what_the_integral_leaves_over_and_shrinks(double, images):
    residuals = []
    for steps in (2, 8, 32):
        estimate = estimate_importance(double, images, 7, objective="logit", steps=steps)
        heads = [(layer, head) for layer in range(12) for head in range(3)]
        with hs.ablate(double, heads):
            none = double.run(images)[:, 7].numpy()
        total = estimate.value - none
        np.testing.assert_allclose(estimate.scores.sum((1, 2)) + estimate.residual, total)
        residuals.append(np.abs(estimate.residual / total).max())
    assert residuals[2] < 0.01, "complete to 1 %"
    assert residuals[2] < residuals[1] < residuals[0]


def test_images_do_not_mix(double, images):
    together = estimate_importance(double, images, torch.tensor([1, 2])).scores
    apart = [estimate_importance(double, images[i : i + 1], i + 1).scores[0] for i in range(2)]
    np.testing.assert_allclose(together, apart, rtol=1e-9)


def test_the_estimate_ranks_heads_as_the_exact_scores_do(demo):
    batch = torch.randn(2, 3, 96, 96, generator=torch.manual_seed(0))
    target = demo.run(batch).argmax(-1)
    metric = importance_metrics(demo)["probability_drop"]
    layers = head_importance(Replay(demo, batch), target, "zero", [metric])
    exact = np.stack([scores["probability_drop"].numpy() for _, scores in layers], 1)
    found = check(estimate_importance(demo, batch, steps=8), exact)
    assert np.ptp(exact) > 0.01, "there is something to rank"
    assert found.spearman_of_means > 0.5  # an estimate: it agrees, and says how far
    assert found.spearman.shape == found.kendall.shape == (2,)
    assert "Spearman" in found.describe()
    sample = check(estimate_importance(demo, batch, steps=8), exact[1:], images=[1])
    assert sample.spearman[0] == pytest.approx(found.spearman[1])


def test_a_score_that_is_its_own_estimate_has_correlation_one(double, images):
    estimate = estimate_importance(double, images)
    found = check(estimate, estimate.scores)
    np.testing.assert_allclose([*found.spearman, *found.kendall], 1)
    assert found.largest_difference == 0
    with pytest.raises(hs.HeadscopeError, match="name the images"):
        check(estimate, estimate.scores[:1])
    with pytest.raises(hs.HeadscopeError, match="no rank"):
        check(estimate, np.zeros_like(estimate.scores))


def test_models_without_classes_are_estimated_by_their_features():
    model = hs.load("vit_small_patch14_reg4_dinov2", pretrained=False, image_size=56)
    batch = torch.randn(1, 3, 56, 56, generator=torch.manual_seed(0))
    assert estimate_importance(model, batch).objective == "feature_norm"
    cosine = estimate_importance(model, batch, objective="feature_cosine", steps=8)
    assert np.abs(cosine.scores).max() > 1e-4
    assert abs(cosine.residual[0]) < 0.2 * abs(cosine.scores.sum())
    with pytest.raises(hs.HeadscopeError, match="take steps"):
        estimate_importance(model, batch, objective="feature_cosine")
    with pytest.raises(hs.HeadscopeError, match="has no classes"):
        estimate_importance(model, batch, 0, objective="logit")


def test_any_function_of_the_output_can_be_the_value(double, images):
    def margin(output):
        return output[:, 3] - output[:, 4]

    estimate = estimate_importance(double, images, objective=margin)
    a, b = (estimate_importance(double, images, i, objective="logit").scores for i in (3, 4))
    np.testing.assert_allclose(estimate.scores, a - b, atol=1e-12)
    assert estimate.objective == "margin"


def state(checkpoint):
    """All that a run could leave behind."""
    return [
        (
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            [(p.requires_grad, p.grad) for p in module.parameters(recurse=False)],
            module.training,
        )
        for module in checkpoint.model.modules()
    ]


def fine(checkpoint, batch):
    estimate_importance(checkpoint, batch, steps=2)


def bad_target(checkpoint, batch):
    with pytest.raises(hs.HeadscopeError, match="no class"):
        estimate_importance(checkpoint, batch, 12345)


def layer_raises(checkpoint, batch):
    def fail(*_):
        raise ZeroDivisionError

    handle = checkpoint.model.blocks[3].mlp.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        estimate_importance(checkpoint, batch)
    handle.remove()


@pytest.mark.parametrize("mode", [fine, bad_target, layer_raises])
def test_nothing_is_left_behind(small, mode):
    batch = torch.randn(1, 3, 48, 80, generator=torch.manual_seed(0))
    before, output = state(small), small.run(batch)
    mode(small, batch)
    assert state(small) == before
    assert torch.equal(small.run(batch), output)
    assert torch.is_grad_enabled()
    assert small.lock.acquire(blocking=False), "the lock is free"
    small.lock.release()


def test_weights_that_train_get_no_gradient(double, images):
    weight = double.model.blocks[0].attn.proj.weight.requires_grad_()
    try:
        estimate_importance(double, images)
        assert weight.grad is None
    finally:
        weight.requires_grad_(requires_grad=False)


@torch.inference_mode()
def test_it_runs_for_a_caller_in_inference_mode(small):
    batch = torch.randn(1, 3, 48, 80)
    assert np.ptp(estimate_importance(small, batch).scores) > 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": -1}, "-1 steps"),
        ({"objective": "loss"}, "no objective 'loss'"),
        ({"target": torch.tensor([1, 2])}, "not one class for each of 1 images"),
        ({"target": torch.tensor([1000])}, "expected indices 0 to 999"),
        ({"target": "unicorn"}, "no class"),
    ],
)
def test_what_cannot_be_estimated_gets_a_sentence(small, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        estimate_importance(small, torch.zeros(1, 3, 48, 80), **options)
