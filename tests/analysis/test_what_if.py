"""What if heads were switched off: against `ablate` by hand, naive replicas and closed forms."""

import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch

import headscope as hs
from headscope import HeadscopeError
from headscope.analysis.what_if import what_if, what_if_over
from headscope.models.ablations import ablation

module: Any = sys.modules[what_if.__module__]
HEADS = ((3, 1), (4, 0))


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    from headscope.models.demo import scenes

    return np.stack([scenes.scene(seed).image for seed in range(5)])


@pytest.fixture(scope="module")
def statistics(demo: hs.Checkpoint, crops: np.ndarray) -> hs.HeadStatistics:
    return hs.reference(demo, demo.prepare(crops))


def maps_by_hand(
    checkpoint: hs.Checkpoint, batch: torch.Tensor, heads: Any, **how: Any
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Output and dense maps of each layer, read under `ablate`, in float64."""
    maps: list[np.ndarray] = []
    with hs.ablate(checkpoint, heads, **how):
        output = checkpoint.run(batch).double().numpy()
        for layer in hs.capture(checkpoint, batch):
            maps.append(layer.weights[0].double().numpy())  # noqa: PERF401 (one layer at a time)
    return output, maps


@pytest.mark.parametrize("mode", ["zero", "mean", "resample", "noise", "keep"])
def test_numbers_are_those_of_ablate_by_hand(
    demo: hs.Checkpoint, crops: np.ndarray, statistics: hs.HeadStatistics, mode: str
) -> None:
    batch = demo.prepare(crops[:1])
    found = what_if(demo, batch, HEADS, mode=mode, reference=statistics)
    clean = demo.run(batch).double().numpy()
    output, after = maps_by_hand(demo, batch, HEADS, mode=mode, reference=statistics)
    # The same passes on the same numbers: equal to the bit.
    np.testing.assert_array_equal(found.output.raw.before, clean)
    np.testing.assert_array_equal(found.output.raw.after, output)
    assert not np.array_equal(clean, output)
    before = [layer.weights[0].double().numpy() for layer in hs.capture(demo, batch)]
    for layer in range(demo.n_layers):
        # float32 sums against float64 ones: 145 keys of eps 6e-8
        np.testing.assert_allclose(found.rows[layer].after, after[layer].mean(1), atol=1e-5)
        moved = 0.5 * np.abs(after[layer] - before[layer]).sum(-1).mean(-1)
        moved[found.unused[layer]] = np.nan
        np.testing.assert_allclose(found.moved[layer], moved, atol=1e-5)
    assert found.moved[5].max() > 0.05, "or nothing moved"
    kept = {head for layer, head in HEADS if layer == 3}
    assert found.unused[3, 1] != (mode == "keep")
    assert found.unused[3].sum() == (4 - len(kept) if mode == "keep" else 1)


def test_layers_before_the_first_change_do_not_move(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    found = what_if(demo, demo.prepare(crops[:1]), [(3, 1)])
    assert (found.moved[:3] == 0).all()
    assert (found.moved[4:] > 0).all()


def test_rows_of_a_query(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    batch = demo.prepare(crops[:1])
    queries = [0, 7, None, 3, 100, 0]
    found = what_if(demo, batch, [(1, 1)], queries=queries)
    _, after = maps_by_hand(demo, batch, [(1, 1)])
    for layer, query in enumerate(queries):
        expected = after[layer].mean(1) if query is None else after[layer][:, query]
        np.testing.assert_allclose(found.rows[layer].after, expected, atol=1e-5)  # float32 sums


@pytest.mark.parametrize(
    ("mode", "edit"),
    [
        ("uniform", lambda a: np.full_like(a, 1 / a.shape[-1])),
        ("self", lambda a: np.eye(a.shape[-1])),
        ("class-to-patch", lambda a: _cut(a, renormalised=False)),
        ("class-to-patch:renormalised", lambda a: _cut(a, renormalised=True)),
        ("sinks[0+5]:masked", lambda a: _masked(a, [0, 5])),
    ],
)
def test_a_head_whose_attention_is_changed_shows_what_it_is_instead(
    demo: hs.Checkpoint, crops: np.ndarray, mode: str, edit: Any
) -> None:
    batch = demo.prepare(crops[:1])
    clean = [layer.weights[0].double().numpy() for layer in hs.capture(demo, batch)]
    expected = edit(clean[3][1])
    found = what_if(demo, batch, [(3, 1)], mode=mode)
    assert not found.unused.any()
    np.testing.assert_allclose(found.rows[3].after[1], expected.mean(0), atol=1e-6)
    moved = 0.5 * np.abs(expected - clean[3][1]).sum(-1).mean()
    assert found.moved[3, 1] == pytest.approx(moved, abs=1e-5)  # float32 sums
    assert moved > 1e-3
    assert (found.moved[3, [0, 2, 3]] == 0).all(), "other heads of the layer see the same"


def _cut(attention: np.ndarray, *, renormalised: bool) -> np.ndarray:
    after = attention.copy()
    after[0, 1:] = 0
    if renormalised:
        after[0] *= attention[0].sum() / after[0].sum()
    return after


def _masked(attention: np.ndarray, keys: list[int]) -> np.ndarray:
    after = attention.copy()
    after[:, keys] = 0
    return after / after.sum(-1, keepdims=True)


@pytest.mark.parametrize("mode", ["uniform", "self", "sinks[0]:masked"])
def test_windows_that_shift(mode: str) -> None:
    """The attention that a head has instead gives the output that the ablation gives."""
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    batch = swin.prepare(np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8))
    layer = list(hs.capture(swin, batch))[1]
    instead = ablation(mode).attention(layer, 1)
    assert instead is not None
    output = ablation(mode).apply(layer, [1])[:, 1]
    # float32: products of 784 keys in another order
    torch.testing.assert_close(instead @ layer.value[:, 1], output, atol=1e-4, rtol=1e-3)
    found = what_if(swin, batch, [(1, 1)], mode=mode)
    assert found.moved[1, 1] > 0
    assert (found.moved[0, :3] == 0).all()
    assert np.isnan(found.moved[0, 3:]).all(), "layers have different numbers of heads"


def test_maps_that_are_held_in_parts_are_the_same(
    demo: hs.Checkpoint, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headscope.analysis import what_if as module

    batch = demo.prepare(crops[:1])
    whole = what_if(demo, batch, HEADS)
    monkeypatch.setattr(module, "BYTES_AT_ONCE", 1)
    parts = what_if(demo, batch, HEADS)
    np.testing.assert_array_equal(parts.moved, whole.moved)
    np.testing.assert_array_equal(parts.output.raw.after, whole.output.raw.after)
    for one, other in zip(parts.rows, whole.rows, strict=True):
        np.testing.assert_array_equal(one.after, other.after)


def test_all_heads_off_and_none(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    batch = demo.prepare(crops[:1])
    every = [(layer, head) for layer in range(6) for head in range(4)]
    off = what_if(demo, batch, every)
    assert off.unused[:, :4].all()
    assert np.isnan(off.moved).all()
    none = what_if(demo, batch, [])
    np.testing.assert_array_equal(none.output.raw.before, none.output.raw.after)
    assert (none.moved == 0).all()


def test_many_images(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    batch = demo.prepare(crops)
    told: list[int] = []
    found = what_if_over(demo, batch, HEADS, batch_size=2, progress=told.append)
    assert told == [0, 2, 4]
    with hs.ablate(demo, HEADS):
        parts = [demo.run(part).double().numpy() for part in batch.split(2)]
    np.testing.assert_array_equal(found.raw.after, np.concatenate(parts))
    probabilities = demo.probabilities(batch)
    target = probabilities.argmax(-1)
    np.testing.assert_array_equal(found.target, target)
    # softmax in float64 of logits of another batch size in float32
    np.testing.assert_allclose(
        found.probability.before, probabilities[np.arange(5), target], atol=1e-5
    )
    np.testing.assert_array_equal(
        found.flips, np.flatnonzero(found.raw.after.argmax(-1) != found.raw.before.argmax(-1))
    )
    other = what_if_over(demo, batch, HEADS, target=0)
    assert (other.target == 0).all(), "class 0 is a class"
    assert not np.allclose(other.probability.before, found.probability.before)


def test_features_of_a_model_without_classes(crops: np.ndarray) -> None:
    masked = hs.load("demo/masked")
    found = what_if(masked, masked.prepare(crops[:1]), [(2, 0)])
    a, b = found.output.raw.before[0], found.output.raw.after[0]
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    assert found.output.cosine[0] == pytest.approx(cosine)
    if not found.output.has_classes:
        assert found.output.target.tolist() == [-1]


def test_nothing_is_left_behind(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    batch = demo.prepare(crops[:1])
    before = demo.run(batch)
    what_if(demo, batch, HEADS)
    with pytest.raises(HeadscopeError, match="layer 3"):
        what_if(demo, batch, HEADS, mode="sinks[900]:masked")
    assert torch.equal(demo.run(batch), before)


def test_maps_with_derivatives_after_maps_without(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    """What is kept between passes serves both."""
    batch = demo.prepare(crops[:1])
    what_if(demo, batch, [(2, 3)], mode="patch-to-patch")
    found = hs.without_heads(demo, batch, [(2, 3)], "relevance", mode="patch-to-patch")
    assert np.abs(found.difference).max() > 0


def test_several_images_are_refused(demo: hs.Checkpoint, crops: np.ndarray) -> None:
    with pytest.raises(HeadscopeError, match="5 images"):
        what_if(demo, demo.prepare(crops), HEADS)


def test_others_wait_for_one_pass_only(
    demo: hs.Checkpoint, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's pass comes between the two, and changes nothing."""
    real, between = module._without, []
    batch = demo.prepare(crops[:1])

    def asked(*arguments: Any) -> Any:
        other = threading.Thread(target=lambda: between.append(demo.run(batch)))
        other.start()
        other.join(60)
        assert not other.is_alive()
        return real(*arguments)

    expected = module.what_if(demo, batch, [(2, 1)])
    monkeypatch.setattr(module, "_without", asked)
    found = module.what_if(demo, batch, [(2, 1)])
    over = module.what_if_over(demo, batch, [(2, 1)])
    assert len(between) == 2
    np.testing.assert_array_equal(found.output.raw.after, expected.output.raw.after)
    np.testing.assert_array_equal(found.moved, expected.moved)
    # Without maps the attention may be fused: another order of the same sums in float32.
    np.testing.assert_allclose(over.raw.after, expected.output.raw.after, atol=1e-4)
