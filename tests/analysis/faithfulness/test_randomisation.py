"""The randomisation check flags what ignores the model, and passes what does not."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.faithfulness import BASELINES, randomisation_check, randomised
from headscope.analysis.faithfulness.randomisation import stages
from headscope.analysis.faithfulness.ranks import rank_correlation

from ...contracts.networks import small as small_network
from .games import gradient_times_input


def images(checkpoint: hs.Checkpoint, n_images: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_images, 3, *checkpoint.preprocessing.size, generator=generator)


def slope(checkpoint: hs.Checkpoint, batch: torch.Tensor, of: np.ndarray) -> np.ndarray:
    """Plain gradient of class 0, summed over channels."""
    batch = batch.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = checkpoint.readout(checkpoint.model(batch))[:, 0].sum()
        (found,) = torch.autograd.grad(score, batch)
    return found.sum(1).double().numpy()


def test_maps_that_ignore_the_model_are_flagged(demo: hs.Checkpoint) -> None:
    batch = images(demo)
    for name in ("centre", "edges", "random"):
        check = randomisation_check(demo, batch, BASELINES[name], method=name, seeds=(0, 1))
        assert check.similarity == pytest.approx(1)  # the same map to the bit
        assert not check.depends_on_weights
        assert "hardly changes" in check.sentence
        assert name in check.sentence
        assert "1.00" in check.sentence


@pytest.mark.parametrize("how", ["redraw", "permute"])
def test_a_plain_gradient_depends_on_the_weights(demo: hs.Checkpoint, how: str) -> None:
    batch, told = images(demo), []
    check = randomisation_check(
        demo,
        batch,
        slope,
        how=how,  # type: ignore[arg-type]
        progress=told.append,
    )
    assert check.rho.shape == (1, 3, 4)
    assert check.depends_on_weights
    assert check.similarity < 0.3
    assert told[-1] == 1


def test_only_signs_that_change_are_told() -> None:
    small = hs.load("vit_tiny_patch16_224", pretrained=False, seed=1, image_size=(80, 80))
    batch = images(small, 3)
    flip = {id(small): 1}

    def signed(checkpoint: hs.Checkpoint, of: torch.Tensor, which: np.ndarray) -> np.ndarray:
        generator = np.random.default_rng(0 if id(checkpoint) in flip else 1)
        strength = np.arange(25.0).reshape(1, 5, 5) + 1
        return strength * generator.choice([-1, 1], (len(of), 5, 5))

    check = randomisation_check(small, batch, signed, method="Signs")
    assert check.similarity < 0.3
    assert check.similarity_absolute == pytest.approx(1)
    assert "only its signs" in check.sentence


@pytest.mark.parametrize("how", ["redraw", "permute"])
def test_a_copy_is_random_and_the_checkpoint_is_as_it_was(small: hs.Checkpoint, how: str) -> None:
    batch, before = images(small, 1), {k: v.clone() for k, v in small.model.state_dict().items()}
    clean = small.run(batch)
    copy = randomised(small, how=how, seed=3)  # type: ignore[arg-type]
    again = randomised(small, how=how, seed=3)  # type: ignore[arg-type]
    other = randomised(small, how=how, seed=4)  # type: ignore[arg-type]
    torch.testing.assert_close(copy.run(batch), again.run(batch), atol=0, rtol=0)
    assert not torch.equal(copy.run(batch), other.run(batch))
    assert not torch.equal(copy.run(batch), clean)
    torch.testing.assert_close(small.run(batch), clean, atol=0, rtol=0)
    for name, tensor in small.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert copy.digest != small.digest
    assert copy.lock is not small.lock
    assert all(not parameter.requires_grad for parameter in copy.model.parameters())
    weight, drawn = (of.model.blocks[3].mlp.fc1.weight for of in (small, copy))
    if how == "permute":
        torch.testing.assert_close(drawn.flatten().sort()[0], weight.flatten().sort()[0])
    else:
        # 147,456 draws: four standard errors of a mean and of a deviation.
        sd, n = float(weight.std()), weight.numel()
        assert float(drawn.mean()) == pytest.approx(float(weight.mean()), abs=4 * sd / n**0.5)
        assert float(drawn.std()) == pytest.approx(sd, rel=4 / (2 * n) ** 0.5)


def test_a_cascade_goes_from_the_top_down(demo: hs.Checkpoint) -> None:
    found = stages(demo)
    assert [stage.name for stage in found] == [
        "head",
        *(f"blocks.{index}" for index in reversed(range(6))),
        "stem",
    ]
    names = [name for stage in found for name in stage.parameters]
    assert sorted(names) == sorted(name for name, _ in demo.model.named_parameters())
    assert set(found[0].parameters) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}

    batch = images(demo, 2)
    cascade = randomisation_check(demo, batch, slope, mode="cascading", seeds=(0,))
    alone = randomisation_check(demo, batch, slope, mode="independent", seeds=(0,))
    full = randomisation_check(demo, batch, slope, seeds=(0,))
    assert cascade.stages == alone.stages == tuple(stage.name for stage in found)
    np.testing.assert_array_equal(cascade.rho[0], alone.rho[0])
    np.testing.assert_array_equal(cascade.rho[-1], full.rho[-1])
    assert cascade.similarity == full.similarity
    assert np.isnan(alone.similarity)
    assert alone.sentence == ""


@pytest.mark.parametrize("name", ["swin_transformer", "crossvit", "cait"])
def test_every_family_has_stages_and_copies(name: str) -> None:
    checkpoint = small_network(name)
    found = stages(checkpoint)
    names = [name for stage in found for name in stage.parameters]
    assert sorted(names) == sorted(name for name, _ in checkpoint.model.named_parameters())
    assert found[-1].name == "stem"
    assert len(found) >= checkpoint.n_layers
    batch = torch.randn(2, 3, *checkpoint.preprocessing.size, generator=torch.manual_seed(0))
    copy = randomised(checkpoint)
    assert not torch.equal(copy.run(batch), checkpoint.run(batch))
    assert [layer.layer for layer in hs.capture(copy, batch)] == [
        layer.layer for layer in hs.capture(checkpoint, batch)
    ]


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 5, (2, 3, 4, 6)).astype(float)
    expected = [spearmanr(x.ravel(), y.ravel())[0] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(rank_correlation(a, b), expected)
    np.testing.assert_array_equal(rank_correlation(a, np.zeros_like(a)), 0)
    assert np.isnan(rank_correlation(np.ones_like(a), np.zeros_like(a))).all()


def test_unknown_ways_get_a_sentence(small: hs.Checkpoint) -> None:
    with pytest.raises(hs.HeadscopeError, match="way 'shake'"):
        randomised(small, how="shake")  # type: ignore[arg-type]
    with pytest.raises(hs.HeadscopeError, match="no weights called 'nose'"):
        randomised(small, ["nose"])
    with pytest.raises(hs.HeadscopeError, match="mode 'up'"):
        randomisation_check(small, images(small, 1), gradient_times_input, mode="up")  # type: ignore[arg-type]
    with pytest.raises(hs.HeadscopeError, match="at least one"):
        randomisation_check(small, images(small, 1), gradient_times_input, seeds=())
