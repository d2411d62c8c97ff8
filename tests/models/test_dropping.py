"""Patches that do not run are as if nobody could attend to them."""

from functools import cache

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.models.dropping import keeping, why_not_dropped
from headscope.models.interception import AttentionCall, intercept

SIZE = (48, 80)


@cache
def _exact(name: str) -> hs.Checkpoint:
    checkpoint = hs.load(name, pretrained=False, seed=1, image_size=SIZE)
    checkpoint.model.double()
    return checkpoint


def masked(checkpoint: hs.Checkpoint, batch: torch.Tensor, kept: np.ndarray) -> torch.Tensor:
    """The whole model, with all weights on other patches taken away and rows made 1 again."""
    tokens = checkpoint.layout
    seen = torch.zeros(len(batch), tokens.n_tokens, dtype=torch.bool)
    seen[:, np.flatnonzero(~tokens.is_patch)] = True
    patches = torch.from_numpy(np.flatnonzero(tokens.is_patch))
    seen.scatter_(1, patches[torch.from_numpy(kept)], value=True)

    def on_call(call: AttentionCall) -> torch.Tensor:
        weights = call.weights * seen[:, None, None]
        return (weights / weights.sum(-1, keepdim=True)) @ call.value

    with torch.no_grad(), intercept(checkpoint.model, on_call):
        return checkpoint.readout(checkpoint.model(batch))


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch16_rope_mixed_224"],
)
@pytest.mark.parametrize("n_kept", [1, 6, 15])
def test_dropping_is_masking(name: str, n_kept: int) -> None:
    checkpoint = _exact(name)
    generator = np.random.default_rng(0)
    batch = torch.from_numpy(generator.standard_normal((3, 3, *SIZE)))
    kept = np.stack([generator.permutation(15)[:n_kept] for _ in range(3)])
    expected = masked(checkpoint, batch, kept)
    with keeping(checkpoint, kept):
        found = checkpoint.run(batch)
    # float64 in another order of sums.
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    whole = checkpoint.run(batch)
    assert torch.allclose(found, whole, rtol=1e-9, atol=1e-9) == (n_kept == 15)


def test_pooled_patches_are_those_that_are_kept() -> None:
    """A mean over patches is over those that ran: the last hidden state of the masked model."""
    checkpoint = _exact("vit_base_patch16_siglip_gap_224")
    batch = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, *SIZE)))
    kept, hidden = np.array([[3, 4, 9]]), list[torch.Tensor]()
    norm = checkpoint.model.get_submodule("blocks.11")
    hook = norm.register_forward_hook(lambda *a: hidden.append(a[2]))
    masked(checkpoint, batch, kept)
    hook.remove()
    with torch.no_grad():
        expected = checkpoint.family.tail(checkpoint.model, hidden[0][:, kept[0]])
    with keeping(checkpoint, kept):
        found = checkpoint.run(batch)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", ""),
        ("vit_small_patch16_dinov3", ""),
        ("naflexvit_base_patch16_gap", ""),
        ("vit_relpos_small_patch16_224", "some of its patches: The size"),
        ("cait_xxs24_224", "one column of blocks"),
    ],
)
def test_who_can_drop_is_found_out(name: str, reason: str) -> None:
    checkpoint = hs.load(name, pretrained=False, image_size=SIZE)
    said = why_not_dropped(checkpoint)
    assert reason in said
    assert bool(said) == bool(reason)
    assert not any(module._forward_pre_hooks for module in checkpoint.model.modules())


def test_rotations_must_follow_their_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check by another order sees where a patch is told by its place among the tokens."""
    checkpoint = _exact("vit_small_patch16_rope_mixed_224")
    assert not why_not_dropped(checkpoint)
    monkeypatch.setattr("headscope.models.dropping._of_patches", lambda arguments, *_: arguments)
    assert why_not_dropped(checkpoint)


def test_nothing_is_left_behind(small: hs.Checkpoint) -> None:
    batch = torch.randn(2, 3, *SIZE)
    before = small.run(batch)
    with pytest.raises(KeyboardInterrupt), keeping(small, np.array([[0], [1]])):
        raise KeyboardInterrupt
    assert not any(module._forward_pre_hooks for module in small.model.modules())
    assert torch.equal(small.run(batch), before)
