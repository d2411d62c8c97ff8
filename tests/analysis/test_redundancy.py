"""How many patches a decision needs."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.perturbing import cell_scores, patch_grid, ranking
from headscope.analysis.redundancy import ORDERS, redundancy
from headscope.models.demo.scenes import scene

from ..contracts.networks import noise
from ..contracts.networks import small as network

SHARES = (1.0, 0.5, 0.1)


@pytest.fixture(scope="module")
def scenes(demo: hs.Checkpoint) -> torch.Tensor:
    return demo.prepare(np.stack([scene(seed).image for seed in range(5)]))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A map that knows where target and star are."""
    drawn = [scene(seed) for seed in range(5)]
    return np.stack([(one.target.mask | one.star.mask).astype(float) for one in drawn])


def shortened(checkpoint: hs.Checkpoint, image: torch.Tensor, kept: np.ndarray) -> torch.Tensor:
    """The logits of one image with some of its patches, by walking through the model."""
    model = checkpoint.model
    hidden: list[torch.Tensor] = []
    block = model.get_submodule("blocks.0")
    hook = block.register_forward_pre_hook(lambda *a: hidden.append(a[1][0]))
    checkpoint.run(image[None])
    hook.remove()
    with torch.inference_mode():
        tokens = torch.cat([hidden[0][:, :1], hidden[0][:, 1 + np.sort(kept)]], 1)
        for block in checkpoint.family.blocks(model) or ():
            tokens = block(tokens)
        return checkpoint.family.tail(model, tokens)[0]


def test_curves_are_those_of_fewer_tokens(
    demo: hs.Checkpoint, scenes: torch.Tensor, truth: np.ndarray
) -> None:
    found = redundancy(demo, scenes, truth, shares=SHARES, target=0, batch_size=2)
    assert (found.how, found.why) == ("dropped", "")
    assert found.kept.tolist() == [144, 72, 14]
    order = ranking(cell_scores(truth, patch_grid(demo)))
    assert found.probability is not None
    assert found.same_decision is not None
    decided = demo.run(scenes).argmax(-1)
    for image in (0, 3):
        for place, kept in enumerate(found.kept):
            for which, ordered in ((0, order[image]), (2, order[image, ::-1])):
                logits = shortened(demo, scenes[image], ordered[:kept])
                at = (image, which, place)
                # float32, in batches of other sizes.
                assert found.score[at] == pytest.approx(float(logits[0]), abs=1e-3)
                chance = float(logits.softmax(-1)[0])
                assert found.probability[at] == pytest.approx(chance, abs=1e-3)
                assert found.same_decision[at] == bool(logits.argmax() == decided[image])
    assert (found.seconds > 0).all()


def test_the_smallest_set_holds_and_one_less_does_not(
    demo: hs.Checkpoint, scenes: torch.Tensor, truth: np.ndarray
) -> None:
    found = redundancy(demo, scenes, truth, shares=SHARES)
    assert found.smallest is not None
    assert found.smallest_cells is not None
    assert (found.smallest_cells.sum((2, 3)) == found.smallest).all()
    decided = demo.run(scenes).argmax(-1)
    order = ranking(cell_scores(truth, patch_grid(demo)))
    for image in range(5):
        for which, ordered in ((0, order[image]), (2, order[image, ::-1])):
            n = int(found.smallest[image, which])
            cells = np.flatnonzero(found.smallest_cells[image, which])
            assert set(cells) == set(ordered[:n])
            assert shortened(demo, scenes[image], cells).argmax() == decided[image]
            if n > 1:
                less = shortened(demo, scenes[image], ordered[: n - 1])
                assert less.argmax() != decided[image]
    # Where the objects are is enough, and where they are not is next to everything.
    assert np.median(found.smallest[:, 0]) < 40
    assert np.median(found.smallest[:, 2]) > 100


def test_order_matters_and_means_are_over_images(
    demo: hs.Checkpoint, scenes: torch.Tensor, truth: np.ndarray
) -> None:
    found = redundancy(demo, scenes, truth, shares=SHARES)
    interval = found.mean("probability")
    assert found.probability is not None
    np.testing.assert_allclose(interval.mean, found.probability.mean(0))
    by_map, _, inverse = interval.mean[:, 1]
    assert by_map > inverse + 0.3
    same = found.mean("same_decision").mean
    assert same[0, 1] > same[2, 1]
    assert interval.n_images.shape == (len(ORDERS), len(SHARES))


def test_an_image_is_the_same_in_any_batch(
    demo: hs.Checkpoint, scenes: torch.Tensor, truth: np.ndarray
) -> None:
    together = redundancy(demo, scenes, truth, shares=SHARES)
    alone = redundancy(demo, scenes[2:3], truth[2:3], shares=SHARES)
    np.testing.assert_allclose(together.score[2], alone.score[0], atol=1e-3)  # float32
    assert together.smallest is not None
    assert alone.smallest is not None
    assert np.array_equal(together.smallest[2], alone.smallest[0])
    other = redundancy(demo, scenes[2:3], truth[2:3], shares=SHARES, seed=1)
    assert not np.allclose(other.score[0, 1, 1:], alone.score[0, 1, 1:], atol=1e-3)
    # The map's own ties are broken by the seed too, and whole images are whole.
    np.testing.assert_allclose(other.score[0, :, 0], alone.score[0, :, 0], atol=1e-3)


@pytest.mark.parametrize("name", ["swin_transformer", "cait", "mobilevit", "beit"])
def test_other_families_are_covered(name: str) -> None:
    checkpoint = network(name)
    batch = noise(checkpoint)
    values = np.random.default_rng(0).normal(size=(2, 4, 4))
    found = redundancy(checkpoint, batch, values, shares=SHARES)
    assert found.how == "covered"
    assert found.why
    score = checkpoint.run(batch).amax(-1).numpy()
    np.testing.assert_allclose(found.score[:, :, 0], score[:, None].repeat(3, 1), atol=1e-4)
    assert np.abs(found.score[:, :, 2] - found.score[:, :, 0]).max() > 1e-3
    with pytest.raises(hs.HeadscopeError, match="cannot be dropped"):
        redundancy(checkpoint, batch, values, how="dropped")


def test_explanations_bring_their_classes_and_features_have_none(
    demo: hs.Checkpoint, scenes: torch.Tensor
) -> None:
    told: list[float] = []
    given = explain(demo, scenes[:2], "gradient", target=0)
    found = redundancy(demo, scenes[:2], given, shares=SHARES, progress=told.append)
    assert "logit" in found.target
    np.testing.assert_allclose(found.score[:, 0, 0], given.score, atol=1e-3)
    assert told == sorted(told)
    assert told[-1] == 1
    like = redundancy(demo, scenes[:2], given, shares=SHARES, features=torch.eye(12)[3])
    assert like.probability is None
    with pytest.raises(hs.HeadscopeError, match="choose score"):
        like.mean("probability")


def test_what_does_not_fit_is_told(demo: hs.Checkpoint, scenes: torch.Tensor) -> None:
    with pytest.raises(hs.HeadscopeError, match="5 images and a map of shape"):
        redundancy(demo, scenes, np.zeros((2, 4, 4)))
    with pytest.raises(hs.HeadscopeError, match="above 0"):
        redundancy(demo, scenes, np.zeros((5, 4, 4)), shares=(0.5, 0.0))
