"""What holds for every metric in every family: sums, ranges, and independence of one another."""

import numpy as np
import pytest
import torch

from headscope.analysis.metrics import attention_metrics, dimension_named
from headscope.analysis.metrics.values import norm_weighted
from headscope.models.capture import watch

from ...contracts.networks import NETWORKS, noise, read, small

# Sums of up to 3,136 float32 weights, and of as many logarithms of them.
ROUNDING = 2e-5


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    return small(request.param)


@pytest.fixture(scope="module")
def measured(network):
    """For each layer: its common parts, kinds, and all metrics of two images."""
    layers = []

    def keep(layer):
        values = {name: metric.compute(layer) for name, metric in attention_metrics().items()}
        layers.append((layer.of, {name: v.numpy() for name, v in values.items()}))

    watch(network, noise(network), keep)
    return layers


def profile(values, of):
    """The bars of a patch query: hops, and every kind of key that is no patch."""
    query = of.common.query_kinds.index("patch")
    others = [i for i, kind in enumerate(of.common.key_kinds) if kind != "patch"]
    return values["hop_share"].sum(-1) + values["share"][:, :, query, others].sum(-1)


def test_the_bars_of_a_profile_sum_to_one(measured):
    for of, values in measured:
        if of.layout.queries.n_patches:
            np.testing.assert_allclose(profile(values, of), 1, atol=ROUNDING)
            np.testing.assert_allclose(
                values["self_share"], values["hop_share"][..., 0], atol=ROUNDING
            )
        else:
            assert np.isnan(values["hop_share"]).all()


@pytest.mark.parametrize(
    "name", ["cait", "crossvit", "eva rotary", "mvitv2 class", "pvt_v2", "swin_transformer", "deit"]
)
def test_in_double_precision_they_sum_to_it_to_rounding(name):
    checkpoint = read(NETWORKS[name].build().double(), NETWORKS[name].size)
    metrics = {name: attention_metrics()[name] for name in ("hop_share", "share", "offset_map")}
    seen = 0

    def check(layer):
        nonlocal seen
        values = {name: metric.compute(layer).numpy() for name, metric in metrics.items()}
        if layer.queries.n_patches:
            np.testing.assert_allclose(profile(values, layer.of), 1, rtol=1e-13)
            seen += 1
            kinds = layer.of.common
            between = values["share"][
                :, :, kinds.query_kinds.index("patch"), kinds.key_kinds.index("patch")
            ]
            by_offset = np.nansum(values["offset_map"], axis=(-2, -1))
            np.testing.assert_allclose(by_offset, between, rtol=1e-13)

    watch(checkpoint, noise(checkpoint), check)
    assert seen


def test_shapes_are_those_of_the_dimensions(measured):
    for of, values in measured:
        for name, metric in attention_metrics().items():
            sizes = [dimension_named(dim).size(of.common) for dim in metric.dims]
            assert values[name].shape == (2, of.n_heads, *sizes), name


def test_numbers_are_where_they_make_sense_and_nowhere_else(measured):
    spatial = "distance", "non_locality", "directionality", "row_offset_mean", "column_offset_mean"
    anywhere = "entropy", "effective_keys", "gini", "top_mass", "self_share", "stable_rank"
    for of, values in measured:
        layout = of.layout
        between = layout.queries.n_patches > 0 and layout.keys.n_patches > 0
        # One patch, or windows of one, look at nothing but themselves.
        ways = between and layout.offset_reach != (0, 0)
        for name in anywhere:
            assert np.isfinite(values[name]).all(), name
        for name in spatial:
            if ways or not between:
                assert np.isfinite(values[name]).all() == between, name
        for name in ("value_share", "value_distance", "value_norm_ratio"):
            if of.projection is None:
                assert np.isnan(values[name]).all(), name
        if of.projection is not None:
            assert np.isfinite(values["value_norm_ratio"]).all()
            assert np.isfinite(values["value_distance"]).all() == between
        several = layout.queries.n_tokens > 1
        assert np.isfinite(values["nmi"]).all() == several


def test_ranges(measured):
    for of, values in measured:
        layout = of.layout
        n_queries, n_keys = layout.queries.n_tokens, layout.keys.n_tokens
        in_window = layout.key_tokens.shape[1]

        def within(name, low, high, values=values):
            found = values[name][np.isfinite(values[name])]
            assert (found >= low - ROUNDING).all(), (name, found.min())
            assert (found <= high * (1 + ROUNDING) + ROUNDING).all(), (name, found.max(), high)

        within("effective_keys", 1, in_window)
        within("entropy", 0, np.log(in_window))
        for name in ("share", "self_share", "hop_share", "offset_map", "top_mass", "gini", "nmi"):
            within(name, 0, 1)
        for name in ("value_share", "entropy_share", "nmi_patches", "directionality"):
            within(name, 0, 1)
        within("stable_rank", 1, min(n_queries, n_keys))
        within("effective_rank", 1, min(n_queries, n_keys))
        # Any top share has at least its part, and a larger one has more.
        assert (values["top_mass"] >= np.array([0.01, 0.05, 0.1]) - ROUNDING).all()
        assert (np.diff(values["top_mass"]) >= -ROUNDING).all()
        mean = np.hypot(values["row_offset_mean"], values["column_offset_mean"])
        far = np.nan_to_num(values["distance"])
        assert (np.nan_to_num(mean) <= far * (1 + ROUNDING) + 1e-3).all()
        # exp of a mean is at most the mean of exp
        assert (np.exp(values["entropy"]) <= values["effective_keys"] * (1 + ROUNDING)).all()


def test_norm_weighted_maps_are_rows_of_one(network):
    def check(layer):
        maps = norm_weighted(layer)
        assert (maps is None) == (layer.of.projection is None)
        if maps is not None:
            assert maps.shape == layer.weights.shape
            sums = maps.sum(-1)
            torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=ROUNDING)

    watch(network, noise(network), check)


@pytest.mark.parametrize("name", ["cait", "gcvit", "mvitv2 class", "swin_transformer"])
def test_no_metric_changes_what_another_finds(name):
    """What they share is made once: nobody may edit it. And it is gone with the maps."""
    checkpoint = small(name)

    def check(layer):
        metrics = attention_metrics()
        together = {name: metric.compute(layer) for name, metric in metrics.items()}
        for name, metric in reversed(metrics.items()):
            again = metric.compute(layer)
            layer.forget_maps()
            alone = metric.compute(layer)
            layer.forget_maps()
            assert not vars(layer).get("_made"), "nothing is left behind"
            for other in (again, alone):
                torch.testing.assert_close(
                    other, together[name], rtol=0, atol=0, equal_nan=True, msg=name
                )

    watch(checkpoint, noise(checkpoint), check)


@pytest.mark.parametrize("name", ["cait", "pvt_v2", "swin_transformer", "vision_transformer pool"])
def test_a_number_does_not_hang_on_the_batch(name):
    checkpoint = small(name)
    batch = noise(checkpoint, 3)
    of_batch, of_one = [], []

    def measure(into):
        return lambda layer: into.append(
            {name: metric.compute(layer) for name, metric in attention_metrics().items()}
        )

    watch(checkpoint, batch, measure(of_batch))
    watch(checkpoint, batch[1:2], measure(of_one))
    for together, alone in zip(of_batch, of_one, strict=True):
        for name, values in together.items():
            # The model itself rounds otherwise in other batches; ranks are of near ties.
            torch.testing.assert_close(
                values[1:2], alone[name], rtol=1e-3, atol=1e-4, equal_nan=True, msg=name
            )
