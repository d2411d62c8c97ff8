"""What holds for every method that varies pixels, and for TokenCut."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import RUNNER_UP, explain, explanations
from headscope.models.demo.scenes import scene

from ...contracts.networks import noise
from ...contracts.networks import small as network

QUICK = {
    "gradient": {},
    "smooth-grad": {"samples": 3},
    "integrated-gradients": {"steps": 3},
    "occlusion": {"size": 2, "stride": 2},
    "rise": {"masks": 6, "cells": 3},
    "token-cut": {},
}
OF_TARGET = [name for name in QUICK if name != "token-cut"]
FAMILIES = ("vision_transformer", "swin_transformer", "crossvit", "cait", "levit", "mobilevit")
"""Class token; windows; branches; class attention; no class token; convolutions around."""


@pytest.fixture(scope="module")
def scenes(demo: hs.Checkpoint) -> torch.Tensor:
    return demo.prepare(np.stack([scene(seed).image for seed in range(3)]))


@pytest.mark.parametrize("method", QUICK)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_map_and_is_left_as_it_was(name: str, method: str) -> None:
    checkpoint = network(name)
    assert not explanations()[method].why_not(checkpoint)
    batch = noise(checkpoint)
    hooks = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    before, drawn, copy = checkpoint.run(batch), torch.get_rng_state(), batch.clone()
    found = explain(checkpoint, batch, method, **QUICK[method])
    assert found.values.shape[0] == 2
    assert np.isfinite(found.values).all()
    assert found.values.std() > 0
    assert torch.equal(checkpoint.run(batch), before)
    assert torch.equal(batch, copy)
    assert torch.equal(torch.get_rng_state(), drawn)
    after = {name: len(m._forward_hooks) for name, m in checkpoint.model.named_modules()}
    assert after == hooks
    assert all(p.grad is None and not p.requires_grad for p in checkpoint.model.parameters())


@pytest.mark.parametrize("method", QUICK)
def test_a_map_does_not_depend_on_the_rest_of_the_batch(
    demo: hs.Checkpoint, scenes: torch.Tensor, method: str
) -> None:
    together = explain(demo, scenes, method, **QUICK[method]).values
    alone = explain(demo, scenes[1:2], method, **QUICK[method]).values[0]
    # Matrix products of other sizes round differently in float32; the slope of a trained network
    # at a pixel is a sum of much that cancels.
    np.testing.assert_allclose(together[1], alone, atol=2e-4 * np.abs(alone).max())
    assert np.abs(together[0] - alone).max() > 0.1 * np.abs(alone).max()


@pytest.mark.parametrize("method", OF_TARGET)
def test_a_contrast_is_the_difference_of_two_classes(
    demo: hs.Checkpoint, scenes: torch.Tensor, method: str
) -> None:
    settings = QUICK[method]
    zero, five = (explain(demo, scenes, method, target=c, **settings).values for c in (0, 5))
    both = explain(demo, scenes, method, target=0, against=5, **settings).values
    assert not np.allclose(zero, five)
    limit = 1e-4 * np.abs(both).max()  # float32, as above
    np.testing.assert_allclose(both, zero - five, atol=limit)
    other = explain(demo, scenes, method, against=RUNNER_UP, **settings)
    assert "runner-up" in other.target


@pytest.mark.parametrize("method", OF_TARGET)
def test_features_are_a_target_too(demo: hs.Checkpoint, scenes: torch.Tensor, method: str) -> None:
    features = torch.eye(12)[4]
    found = explain(demo, scenes, method, features=features, **QUICK[method])
    assert found.classes is None
    assert np.abs(found.values).max() > 0
    # Covering, masking and moving change a cosine, of which nothing is more than 2.
    assert np.abs(found.score).max() <= 1 + 1e-5


@pytest.mark.parametrize("method", ["smooth-grad", "rise"])
def test_the_seed_is_all_that_is_random(
    demo: hs.Checkpoint, scenes: torch.Tensor, method: str
) -> None:
    settings = QUICK[method]
    first, again, other = (
        explain(demo, scenes[:1], method, seed=seed, **settings).values for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("method", QUICK)
def test_progress_comes_in_order_and_can_stop_the_work(
    demo: hs.Checkpoint, scenes: torch.Tensor, method: str
) -> None:
    told: list[float] = []
    explain(demo, scenes, method, progress=told.append, **QUICK[method])
    assert told == sorted(told)
    assert told[-1] == 1
    drawn = torch.get_rng_state()

    def stop(share: float) -> None:
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explain(demo, scenes, method, progress=stop, **QUICK[method])
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(len(module._forward_hooks) for module in demo.model.modules())
    with ThreadPoolExecutor(1) as other:  # on this thread the lock would open in any case
        assert other.submit(demo.lock.acquire, timeout=5).result()
        other.submit(demo.lock.release).result()


def test_which_are_slow_and_signed() -> None:
    methods = explanations()
    assert {name for name in QUICK if methods[name].slow} == {"occlusion", "rise"}
    assert {name for name in QUICK if not methods[name].signed} == {"rise"}
    assert {name for name in QUICK if not methods[name].of_target} == {"token-cut"}
