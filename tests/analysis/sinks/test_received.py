"""What keys get: closed forms on known answers, a naive replica in every family."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.metrics import attention_metrics
from headscope.analysis.metrics.sinks import received
from headscope.analysis.sinks.image import image_sinks
from headscope.models.capture import capture
from headscope.models.sinks import LEAST_LIFT, KeyAttention, robust_limit

N_TOKENS, SINK = 17, 1 + 5
SELF, LEFT, UNIFORM, ROW, CLASS, FIXED = range(6)
# e⁻⁸⁰ of the mass is where it should not be; rounding of sums of 17 numbers.
CLOSED = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def layer(six, known_crops):
    return next(capture(six, six.prepare(known_crops)))


@pytest.mark.parametrize(
    ("head", "score", "concentration", "token"),
    [
        (SELF, 1 / N_TOKENS, 1, None),
        (LEFT, 2 / N_TOKENS, 2, None),  # a first column gets itself and its neighbour
        (UNIFORM, 1 / N_TOKENS, 1, None),
        (ROW, 1 / N_TOKENS, 1, None),
        (CLASS, 1, np.inf, 0),
        (FIXED, 1, np.inf, SINK),
    ],
)
def test_sinks_have_their_closed_forms(layer, head, score, concentration, token):
    found = {
        name: attention_metrics()[name].compute(layer)[:, head].numpy()
        for name in ("sink_score", "sink_concentration", "sink_token")
    }
    np.testing.assert_allclose(found["sink_score"], score, **CLOSED)
    if concentration == np.inf:
        assert (found["sink_concentration"] > 1e30).all(), "what is not 0 here is e⁻⁸⁰"
    else:
        np.testing.assert_allclose(found["sink_concentration"], concentration, **CLOSED)
    if token is not None:
        assert (found["sink_token"] == token).all()


def naive(layer, image, head):
    """Key by key, over the queries that reach it; and what it would get from all alike."""
    weights, reach = layer.weights[image, head].double().numpy(), layer.reach().numpy()
    got, fair = np.full(reach.shape[1], np.nan), np.full(reach.shape[1], np.nan)
    for key in range(reach.shape[1]):
        queries = np.flatnonzero(reach[:, key])
        if len(queries):
            got[key] = np.mean([weights[query, key] for query in queries])
            fair[key] = np.mean([1 / reach[query].sum() for query in queries])
    return got, got / fair


FAMILIES = {
    "vit_tiny_patch16_224": (48, 80),
    "swin_tiny_patch4_window7_224": 112,
    "vit_small_patch14_reg4_dinov2": 56,
    "vit_base_patch16_siglip_224": 48,
    "crossvit_tiny_240": 240,
    "cait_xxs24_224": 48,
    "pvt_v2_b0": 64,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_keys_get_agrees_with_its_naive_replica(name):
    checkpoint = hs.load(name, pretrained=False, seed=2, image_size=FAMILIES[name])
    batch = torch.randn(2, 3, *checkpoint.preprocessing.size, generator=torch.manual_seed(0))
    kinds, spread = set(), 0.0
    for attention in capture(checkpoint, batch):
        if attention.of.kind in kinds and attention.layer > 1:
            continue
        kinds.add(attention.of.kind)
        ours, lift = received(attention), KeyAttention.of(attention).lift
        for image, head in ((0, 0), (1, attention.of.n_heads - 1)):
            expected, times = naive(attention, image, head)
            # float32: eps 1.2e-7 over sums of some hundred weights
            np.testing.assert_allclose(ours[image, head], expected, rtol=1e-5, atol=1e-8)
            np.testing.assert_allclose(lift[image, head], times, rtol=1e-5)
            spread = max(spread, np.nanmax(times) - np.nanmin(times))
    assert spread > 0.01, "keys differ, or the comparison says nothing"


def test_no_number_hangs_on_the_rest_of_the_batch():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    batch = torch.randn(3, 3, 112, 112, generator=torch.manual_seed(0))
    for whole, alone in zip(capture(swin, batch), capture(swin, batch[1:2]), strict=True):
        # float32 through some layers, summed in another order
        torch.testing.assert_close(received(whole)[1:2], received(alone), rtol=1e-4, atol=1e-6)


def test_uniform_attention_has_a_lift_of_one_and_no_sink_whatever_the_windows():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    attention = next(a for a in capture(swin, torch.zeros(1, 3, 112, 112)) if a.layer == 1)
    assert attention.of.kind == "shifted windows"
    reach = KeyAttention.of(attention)
    alike = reach._pairs * reach._share_of_query
    keys = KeyAttention(alike[:, :, None], attention.layout, alike > 0)
    torch.testing.assert_close(keys.lift, torch.ones_like(keys.lift))
    assert not keys.sinks().any()
    assert (keys.limit == LEAST_LIFT).all(), "nothing spreads, so the least limit holds"


def test_the_limit_is_that_of_outliers():
    values = torch.from_numpy(np.random.default_rng(0).lognormal(1, 0.5, (1, 100_001)))
    # Median e and robust deviation 0.5 of a lognormal, each to about 1 % with 100,000 numbers.
    np.testing.assert_allclose(robust_limit(values), np.exp(1 + 3.5 * 0.5), rtol=0.03)
    with_gaps = torch.cat([values, torch.full((1, 50), torch.nan, dtype=values.dtype)], 1)
    assert torch.equal(robust_limit(values), robust_limit(with_gaps))


def test_one_query_cannot_tell_a_sink(known_crops):
    cait = hs.load("cait_xxs24_224", pretrained=False, image_size=64)
    last = list(capture(cait, torch.randn(1, 3, 64, 64, generator=torch.manual_seed(0))))[-1]
    assert last.queries.n_tokens == 1
    weights = torch.zeros_like(last.window_weights)
    weights[..., 3] = 1
    assert not KeyAttention(weights, last.layout).sinks().any()


def test_a_map_of_sinks_over_one_image(six, known_crops):
    layers = image_sinks(six, known_crops[0])
    assert len(layers) == 2
    drawn = layers[1].over_image(FIXED)
    assert drawn.shape == (4, 4)
    np.testing.assert_allclose(drawn[1, 1], 1, **CLOSED)
    np.testing.assert_allclose(layers[0].received.sum(-1), 1, **CLOSED)
    assert np.argwhere(layers[0].is_sink).tolist() == [[CLASS, 0], [FIXED, SINK]]
    assert not image_sinks(six, known_crops[0], lift=17.1)[0].is_sink.any()
    assert (layers[0].limit == LEAST_LIFT).all()


def test_a_key_that_few_queries_follow_is_no_sink(of_maps, known_crops):
    """Four queries give it all, the others nothing: much more than its share, from few."""
    maps = np.eye(N_TOKENS)
    maps[:5] = 0
    maps[:5, 7] = 1
    checkpoint = of_maps([maps, maps])
    keys = KeyAttention.of(next(capture(checkpoint, checkpoint.prepare(known_crops))))
    assert keys.lift[0, 0, 7] > LEAST_LIFT
    assert not keys.sinks().any()
