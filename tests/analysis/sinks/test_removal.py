"""With and without sinks: metrics of A′ in the changed network, predictions, errors."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.metrics import attention_metrics
from headscope.analysis.sinks.removal import edited_attention, without_sinks
from headscope.models.ablation import ablate
from headscope.models.ablations import ablation
from headscope.models.capture import capture

N_TOKENS, SINK, MASS = 17, 1 + 5, 0.6
UNIFORM = np.full((N_TOKENS, N_TOKENS), 1 / N_TOKENS)


def planted(mass=MASS):
    maps = np.full((N_TOKENS, N_TOKENS), (1 - mass) / (N_TOKENS - 1))
    maps[:, SINK] = mass
    return maps


def entropy(row):
    row = row[row > 0]
    return -(row * np.log(row)).sum()


def test_metrics_are_those_of_the_edited_maps(of_maps, known_crops):
    checkpoint = of_maps([planted(), UNIFORM])
    batch = checkpoint.prepare(known_crops)
    found = without_sinks(checkpoint, batch, maps=[(1, 0), (0, 1)], batch_size=2)
    assert found.heads == ((0, 0), (0, 1), (1, 0), (1, 1))
    score, spread = found.metrics["sink_score"], found.metrics["entropy"]
    # float64 through exp and ln of numbers of order 1
    np.testing.assert_allclose(score.before[..., 0], MASS, rtol=1e-11)
    np.testing.assert_allclose(score.after[..., 0], 1 / 16, rtol=1e-11)
    np.testing.assert_allclose(spread.before[..., 0], entropy(planted()[0]), rtol=1e-11)
    np.testing.assert_allclose(spread.after[..., 0], np.log(16), rtol=1e-11)
    assert np.array_equal(score.before[..., 1], score.after[..., 1])
    expected = np.full((N_TOKENS, N_TOKENS), 1 / 16)
    expected[:, SINK] = 0
    np.testing.assert_allclose(found.maps[1, 0].after, np.stack([expected] * 3), atol=1e-12)
    np.testing.assert_allclose(found.maps[1, 0].before, np.stack([planted()] * 3), atol=1e-12)
    assert np.array_equal(found.maps[0, 1].change, np.zeros((3, N_TOKENS, N_TOKENS)))


def test_redistribution_gives_to_patches_only(of_maps, known_crops):
    checkpoint = of_maps([planted(), UNIFORM])
    batch = checkpoint.prepare(known_crops)
    found = without_sinks(
        checkpoint, batch, how="sinks:redistributed@0.5", heads=[(0, 0)], maps=[(0, 0), (1, 0)]
    )
    after = found.maps[0, 0].after
    other = (1 - MASS) / 16
    np.testing.assert_allclose(after[..., SINK], MASS / 2, rtol=1e-11)
    np.testing.assert_allclose(after[..., 0], other, rtol=1e-11)
    np.testing.assert_allclose(after[..., 1], other + MASS / 2 / 15, rtol=1e-11)
    assert np.array_equal(found.maps[1, 0].change, np.zeros_like(after)), "another layer's head"


@pytest.mark.parametrize("how", ["sinks:masked", "sinks>5:redistributed"])
def test_views_of_a_pass_fit_its_head_outputs(demo, how):
    """In the pass that `ablate` runs, A′ v of the view is the head output that went on."""
    from headscope.models.demo.scenes import scene

    batch = demo.prepare(np.stack([scene(i).image for i in range(3)]))
    heads = [(4, 0), (4, 2), (5, 1)]
    edit, changed = ablation(how), 0.0
    with ablate(demo, heads, mode=how):
        for layer in capture(demo, batch):
            own = [head for at, head in heads if at == layer.layer]
            (view,) = edited_attention(layer, edit, own)
            output = view.weights @ view.value
            # float32 of order 1, sums over 145 keys
            torch.testing.assert_close(output, view.head_output, rtol=1e-4, atol=2e-5)
            torch.testing.assert_close(
                view.weights.sum(-1), torch.ones_like(view.weights[..., 0]), rtol=0, atol=1e-5
            )
            changed = max(changed, float((view.weights - layer.weights).abs().max()))
    assert changed > 0.05


@pytest.mark.parametrize(
    ("name", "size"), [("swin_tiny_patch4_window7_224", 112), ("crossvit_tiny_240", 240)]
)
def test_views_keep_windows_and_branches(name, size):
    checkpoint = hs.load(name, pretrained=False, seed=3, image_size=size)
    batch = torch.randn(1, 3, size, size, generator=torch.manual_seed(0))
    edit, seen = ablation("sinks[2]:masked"), 0
    for layer in capture(checkpoint, batch):
        if layer.layer > 4 or edit.why_not(layer.queries, layer.keys):
            continue
        (view,) = edited_attention(layer, edit, [0])
        assert (view.weights[:, 0, :, 2] == 0).all()
        assert torch.equal(view.weights[:, 1:], layer.weights[:, 1:])
        torch.testing.assert_close(
            view.weights.sum(-1), torch.ones_like(view.weights[..., 0]), rtol=0, atol=1e-5
        )
        for metric in attention_metrics().values():
            metric.compute(view)
        seen += 1
    assert seen


def test_predictions_beside_each_other(demo):
    from headscope.models.demo.scenes import scene

    crops = np.stack([scene(i).image for i in range(4)])
    batch = demo.prepare(crops)
    found = without_sinks(demo, batch, metrics=())
    np.testing.assert_allclose(found.probabilities.before, demo.probabilities(batch), rtol=1e-4)
    with ablate(demo, found.heads, mode="sinks:masked"):
        expected = demo.run(batch).double().numpy()
    assert np.array_equal(found.output.after, expected)
    assert np.abs(found.probabilities.change).max() > 1e-3
    assert found.prediction.before.shape == (4,)
    centric = without_sinks(demo, batch, metrics=(), heads="image-centric")
    assert 0 < len(centric.heads) < len(found.heads)


def test_layers_in_which_no_sink_can_be_told_are_left(known_crops):
    cait = hs.load("cait_xxs24_224", pretrained=False, image_size=48)
    batch = torch.randn(1, 3, 48, 48, generator=torch.manual_seed(0))
    found = without_sinks(cait, batch, metrics=("sink_score",))
    assert max(layer for layer, _ in found.heads) == 23, "class attention has one query"


def test_what_is_not_there_is_told(six, known_crops):
    batch = six.prepare(known_crops)
    with pytest.raises(hs.HeadscopeError, match="not about sinks"):
        without_sinks(six, batch, how="zero")
    with pytest.raises(hs.HeadscopeError, match="no attention metric 'cat'"):
        without_sinks(six, batch, metrics=("cat",))
    with pytest.raises(hs.HeadscopeError, match="no layer 7"):
        without_sinks(six, batch, maps=[(7, 0)])
    with pytest.raises(hs.HeadscopeError, match="no heads called"):
        without_sinks(six, batch, heads="all")


def test_a_study_measures_what_sinks_are_worth(of_maps, known_crops):
    checkpoint = of_maps([planted(), UNIFORM])
    with torch.no_grad():  # what the first head says counts for class 0
        dim = checkpoint.model.embed_dim
        checkpoint.model.blocks[0].attn.proj.weight[dim - 1, 0] = 1
        checkpoint.model.blocks[0].attn.proj.weight[dim - 1, N_TOKENS] = 1
        checkpoint.model.head.weight[0, dim - 1] = 3
    images = [hs.Photograph(f"{i}", crop, f"{i}", None, ()) for i, crop in enumerate(known_crops)]
    names = ["sinks:masked", "sinks:redistributed", "sinks[0]:masked"]
    study = hs.analyze(checkpoint, images, target=0, ablations=names, metrics=["logit_drop"])
    assert study.data["ablation"].values.tolist() == names
    drop = study.data["logit_drop"].values[:, :, 0]
    content = known_crops.reshape(3, 4, 8, 4, 8, 3).mean((2, 4, 5)).reshape(3, 16) / 255
    values = np.concatenate([np.zeros((3, 1)), content], axis=1)
    clean = values @ planted()[0]
    masked = np.delete(values, SINK, axis=1).mean(1)
    # pixels pass through float32
    np.testing.assert_allclose(drop[:, 0, 0], 3 * (clean - masked), atol=1e-6)
    assert (np.abs(drop[:, :2, 1]) == 0).all(), "the uniform head has no sink"
    assert np.abs(drop[:, 2, 1]).min() > 1e-3, "but it has a class token"


def test_images_may_come_one_by_one(six, known_crops):
    photographs = [hs.read_image(crop, name=f"image {i}") for i, crop in enumerate(known_crops)]
    found = without_sinks(six, (each for each in photographs), heads="image-centric")
    expected = without_sinks(six, photographs, heads="image-centric")
    np.testing.assert_array_equal(found.output.before, expected.output.before)
