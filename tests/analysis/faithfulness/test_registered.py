"""Every method that is registered can be tabled, and says so when it ignores the weights."""

import numpy as np
import torch

import headscope as hs
from headscope.analysis.explain import explanations
from headscope.analysis.faithfulness import Explaining, compare_explanations, scene_masks
from headscope.models.demo.scenes import scene

from .games import target

SCENES = (0, 8)


def few(name: str) -> dict[str, int]:
    """Options that say how many (steps, samples, neighbours), as few as 4: for the time."""
    return {
        key: int(max(option.least, 4))
        for key, option in explanations()[name].options.items()
        if type(option.default) is int and option.least is not None and option.least >= 1
    }


def test_quick_methods_have_a_row_or_a_reason(demo: hs.Checkpoint) -> None:
    quick = [name for name, method in explanations().items() if not method.slow]
    table = compare_explanations(
        demo,
        demo.prepare(np.stack([scene(seed).image for seed in SCENES])),
        quick,
        options={name: few(name) for name in quick},
        n_costly=1,
        target=torch.tensor([scene(seed).label for seed in SCENES]),
        masks=scene_masks(SCENES),
        scores=["difference", "randomised", "pointing", "iou"],
        steps=6,
    )
    assert {*table.methods, *table.reasons} == {*quick, *table.baselines}
    # Weights are randomised for the first image alone.
    assert np.isfinite(table.values).sum(-1).tolist() == [[2, 1, 2, 2]] * len(table.methods)
    for name in table.methods:
        check = table.randomisations[name]
        assert bool(check.sentence) >= (not check.depends_on_weights)
        told = bool(check.sentence) and name not in table.baselines
        assert (check.sentence in table.notes) == told
    assert not any(table.randomisations[name].depends_on_weights for name in table.baselines)


def test_an_explanation_of_some_images_is_that_of_the_batch(demo: hs.Checkpoint) -> None:
    batch = demo.prepare(np.stack([scene(seed).image for seed in SCENES]))
    for name, method in explanations().items():
        if method.slow or method.why_not(demo):
            continue
        explaining = Explaining(name, target(batch, index=3), few(name))
        both = explaining(demo, batch, np.arange(2))
        alone = explaining(demo, batch[1:], np.array([1]))
        # Of what is drawn at random another image has its own share; float32 else.
        if np.array_equal(both, explaining.with_seed(1)(demo, batch, np.arange(2))):
            scale = np.abs(both[1]).max()
            np.testing.assert_allclose(alone[0], both[1], atol=1e-3 * scale, err_msg=name)
