"""Metrics against slow replicas, written from the papers on maps between all tokens."""

import math
import re

import numpy as np
import pytest
import torch
from timm.models.mvitv2 import MultiScaleVit

from headscope.analysis.metrics import attention_metrics
from headscope.analysis.metrics.values import norm_weighted
from headscope.models.capture import watch

from ...contracts.networks import NETWORKS, noise, read

FAMILIES = (
    "cait",  # class attention, talking heads
    "crossvit",  # two branches, class attention across them
    "eva rotary",  # registers
    "gcvit",  # queries that windows share
    "hieradet_sam2",  # pooled queries, windows of pooled tokens
    "mvitv2 class",  # pooled queries and keys
    "pvt_v2",  # pooled keys
    "swin_transformer",  # shifted windows, masks
    "twins svt",  # windows, and keys pooled from all
    "vision_transformer",  # a grid that is not square
    "vision_transformer pool",  # SigLIP: a learned query
)


@pytest.fixture(scope="module", params=FAMILIES)
def layers(request):
    """Of a network in float64: for each layer and its first image what the replicas need."""
    network = NETWORKS[request.param]
    model = network.build().double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if SCORES.search(name) and parameter.dim() > 1:
                parameter *= 5  # or attention is all but uniform
    checkpoint = read(model, network.size)
    seen = []

    def keep(layer):
        values = {name: m.compute(layer)[0].numpy() for name, m in attention_metrics().items()}
        written = norm_weighted(layer)
        seen.append(
            {
                "layer": layer.layer,
                "of": layer.of,
                "kind": type(checkpoint.model),
                "values": values,
                "maps": layer.weights[0].numpy(),
                "mixed": layer.mixed_weights[0].numpy(),
                "value": layer.value[0].numpy(),
                "queries": layer.queries,
                "keys": layer.keys,
                "written": None if written is None else written[0].numpy(),
                "rows": rows_of(layer),
            }
        )

    watch(checkpoint, noise(checkpoint, 2), keep)
    assert len(seen) == checkpoint.n_layers
    return seen


def rows_of(layer):
    """Per head the weights of each query that counts, among the keys that it may attend to.

    Window by window: what fills a window up is many keys there, and one token in a map.
    """
    windows, kinds = layer.windows, layer.queries.kinds
    there = [kind == "patch" or "patch" not in kinds for kind in kinds]
    by_head = [[] for _ in range(layer.of.n_heads)]
    for weights, queries in zip(windows.weights[0].numpy(), windows.query_tokens, strict=True):
        for place, query in enumerate(queries):
            if query >= 0 and there[query]:
                allowed = weights[:, place].max(0) > 1e-20
                for head, row in enumerate(weights[:, place]):
                    by_head[head].append(row[allowed])
    return by_head


# Another order of summation in float64.
CLOSE = {"rtol": 1e-9, "atol": 1e-11, "equal_nan": True}
# Lanczos' iteration stops at a bound of 1e-4 on σ₁²; its error is about the square of that.
NEAR = CLOSE | {"rtol": 1e-5}
SCORES = re.compile(r"\b(qkv|q|k|kv|wq|wk|wkv|q_proj|k_proj|to_q|to_kv|qk)\.weight")


def compare(layers, name, naive):
    differ = []
    for layer in layers:
        expected = np.array([naive(layer, head) for head in range(len(layer["maps"]))])
        tolerance = NEAR if name == "stable_rank" else CLOSE
        np.testing.assert_allclose(layer["values"][name], expected, **tolerance)
        differ.append(
            np.nanmax(expected) - np.nanmin(expected) if np.isfinite(expected).any() else 0
        )
    assert max(differ) > 1e-5, "the heads differ, or the comparison says nothing"


def patches(layer):
    """Indices and centres in px of query and of key patches."""
    sides = []
    for tokens in (layer["queries"], layer["keys"]):
        at = [i for i, kind in enumerate(tokens.kinds) if kind == "patch"]
        sides.append(list(zip(at, tokens.centres.tolist() if at else [], strict=True)))
    return sides


def from_queries(layer, head):
    """For each query patch: weights of the key patches, the way there in px, and its own place."""
    queries, keys = patches(layer)
    if queries and keys:
        of_keys, centres = [j for j, _ in keys], np.array([b for _, b in keys])
        for i, a in queries:
            yield layer["maps"][head, i, of_keys], centres - a, i


def naive_distance(layer, head):
    """Dosovitskiy et al. (2021), D.7: distances weighted by attention, over what patches give."""
    way = mass = 0.0
    for weights, offset, _ in from_queries(layer, head):
        way += weights @ np.sqrt((offset**2).sum(1))
        mass += weights.sum()
    return way / mass if mass else math.nan


def naive_non_locality(layer, head):
    """d'Ascoli et al. (2021): D_loc = 1/L Σᵢⱼ Aᵢⱼ ‖δᵢⱼ‖, in patches."""
    of_query = [
        weights @ np.hypot(*(offset / layer["queries"].patch_px).T)
        for weights, offset, _ in from_queries(layer, head)
    ]
    return np.mean(of_query) if of_query else math.nan


def naive_nmi(layer, head, kind=None):
    """Park et al. (2023): p(q, k) = A p(q), I = Σ p(q, k) ln p(q, k)/(p(q) p(k)), over √(H H)."""
    queries, keys = (
        [
            i
            for i, k in enumerate(layer[side].kinds)
            if k != "padding" and (kind is None or k == kind)
        ]
        for side in ("queries", "keys")
    )
    given = layer["maps"][head][np.ix_(queries, keys)]
    if len(queries) < 2 or not keys:
        return math.nan
    given = given / given.sum(1, keepdims=True)
    of_query = 1 / len(queries)
    joint = given * of_query
    of_key = joint.sum(0)
    information = 0.0
    for row in joint:
        for p, q in zip(row, of_key, strict=True):
            if p > 0:
                information += p * math.log(p / (of_query * q))
    spread = -sum(q * math.log(q) for q in of_key if q > 0)
    return information / math.sqrt(math.log(len(queries)) * spread)


def naive_stable_rank(layer, head):
    values = np.linalg.svd(between_tokens(layer, head), compute_uv=False)
    return (values**2).sum() / values[0] ** 2


def naive_effective_rank(layer, head):
    """Roy & Vetterli (2007)."""
    values = np.linalg.svd(between_tokens(layer, head), compute_uv=False)
    share = values / values.sum()
    return math.exp(-sum(p * math.log(p) for p in share if p > 0))


def between_tokens(layer, head):
    kept = [kind != "padding" for kind in layer["keys"].kinds]
    return layer["maps"][head][:, kept]


def naive_entropy_share(layer, head):
    shares = []
    for row in layer["rows"][head]:
        spread = -sum(p * math.log(p) for p in row if p > 0)
        shares.append(spread / math.log(len(row)) if len(row) > 1 else math.nan)
    return np.mean(shares)


def naive_effective_keys(layer, head):
    return np.mean(
        [math.exp(-sum(p * math.log(p) for p in r if p > 0)) for r in layer["rows"][head]]
    )


def naive_gini(layer, head):
    """Half the mean difference of all pairs, beside the mean."""
    return np.mean(
        [
            np.abs(row[:, None] - row[None]).sum() / (2 * len(row) * row.sum())
            for row in layer["rows"][head]
        ]
    )


def naive_top_mass(layer, head):
    """Read off the Lorenz curve, drawn with straight lines from the top."""
    tops = []
    for row in layer["rows"][head]:
        curve = np.append(0, np.cumsum(np.sort(row)[::-1]))
        tops.append(np.interp([0.01, 0.05, 0.1], np.linspace(0, 1, len(curve)), curve))
    return np.mean(tops, axis=0)


def naive_offsets(layer, head):
    """Σ A by offset in cells of the coarser grid, over the number of query patches."""
    common = layer["of"].common
    reach = common.offset_reach
    maps = np.full((2 * reach[0] + 1, 2 * reach[1] + 1), np.nan)
    coarse = min(layer["queries"], layer["keys"], key=lambda side: side.n_patches)
    unit = np.array(coarse.patch_px)
    queries, keys = patches(layer)
    for i, a in queries:
        for j, b in keys:
            # What is masked where windows wrap around the image; one window has no mask.
            several = layer["of"].layout.n_windows > 1
            masked = several and layer["maps"][:, i, j].max() <= 1e-20
            if layer["of"].layout.reach[i, j] and not masked:
                steps = np.array(b) // unit - np.array(a) // unit
                at = tuple((steps + reach).astype(int))
                maps[at] = np.nan_to_num(maps[at]) + layer["maps"][head, i, j] / len(queries)
    return maps


def naive_directionality(layer, head):
    mean, way = np.zeros(2), 0.0
    for weights, offset, _ in from_queries(layer, head):
        mean += weights @ offset
        way += weights @ np.hypot(*offset.T)
    return float(np.hypot(*mean)) / way if way else math.nan


def naive_written(layer, head):
    """Kobayashi et al. (2020), equation 2: the norm of every αᵢⱼ f(xⱼ), one after the other."""
    projection = layer["of"].projection
    matrix = projection.of_head[head].double().numpy()
    maps = layer["mixed"][head]
    written = layer["value"][head] @ matrix.T
    norms = np.array(
        [
            np.linalg.norm(row[:, None] * written, axis=1) for row in maps
        ]  # αᵢⱼ f(xⱼ), query by query
    )
    return norms / norms.sum(1, keepdims=True)


SPATIAL = {
    "distance": naive_distance,
    "non_locality": naive_non_locality,
    "directionality": naive_directionality,
    "nmi_patches": lambda layer, head: naive_nmi(layer, head, "patch"),
    "offset_map": naive_offsets,
}
ANY = {
    "nmi": naive_nmi,
    "stable_rank": naive_stable_rank,
    "effective_rank": naive_effective_rank,
    "entropy_share": naive_entropy_share,
    "effective_keys": naive_effective_keys,
    "gini": naive_gini,
    "top_mass": naive_top_mass,
}


@pytest.mark.parametrize("name", [*SPATIAL, *ANY])
def test_a_metric_agrees_with_its_naive_replica(layers, name):
    compare(layers, name, (SPATIAL | ANY)[name])


def test_norm_weighted_maps_agree_with_their_naive_replica(layers):
    with_map = [layer["written"] is not None for layer in layers]
    # MViT adds the queries to the head outputs before they are projected.
    assert all(with_map) or issubclass(layers[0]["kind"], MultiScaleVit)
    for layer in layers:
        if layer["written"] is None or "padding" in layer["keys"].kinds:
            continue
        naive = np.array([naive_written(layer, head) for head in range(len(layer["maps"]))])
        np.testing.assert_allclose(layer["written"], naive, **CLOSE)
        assert np.abs(naive - layer["maps"]).max() > 1e-4, "values differ in length"
        compare_written(layer, naive)


def compare_written(layer, naive):
    """Share and distance of what is written, from the naive map."""
    queries, keys = patches(layer)
    kinds = layer["of"].common.query_kinds, layer["of"].common.key_kinds
    for head, maps in enumerate(naive):
        if queries and keys:
            own = layer | {"maps": naive}
            np.testing.assert_allclose(
                layer["values"]["value_distance"][head], naive_distance(own, head), **CLOSE
            )
        for q, of_query in enumerate(kinds[0]):
            for k, of_key in enumerate(kinds[1]):
                at = np.ix_(
                    [kind == of_query for kind in layer["queries"].kinds],
                    [kind == of_key for kind in layer["keys"].kinds],
                )
                part = maps[at]
                expected = part.sum() / len(part) if len(part) else math.nan
                found = layer["values"]["value_share"][head, q, k]
                np.testing.assert_allclose(found, expected, **CLOSE)
