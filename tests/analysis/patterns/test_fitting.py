"""Patterns of heads whose maps are known: found, named, and found again on other grids."""

import dataclasses

import numpy as np
import pytest

import headscope as hs
from headscope.analysis.patterns import fit_patterns, join, measure_stability
from headscope.analysis.patterns.clustering import choose
from headscope.analysis.patterns.forms import FAR, NEAR, SIDE
from headscope.analysis.patterns.gathering import maps_of_images
from headscope.analysis.patterns.naming import RULES, numbered, propose
from headscope.analysis.patterns.stability import agreement
from headscope.analysis.patterns.statistics import STATISTICS

from .heads import NAMES, maps_over_images, noise_images, noisy_maps

N_VERSIONS = 2
N_IMAGES = 10
N_HEADS = 6 * N_VERSIONS


@pytest.fixture(scope="module")
def checkpoint(of_maps):
    return of_maps(noisy_maps(N_VERSIONS), depth=1)


@pytest.fixture(scope="module")
def maps(of_maps):
    return maps_over_images(of_maps, N_IMAGES, N_VERSIONS)


@pytest.fixture(scope="module")
def patterns(maps):
    return fit_patterns(maps, umap=False)


def names_of(patterns, labels):
    return [patterns.names[label] for label in labels]


def test_six_heads_are_six_patterns_with_their_names(patterns, maps):
    assert patterns.clustering.n == 6, "the silhouette chooses"
    assert patterns.clustering.choices.tolist() == list(range(2, 13))
    assert patterns.clustering.silhouettes.argmax() == 4
    assert names_of(patterns, patterns.clustering.labels) == NAMES * N_VERSIONS * N_IMAGES
    assert sum(each.share for each in patterns.clusters) == pytest.approx(1)


def test_the_same_heads_on_other_grids_are_the_same_patterns(patterns, of_maps):
    for grid, sink in (((6, 6), 14), ((5, 7), 9), ((3, 8), 9)):
        other = of_maps(noisy_maps(2, grid=grid, sink=sink, seed=1), grid=grid, depth=1)
        found = patterns.project(other, noise_images(2, grid))
        assert names_of(patterns, found.labels) == NAMES * 4, grid
        assert found.points["pca"].shape == (24, 2)


def test_new_images_of_the_same_heads_are_where_the_old_ones_are(patterns, checkpoint):
    """`checkpoint` has the heads of image 0, whatever the image."""
    found = patterns.project(checkpoint, noise_images(3, seed=9))
    rows = patterns.clustering.labels[:N_HEADS]
    assert found.labels.tolist() == rows.tolist() * 3
    # The maps differ by the rounding of another batch, if at all: a step of half precision.
    np.testing.assert_allclose(found.latents[:N_HEADS], patterns.latents[:N_HEADS], atol=5e-3)
    own = patterns.clustering.distances(patterns.latents[:N_HEADS]).min(1)
    np.testing.assert_allclose(found.distance[:N_HEADS], own, atol=5e-3)


def test_what_was_not_learned_is_far_from_every_centre(patterns, of_maps):
    """A head that looks far away, to the patch opposite."""
    generator = np.random.default_rng(0)
    opposite = np.eye(17)
    opposite[1:, 1:] = opposite[1:, 1:][::-1]
    heads = [0.9 * opposite + 0.1 * generator.dirichlet(np.ones(17), 17) for _ in range(2)]
    found = patterns.project(of_maps(heads, depth=1), noise_images(1))
    assert found.outlier.all()
    known = patterns.project_maps(patterns.maps)
    assert known.outlier.mean() <= 0.05
    assert found.error.min() > 5 * np.median(known.error)


def test_each_cluster_has_a_prototype_a_medoid_and_members(patterns, maps):
    for each in patterns.clusters:
        members = patterns.members(each.index)
        assert members[0] == each.medoid
        assert len(members) == each.n_maps == N_IMAGES * N_VERSIONS
        assert {share for *_, share in each.heads} == {1.0}
        assert (
            sorted(head % 6 for _, _, head, _ in each.heads)
            == [NAMES.index(each.name)] * N_VERSIONS
        )
        assert [count for *_, count in each.images] == [N_VERSIONS] * N_IMAGES
        mean = np.mean([patterns.map(row) for row in members], axis=0)
        # The decoded centre is the mean map but for the curvature of square and decoder.
        assert np.abs(each.prototype - mean).max() < 0.05 * mean.max() + 0.01
    middle = NEAR + FAR
    own = patterns.clusters[patterns.names.index("self")]
    assert own.prototype[0].argmax() == SIDE * middle + middle
    assert own.prototype_values["self"] > 0.8


def test_heads_are_told_by_their_patterns(patterns):
    heads = patterns.heads
    assert heads.heads.tolist() == [[0, 0, head] for head in range(N_HEADS)]
    assert (heads.stability == 1).all()
    np.testing.assert_allclose(heads.entropy, 0, atol=1e-12)
    labels = patterns.clustering.labels.copy()
    labels[: 2 * N_HEADS] = -1  # two of ten images
    mixed = dataclasses.replace(
        patterns, clustering=dataclasses.replace(patterns.clustering, labels=labels)
    ).heads
    np.testing.assert_allclose(mixed.shares.sum(1), 0.8)
    np.testing.assert_allclose(mixed.stability, 0.8)
    np.testing.assert_allclose(mixed.entropy, -0.8 * np.log(0.8) - 0.2 * np.log(0.2))


def test_the_same_seed_is_the_same_result(maps, patterns):
    again = fit_patterns(maps, umap=False)
    for name, array in patterns.autoencoder.arrays().items():
        np.testing.assert_array_equal(array, again.autoencoder.arrays()[name], err_msg=name)
    np.testing.assert_array_equal(patterns.latents, again.latents)
    np.testing.assert_array_equal(patterns.clustering.labels, again.clustering.labels)
    other = fit_patterns(maps, umap=False, seed=1)
    assert not np.array_equal(patterns.latents, other.latents)


def test_the_global_generator_is_left_alone(maps):
    import torch

    before = torch.get_rng_state()
    fit_patterns(maps, umap=False, clusters=6, epochs=2)
    assert torch.equal(before, torch.get_rng_state())


def test_other_seeds_find_the_same_groups(maps, patterns):
    found = measure_stability(maps, seeds=(0, 1))
    assert found.what == "all"
    assert found.n_clusters.tolist() == [6, 6]
    assert found.mean == pytest.approx(1)
    cheap = measure_stability(maps, seeds=(0, 1), latents=patterns.latents)
    assert cheap.what == "grouping"
    apart = agreement([np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])])
    assert apart[0, 1] == pytest.approx(-0.5), "worse than chance"


def test_groups_can_be_chosen_anew(patterns):
    fewer = patterns.regroup(3)
    assert fewer.clustering.n == 3
    assert fewer.clustering.silhouette < patterns.clustering.silhouette
    assert len(fewer.clustering.choices) == 0
    found = patterns.regroup(method="hdbscan")
    there = found.clustering.labels >= 0
    assert there.mean() > 0.9
    assert (
        agreement([found.clustering.labels[there], patterns.clustering.labels[there]])[0, 1] > 0.99
    )


def test_two_checkpoints_are_learned_together(of_maps, maps):
    both = join([maps, maps_over_images(of_maps, 5, 1, grid=(5, 5), sink=6, seed=3)])
    assert both.pictures.max() == 9, "image 1 of one is image 1 of the other"
    found = fit_patterns(both, umap=False, clusters=6)
    assert [len(origin.images) for origin in found.maps.origins] == [10, 5]
    expected = NAMES * N_VERSIONS * N_IMAGES + NAMES * 5
    assert names_of(found, found.clustering.labels) == expected
    assert {origin for each in found.clusters for origin, *_ in each.heads} == {0, 1}


def test_umap_is_laid_out_and_new_maps_are_placed_in_it(maps, patterns):
    found = fit_patterns(maps, clusters=6, epochs=2)
    plane = found.projections["umap"]
    assert plane.points.shape == (len(maps), 2)
    # Versions of one pattern are neighbours in both: nearly all neighbours are kept.
    assert plane.trustworthiness > 0.8
    assert found.projections["pca"].trustworthiness > 0.8
    assert 0.3 < found.projections["pca"].explained <= 1
    placed = found.project_maps(maps.take(np.arange(6))).points["umap"]
    np.testing.assert_allclose(placed, plane.points[:6], atol=0.5)


def test_of_equal_choices_the_fewest_clusters_are_taken():
    assert choose([0.2, 0.394, 0.4, 0.395]) == 1
    assert choose([0.2, 0.38, 0.4, 0.405]) == 2
    assert choose([float("nan"), 0.1, 0.3]) == 2


def test_a_rule_for_each_name():
    nothing = dict.fromkeys(STATISTICS, 0.0) | {"fixed": 0.0, "received": 1.0, "reach": 1.0}
    assert propose(nothing) == "mixed"
    assert propose(dict.fromkeys(STATISTICS, float("nan")) | {"fixed": float("nan")}) == "mixed"
    assert propose(nothing | {"right": 0.6}) == "right neighbour"
    assert propose(nothing | {"column_lift": 3.0, "row_lift": 1.5}) == "column"
    assert propose(nothing | {"column_lift": 3.0, "row_lift": 2.5}) == "mixed"
    assert propose(nothing | {"received": 0.1, "fixed": 0.9}) == "fixed sink"
    assert propose(nothing | {"received": 0.1, "fixed": 0.1}) == "content"
    assert propose(nothing | {"received": 0.1, "register": 0.5}) == "registers"
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert numbered(["a", "b", "a"]) == ["a 1", "b", "a 2"]


def test_a_sink_that_moves_with_the_image_is_content(of_maps, maps):
    """The same head of checkpoints that differ in the sink's place only, as one head's images."""
    parts = [
        maps_of_images(of_maps([sink_map] * 2, depth=1), noise_images(1)).take(np.array([0]))
        for sink_map in (noisy_maps(1, sink=place)[5] for place in range(5))
    ]
    moving = dataclasses.replace(
        join(parts), origin=np.zeros(5, int), image=np.arange(5), origins=(parts[0].origins[0],)
    )
    from headscope.analysis.patterns.naming import fixedness, summary

    every = np.ones(5, bool)
    assert fixedness(moving, every) < 0.2
    assert propose(summary(moving, every)) == "content"
    same = dataclasses.replace(moving, values=np.repeat(moving.values[:1], 5, 0))
    assert fixedness(same, every) == pytest.approx(1)


def test_wrong_input_gets_a_sentence(maps, patterns, checkpoint, six):
    few = maps.take(maps.image < 3)
    with pytest.raises(hs.HeadscopeError, match=r"36 maps of 3 images.*at least 5 images"):
        fit_patterns(few, umap=False)
    with pytest.raises(hs.HeadscopeError, match="needs images"):
        fit_patterns(checkpoint)
    with pytest.raises(hs.HeadscopeError, match="no clustering method 'magic'"):
        fit_patterns(maps, method="magic")
    with pytest.raises(hs.HeadscopeError, match="finds the number of clusters itself"):
        fit_patterns(maps, method="hdbscan", clusters=3)
    with pytest.raises(hs.HeadscopeError, match="500 clusters cannot be made"):
        patterns.regroup(500)
    with pytest.raises(hs.HeadscopeError, match="no pattern 6"):
        patterns.members(6)
    with pytest.raises(hs.HeadscopeError, match="the raw form"):
        patterns.project_maps(maps_of_images(six, noise_images(1), form="raw"))
    with pytest.raises(hs.HeadscopeError, match="nothing to learn from"):
        fit_patterns([])
