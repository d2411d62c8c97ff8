"""Heads removed together: the same outputs as whole forward passes, whatever the short cuts."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.importance import joint
from headscope.analysis.importance.joint import JointRun, joint_outputs
from headscope.analysis.importance.removal import Removal
from headscope.analysis.importance.values import values
from headscope.models.ablations import reference

from .teamwork import JOBS, contents, logit_without, probability_without, teamwork


def by_whole_passes(checkpoint, batch, sets):
    outputs = []
    for heads in sets:
        with hs.ablate(checkpoint, heads):
            outputs.append(checkpoint.run(batch))
    return torch.stack(outputs)


def some_sets(checkpoint):
    """The empty set, all heads, one layer, across layers, into the last layer, and at random."""
    last = checkpoint.n_layers - 1
    everything = [(layer, head) for layer, n in enumerate(checkpoint.n_heads) for head in range(n)]
    generator = np.random.default_rng(0)
    return [
        [],
        everything,
        [(1, 0), (1, 2)],
        [(2, 1), (5, 0)],
        [(5, 0), (2, 1)],  # the same set again
        [(3, 0), (last, 1)],
        [(last, 0), (last, 2)],
        *(
            [everything[i] for i in generator.choice(len(everything), size, replace=False)]
            for size in (2, 5, 12, 20)
        ),
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"image_size": 48}),  # the class token alone is read
        ("deit_tiny_distilled_patch16_224", {"image_size": 48}),
        ("vit_tiny_patch16_224", {"image_size": 48, "global_pool": "avg"}),
        ("eva02_tiny_patch14_336", {"image_size": 56}),  # blocks take more than hidden states
        ("vit_small_patch14_reg4_dinov2", {"image_size": 56}),  # features only
    ],
)
@pytest.mark.parametrize("at_once", [1, 10**9])
def test_joint_outputs_equal_whole_forward_passes(name, options, at_once, monkeypatch):
    pool = options.get("global_pool")
    size = {"image_size": options["image_size"]}
    checkpoint = hs.load(name, pretrained=False, seed=0, **size)
    if pool is not None:
        checkpoint.model.global_pool = pool
    checkpoint.model.double()
    monkeypatch.setattr(joint, "ELEMENTS_AT_ONCE", at_once)
    noise = torch.Generator().manual_seed(0)
    batch = torch.randn(2, 3, *checkpoint.preprocessing.size, generator=noise).double()
    sets = some_sets(checkpoint)
    expected = by_whole_passes(checkpoint, batch, sets)
    assert (expected[1:] - expected[0]).abs().amax((1, 2)).min() > 1e-6, "every set does something"
    found = joint_outputs(checkpoint, batch, sets)
    # float64: sums in another order differ by about 1e-15 of the outputs, which are below 10.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 10**9])
@pytest.mark.parametrize(
    "mode", ["mean", "resample", "noise", "uniform", "self", "patch-to-patch:renormalised", "keep"]
)
def test_every_ablation_removes_sets_as_whole_passes_do(mode, at_once, monkeypatch):
    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, seed=0, image_size=48)
    checkpoint.model.double()
    monkeypatch.setattr(joint, "ELEMENTS_AT_ONCE", at_once)
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(5, 3, *checkpoint.preprocessing.size, generator=noise).double()
    known, batch, sets = reference(checkpoint, images), images[:2], some_sets(checkpoint)
    expected = []
    for heads in sets:
        with hs.ablate(checkpoint, heads, mode=mode, reference=known):
            expected.append(checkpoint.run(batch))
    found = joint_outputs(checkpoint, batch, sets, mode=mode, reference=known)
    assert (found[3] - found[0]).abs().max() > 1e-6
    # float64: sums in another order differ by about 1e-15 of the outputs, which are below 10.
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-12)
    again = Removal(checkpoint, batch, value="logit", mode=mode, reference=known, batch_size=1)
    logits = found.gather(-1, found[0].argmax(-1).expand(len(sets), -1)[..., None])[..., 0]
    np.testing.assert_allclose(again(sets), logits.numpy(), rtol=0, atol=1e-12)


def test_an_ablation_that_says_nothing_gets_a_sentence(demo):
    batch = torch.zeros(1, 3, *demo.preprocessing.size)
    with pytest.raises(hs.HeadscopeError, match=r"reference=hs\.reference"):
        Removal(demo, batch, mode="mean")
    with pytest.raises(hs.HeadscopeError, match="no register token"):
        joint_outputs(demo, batch, [[(0, 0)]], mode="class-to-register")


def test_sets_share_the_layers_up_to_which_they_are_equal(small):
    batch = torch.randn(2, 3, *small.preprocessing.size, generator=torch.manual_seed(0))
    rows = []
    handles = [
        block.register_forward_hook(lambda _module, _args, output: rows.append(len(output)))
        for block in small.model.blocks
    ]
    joint_outputs(small, batch, [[(9, 0)], [(9, 0), (11, 1)], [(10, 2), (9, 1)], [(11, 0)]])
    for handle in handles:
        handle.remove()
    # Two images; at layer 9: all heads, without 0, without 1; and so on.
    assert rows == [2] * 9 + [2 * 3, 2 * 3, 2 * 4]


def test_a_block_that_takes_more_of_each_image_is_not_shared(monkeypatch):
    """With 16 images the rotary embedding of 16 patches cannot be told from a row an image."""
    checkpoint = hs.load("eva02_tiny_patch14_336", pretrained=False, seed=0, image_size=56)
    checkpoint.model.double()
    batch = torch.randn(16, 3, 56, 56, generator=torch.manual_seed(0)).double()
    sets = [[(3, 0)], [(3, 0), (7, 1)], [(5, 2)]]
    monkeypatch.setattr(joint, "ELEMENTS_AT_ONCE", 10**9)
    expected, rows = by_whole_passes(checkpoint, batch, sets), []
    first = checkpoint.model.blocks[0]
    handle = first.register_forward_hook(lambda _module, _args, output: rows.append(len(output)))
    found = joint_outputs(checkpoint, batch, sets)
    handle.remove()
    assert rows == [16, 48], "the shared pass was given up for one of the images three times"
    # float64: sums in another order
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in checkpoint.model.modules())


def test_nothing_is_left_behind_when_a_layer_raises(small, monkeypatch):
    batch = torch.randn(1, 3, *small.preprocessing.size, generator=torch.manual_seed(0))
    before = small.run(batch)

    def fail(_hidden):
        raise ArithmeticError

    with monkeypatch.context() as patched:
        patched.setattr(small.model.blocks[6].mlp, "forward", fail)
        with pytest.raises(ArithmeticError):
            joint_outputs(small, batch, [[(3, 0)], [(4, 1), (8, 0)]])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.model.modules())
    assert torch.equal(small.run(batch), before)
    assert small.lock.acquire(blocking=False)
    small.lock.release()


def test_a_run_answers_again_and_again_and_leaves_nothing(demo):
    batch = torch.randn(2, 3, *demo.preprocessing.size, generator=torch.manual_seed(0))
    before, run = demo.run(batch), JointRun(demo, batch)
    sets = [[(0, 1), (3, 0)], [(2, 1), (demo.n_layers - 1, 2)]]
    first = run.outputs(sets)
    assert torch.equal(run.outputs(sets[::-1]).flip(0), first)
    assert run.outputs([]).shape == (0, *before.shape)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in demo.model.modules())
    assert torch.equal(demo.run(batch), before)
    # Two float32 runs that sum in another order, of logits of about 10.
    torch.testing.assert_close(first, by_whole_passes(demo, batch, sets), rtol=0, atol=1e-4)


def test_the_lock_is_free_after_a_head_that_is_not_there(demo):
    batch = torch.zeros(1, 3, *demo.preprocessing.size)
    with pytest.raises(hs.HeadscopeError, match="no layer 99"):
        joint_outputs(demo, batch, [[(0, 0)], [(0, 1), (99, 0)]])
    with pytest.raises(hs.HeadscopeError, match="no ablation 'frozen'"):
        joint_outputs(demo, batch, [[(0, 0)]], mode="frozen")
    assert demo.lock.acquire(blocking=False)
    demo.lock.release()


@pytest.fixture(scope="module")
def team():
    return teamwork()


@pytest.fixture(scope="module")
def batch(team, known_crops):
    return team.batch(team.prepare(known_crops))


REMOVED = [[], [(0, 0)], [(0, 0), (1, 0)], [(0, 1), (1, 1)], [(0, 3), (1, 2)], list(JOBS)]


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_values_have_their_closed_forms(team, batch, batch_size):
    m = contents(batch)
    assert m.std() > 1e-3, "images differ"
    logits = np.stack([logit_without(heads, m) for heads in REMOVED])
    expected = {
        "probability": np.stack([probability_without(heads, m) for heads in REMOVED]),
        "accuracy": (logits > 3).astype(float),
        "logit": logits,
        "margin": logits - 3,
    }
    assert set(expected) == set(values(team))
    assert 0 < expected["accuracy"].mean() < 1
    for name, of_name in expected.items():
        removal = Removal(team, batch, value=name, target="held", batch_size=batch_size)
        np.testing.assert_allclose(removal(REMOVED), of_name, rtol=0, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(removal.clean, removal([[]])[0])


def test_targets_are_each_images_own_prediction_unless_given(team, batch):
    p = probability_without([], contents(batch))
    np.testing.assert_allclose(Removal(team, batch).clean, np.maximum(p, 1 - p), atol=1e-12)
    removal = Removal(team, batch, target=["lost", "held", 1], batch_size=2)
    np.testing.assert_allclose(removal.clean, [1 - p[0], p[1], 1 - p[2]], atol=1e-12)


def test_models_without_classes_are_compared_by_their_features():
    checkpoint = hs.load("vit_small_patch14_reg4_dinov2", pretrained=False, image_size=56)
    batch = torch.randn(2, 3, 56, 56, generator=torch.manual_seed(0))
    removal = Removal(checkpoint, batch, value="feature_similarity")
    np.testing.assert_allclose(removal.clean, 1, atol=1e-12)
    assert (removal([[(0, 0), (6, 1)]]) < 1 - 1e-9).all()
    with pytest.raises(hs.HeadscopeError, match="there are: feature_similarity"):
        Removal(checkpoint, batch)
    with pytest.raises(hs.HeadscopeError, match="computes features only"):
        Removal(checkpoint, batch, value="feature_similarity", target=0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"value": "f1"}, "no value 'f1'"),
        ({"target": [0, 1]}, "2 targets for 3 images"),
        ({"target": "cat"}, "no class 'cat'"),
        ({"mode": "frozen"}, "no ablation"),
    ],
)
def test_what_is_not_there_gets_a_sentence(team, batch, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        Removal(team, batch, **options)
