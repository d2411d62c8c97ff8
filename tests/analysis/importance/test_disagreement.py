"""Where zero and mean disagree: studies made up so that the answer is known."""

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.importance.disagreement import disagreement

N_IMAGES = 40


@pytest.fixture(scope="module")
def made_up():
    """A study whose scores are overwritten: 6 × 2 heads of test_vit's shape."""
    import zarr

    checkpoint = hs.load("test_vit", pretrained=False, image_size=32)
    random = np.random.default_rng(0)
    photographs = [
        hs.read_image(random.integers(0, 256, (32, 32, 3), np.uint8), name=str(i))
        for i in range(N_IMAGES)
    ]
    study = hs.analyze(
        checkpoint, photographs, ablations=("zero", "mean"), metrics=("probability_drop",)
    )
    n_layers, n_heads = study.data.sizes["layer"], study.data.sizes["head"]
    clean = np.linspace(0.1, 0.8, n_layers * n_heads).reshape(n_layers, n_heads)
    noise = 0.01 * random.standard_normal((N_IMAGES, 1, n_layers, n_heads))
    scores = np.broadcast_to(clean, (N_IMAGES, 2, n_layers, n_heads)) + noise
    scores[:, 0, 0, 0], scores[:, 1, 0, 0] = 0.2, -0.2  # the sign differs
    scores[:, 1, 1, 0] = 2  # from a low rank to the first
    # Means of opposite signs that a few images decide: chance.
    scores[:, 0, 2, 0] = 0.001 + random.standard_normal(N_IMAGES)
    scores[:, 0, 2, 0] -= scores[:, 0, 2, 0].mean() - 0.001
    scores[:, 1, 2, 0] = -0.001
    zarr.open_group(study.store, mode="r+")["probability_drop"][:] = scores.astype(np.float32)
    return study


def test_heads_are_flagged_by_sign_and_by_rank(made_up):
    found = disagreement(made_up)
    assert found.metric == "probability_drop"
    assert (found.ablations, found.n_images, found.units) == (("zero", "mean"), 40, "probability")
    assert found.sign_differs[0, 0]
    assert found.rank_moves[1, 0]
    assert found.rank_shift[1, 0] < -0.25
    assert not found.sign_differs[2, 0], "its interval has 0 in it"
    assert found.low[2, 0] < 0 < found.high[2, 0]
    np.testing.assert_allclose(found.difference[0, 0], 0.4, atol=1e-6)
    others = np.ones_like(found.flagged)
    others[[0, 1, 2], 0] = False
    assert not found.flagged[others].any()


def test_intervals_are_paired(made_up):
    """Both ablations have the same noise in a head: their difference has none."""
    found = disagreement(made_up)
    assert found.difference[3, 1] == pytest.approx(0, abs=1e-7)
    assert found.high[3, 1] - found.low[3, 1] < 1e-6
    spread = made_up.data["probability_drop"][:, 0, 3, 1].std()
    assert float(spread) > 1e-3


def test_the_interval_is_that_of_a_mean(made_up):
    found = disagreement(made_up, ablations=("mean", "zero"))
    width = found.high[2, 0] - found.low[2, 0]
    error = float(made_up.data["probability_drop"].sel(ablation="zero")[:, 2, 0].std()) / 40**0.5
    # Percentiles of 1,000 resamples: within a tenth of 2 × 1.96 standard errors.
    assert width == pytest.approx(2 * 1.96 * error, rel=0.15)
    np.testing.assert_allclose(found.difference, -disagreement(made_up).difference)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ablations": ("zero", "noise")}, "no 'noise' ablation; it has: zero, mean"),
        ({"metric": "flip"}, "no importance metric 'flip'; it has: probability_drop"),
    ],
)
def test_what_is_not_there_gets_a_sentence(made_up, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        disagreement(made_up, **options)
