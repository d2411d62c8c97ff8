"""Sinks removed and redistributed: naive replicas in float64, identities, every family."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.models.ablations import ablation
from headscope.models.capture import capture
from headscope.models.replay import Replay
from headscope.models.samples import sample_image
from headscope.models.sinks import LEAST_LIFT, KeyAttention

GRID, N_TOKENS, SINK = 4, 17, 1 + 5
SELF, LEFT, UNIFORM, ROW, CLASS, FIXED = range(6)


def planted(sink=SINK, mass=0.6):
    """A map that gives `mass` to one token and the rest to others unalike."""
    generator = np.random.default_rng(3)
    others = generator.uniform(0.5, 1.5, (N_TOKENS, N_TOKENS))
    others[:, sink] = 0
    maps = (1 - mass) * others / others.sum(1, keepdims=True)
    maps[:, sink] = mass
    return maps


def softmax(scores):
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def naive_masked(weights, sinks):
    """−∞ before the softmax, whose scores are ln A but for a constant of the row."""
    scores = np.log(weights)
    scores[:, sinks] = -np.inf
    return softmax(scores)


def naive_redistributed(weights, sinks, patches, p):
    """Kang et al. (2025), section 5, key by key."""
    after = weights.copy()
    for i in range(len(weights)):
        budget = 0.0
        for j in sinks:
            budget += (1 - p) * weights[i, j]
            after[i, j] = p * weights[i, j]
        others = [j for j in patches if j not in sinks]
        mass = sum(weights[i, j] for j in others)
        for j in others:
            after[i, j] = weights[i, j] + budget * weights[i, j] / mass
    return after


@pytest.fixture(scope="module")
def attention(of_maps, known_crops):
    """Heads: one planted sink, two (class and a patch), none."""
    two = 0.5 * planted(0, 0.8) + 0.5 * planted(SINK, 0.8)
    checkpoint = of_maps([planted(), two, np.full((N_TOKENS, N_TOKENS), 1 / N_TOKENS)])
    return next(capture(checkpoint, checkpoint.prepare(known_crops)))


# Sums of 17 numbers of float64, some of them logarithms and back.
CLOSED = {"rtol": 1e-11, "atol": 1e-13}


def after(attention, name, head):
    """A′ of a head, and its output."""
    made = ablation(name)
    edited = made.window_weights(attention, [head], attention.window_weights[:, :, [head]])
    return edited[:, 0, 0].numpy(), made.apply(attention, [head])[:, head].numpy()


@pytest.mark.parametrize(
    ("head", "name", "sinks"),
    [
        (0, "sinks:masked", [SINK]),
        (1, "sinks:masked", [0, SINK]),
        (1, "sinks>5:masked", [0, SINK]),
        (0, "sinks[3+4]:masked", [3, 4]),
    ],
)
def test_masking_is_minus_infinity_before_the_softmax(attention, head, name, sinks):
    weights, output = after(attention, name, head)
    for image in range(3):
        expected = naive_masked(attention.weights[image, head].numpy(), sinks)
        np.testing.assert_allclose(weights[image], expected, **CLOSED)
        np.testing.assert_allclose(
            output[image], expected @ attention.value[image, head].numpy(), **CLOSED
        )
    assert (weights[..., sinks] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, **CLOSED)


@pytest.mark.parametrize(
    ("head", "name", "sinks", "p"),
    [
        (0, "sinks:redistributed", [SINK], 0.6),
        (1, "sinks:redistributed@0.25", [0, SINK], 0.25),
        (1, "sinks>5:redistributed@0", [0, SINK], 0),
        (0, "sinks[0]:redistributed@0.5", [0], 0.5),
    ],
)
def test_redistribution_is_that_of_the_paper(attention, head, name, sinks, p):
    weights, output = after(attention, name, head)
    for image in range(3):
        clean = attention.weights[image, head].numpy()
        expected = naive_redistributed(clean, sinks, range(1, N_TOKENS), p)
        np.testing.assert_allclose(weights[image], expected, **CLOSED)
        np.testing.assert_allclose(
            output[image], expected @ attention.value[image, head].numpy(), **CLOSED
        )
        if 0 not in sinks:
            assert np.array_equal(weights[image, :, 0], clean[:, 0]), "the class token keeps its"
    np.testing.assert_allclose(weights.sum(-1), 1, **CLOSED)


@pytest.mark.parametrize(
    "name", ["sinks:masked", "sinks:redistributed", "sinks>4:masked", "sinks>16.9:redistributed@0"]
)
def test_without_a_sink_nothing_moves_by_a_bit(six, known_crops, name):
    attention = next(capture(six, six.prepare(known_crops)))
    heads = [SELF, LEFT, UNIFORM, ROW]
    assert torch.equal(ablation(name).apply(attention, heads), attention.head_output)
    found = KeyAttention.of(attention).sinks()
    assert not found[:, heads].any()
    assert found[:, CLASS].nonzero()[:, 1].tolist() == [0, 0, 0]
    assert found[:, FIXED].nonzero()[:, 1].tolist() == [SINK] * 3


def test_all_that_stays_is_what_was(attention):
    for head in range(3):
        weights, output = after(attention, "sinks:redistributed@1", head)
        assert np.array_equal(weights, attention.weights[:, head].numpy())
        assert np.array_equal(output, attention.head_output[:, head].numpy())


def test_rows_with_nothing_else_still_sum_to_one(of_maps, known_crops):
    alone = np.zeros((N_TOKENS, N_TOKENS))
    alone[:, 0] = 1
    checkpoint = of_maps([alone, alone])
    checkpoint.model.float()  # where e⁻⁸⁰ is a number yet
    attention = next(capture(checkpoint, checkpoint.prepare(known_crops)))
    weights, _ = after(attention, "sinks:masked", 0)
    # float32: a share of 1/16 out of numbers of 1e-35
    np.testing.assert_allclose(weights[..., 1:], 1 / 16, rtol=1e-4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)


def test_a_lift_that_nothing_has_changes_nothing_and_any_lift_is_read(attention):
    lift = KeyAttention.of(attention).lift
    assert lift.max() > 2 * LEAST_LIFT
    above = f"sinks>{float(lift.max()) + 0.1:.3f}:masked"
    assert torch.equal(ablation(above).apply(attention, [0, 1, 2]), attention.head_output)


@pytest.mark.parametrize(
    "name",
    [
        *("sinks", "sinks:", "sinks:cut", "sinks>8", "sinks>:masked", "sinks>-1:masked"),
        *("sinks[]:masked", "sinks[a]:masked", "sinks:masked@0.5", "sinks:redistributed@1.5"),
    ],
)
def test_names_that_are_none_are_refused(name):
    with pytest.raises(hs.HeadscopeError, match="no ablation"):
        ablation(name)


def test_a_layer_that_it_says_nothing_about_is_told(six):
    with (
        pytest.raises(hs.HeadscopeError, match=r"17 keys, and no key 40"),
        hs.ablate(six, [(0, 0)], mode="sinks[40]:masked"),
    ):
        pass
    cait = hs.load("cait_xxs24_224", pretrained=False, image_size=64)
    with (
        pytest.raises(hs.HeadscopeError, match="too few queries"),
        hs.ablate(cait, [(cait.n_layers - 1, 0)], mode="sinks:masked"),
    ):
        pass


FAMILIES = {
    "vit_tiny_patch16_224": 48,
    "swin_tiny_patch4_window7_224": 112,
    "vit_small_patch14_reg4_dinov2": 56,
    "vit_base_patch16_siglip_224": 48,
    "crossvit_tiny_240": 240,
    "cait_xxs24_224": 48,
    "vit_tiny_r_s16_p8_224": 64,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_named_keys_are_removed_in_every_family(name):
    """Against the naive way: dense maps, the column dropped, rows scaled to what they had."""
    checkpoint = hs.load(name, pretrained=False, seed=2, image_size=FAMILIES[name])
    size = checkpoint.preprocessing.size
    batch = torch.randn(2, 3, *size, generator=torch.manual_seed(0))
    replay, made, seen = Replay(checkpoint, batch), ablation("sinks[1+3]:masked"), 0
    for layer in {0, 1, checkpoint.n_layers // 2}:
        attention = replay.attention(layer)
        if made.why_not(attention.queries, attention.keys):
            continue
        dense = attention.mixed_weights[:, 0].double()
        kept = dense.clone()
        kept[..., [1, 3]] = 0
        removed = dense[..., [1, 3]].sum(-1, keepdim=True)
        # Rows of talking heads sum to anything and have two signs: in proportion to the size.
        expected = kept + removed * kept.abs() / kept.abs().sum(-1, keepdim=True)
        change = (expected - dense) @ attention.value[:, 0].double()
        given = made.apply(attention, [0])[:, 0] - attention.head_output[:, 0]
        assert change.abs().max() > 1e-4, "something is removed"
        # float32 outputs of order 1: eps 1.2e-7, a few operations each
        torch.testing.assert_close(given.double(), change, rtol=1e-3, atol=3e-6)
        seen += 1
    assert seen


def test_a_pass_is_changed_only_while_the_context_lasts(demo):
    batch = demo.prepare(
        np.stack([demo.crop(sample_image(name)) for name in list(hs.sample_images())[:2]])
    )
    before, handles = demo.run(batch), sum(len(m._forward_hooks) for m in demo.model.modules())
    heads = [(layer, head) for layer, n in enumerate(demo.n_heads) for head in range(n)]
    with hs.ablate(demo, heads, mode="sinks[0]:masked"):
        assert not torch.equal(demo.run(batch), before)
    assert torch.equal(demo.run(batch), before)
    assert sum(len(m._forward_hooks) for m in demo.model.modules()) == handles
