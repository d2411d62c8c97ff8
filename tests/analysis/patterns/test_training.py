"""The autoencoder: what is held out, and what it does that PCA cannot."""

import itertools
import time

import numpy as np
import pytest
import torch

from headscope.analysis.patterns import training as trainings
from headscope.analysis.patterns.autoencoder import Autoencoder
from headscope.analysis.patterns.forms import FORMS, SIDE, VALUES
from headscope.analysis.patterns.maps import Origin, PatternMaps
from headscope.analysis.patterns.statistics import STATISTICS
from headscope.analysis.patterns.training import principal_components, split, train


def blobs(n_images, n_heads=4):
    """Maps with a spot at any place: two numbers tell them, and PCA needs many."""
    generator = np.random.default_rng(0)
    n = n_images * n_heads
    places = generator.uniform(1, SIDE - 2, (n, 2, 2))
    axis = np.arange(SIDE)
    distance = ((axis - places[..., None]) ** 2).transpose(2, 0, 1, 3)  # of rows and columns
    pictures = np.exp(-distance[0][..., None] / 4 - distance[1][..., None, :] / 4)
    values = np.concatenate([pictures.reshape(n, -1), np.zeros((n, len(VALUES)))], 1)
    return PatternMaps(
        form="offset",
        values=values.astype(np.float16),
        statistics=np.zeros((n, len(STATISTICS)), np.float32),
        origin=np.zeros(n, int),
        image=np.repeat(np.arange(n_images), n_heads),
        layer=np.zeros(n, int),
        head=np.tile(np.arange(n_heads), n_images),
        origins=(Origin("blobs", "0", tuple(map(str, range(n_images)))),),
    )


def test_it_rebuilds_unseen_maps_better_than_pca():
    maps = blobs(100)
    told = []

    def progress(what, share):
        assert what == "Learning patterns"
        told.append(share)

    network, training = train(maps, n_latent=4, progress=progress)
    # Four numbers are just what two spots need; half of PCA's error is far from chance.
    assert training.held_out_error < training.pca_error / 2
    assert training.explained > training.explained_by_pca > 0.05
    assert told == sorted(told)
    assert told[-1] == 1

    rows = np.isin(maps.pictures, training.held_out)
    values = maps.values[rows].astype(np.float64)
    rebuilt = network.maps(network.latents(maps.values[rows]))
    error = np.square(values - rebuilt).sum(1).mean()
    assert training.held_out_error == pytest.approx(error, rel=1e-6)
    assert training.watched_error.argmin() > 0
    assert training.watched_error[0] > 2 * training.watched_error.min()


def test_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    maps = blobs(20)
    _, training = train(maps, n_latent=3, epochs=2)
    fitted = ~np.isin(maps.pictures, [*training.held_out, *training.watched])
    values = maps.values.astype(np.float64)
    pca = PCA(3).fit(values[fitted])
    held_out = values[np.isin(maps.pictures, training.held_out)]
    rest = held_out - pca.inverse_transform(pca.transform(held_out))
    assert training.pca_error == pytest.approx(np.square(rest).sum(1).mean(), rel=1e-5)
    assert training.variance == pytest.approx(
        np.square(held_out - pca.mean_).sum(1).mean(), rel=1e-5
    )


def test_training_begins_at_pca():
    maps = torch.from_numpy(blobs(10).values.astype(np.float32))
    mean, components = principal_components(maps, 3)
    network = Autoencoder(FORMS["offset"].shape, len(VALUES), 3)
    network.begin(mean, components, torch.Generator().manual_seed(0))
    expected = mean + (maps - mean) @ components.T @ components
    np.testing.assert_allclose(network(maps).detach(), expected, atol=1e-5)


def test_images_are_held_out_whole():
    parts = split(30, 4)
    assert [len(part) for part in parts] == [24, 3, 3]
    assert sorted(np.concatenate(parts).tolist()) == list(range(30))
    assert [len(part) for part in split(5, 0)] == [3, 1, 1]
    assert not np.array_equal(parts[2], split(30, 5)[2])
    maps = blobs(20)
    _, training = train(maps, n_latent=2, epochs=2)
    assert set(training.held_out).isdisjoint(training.watched)
    for picture in training.held_out:  # all heads of it
        assert (maps.pictures == picture).sum() == 4


def test_the_clock_ends_a_training_and_says_so():
    with pytest.warns(UserWarning, match="ended by the clock"):
        _, training = train(blobs(60), n_latent=4, seconds=0)
    assert training.stopped_by == "time"
    assert "1 epochs" in training.caution
    # One batch of the epoch: the mean is over that one, and not a share of it.
    assert training.fitted_error[0] > training.watched_error[0] / 3


def test_a_slow_machine_learns_the_same(monkeypatch):
    """No number hangs on the clock, but for a safety that is far away."""
    maps = blobs(20)
    quick = train(maps, n_latent=2, epochs=4)
    clock = itertools.count(step=20)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    slow = train(maps, n_latent=2, epochs=4)
    assert slow[1].seconds > 500
    assert not slow[1].caution
    np.testing.assert_array_equal(quick[1].watched_error, slow[1].watched_error)
    for name, array in quick[0].arrays().items():
        np.testing.assert_array_equal(array, slow[0].arrays()[name], err_msg=name)


def test_many_maps_take_fewer_epochs(monkeypatch):
    monkeypatch.setattr(trainings, "MOST_STEPS", 60)
    _, told = trainings.train(blobs(50), n_latent=2)  # 160 maps to fit, 20 steps an epoch
    assert len(told.fitted_error) == 3
    assert told.stopped_by == "epochs"


def test_early_stopping_keeps_the_best():
    maps = blobs(15)
    network, training = train(maps, n_latent=2)
    assert training.stopped_by in ("patience", "epochs")
    rows = np.isin(maps.pictures, training.watched)
    rebuilt = network.maps(network.latents(maps.values[rows]))
    error = np.square(rebuilt - maps.values[rows].astype(np.float64)).sum(1).mean()
    assert training.watched_error.min() == pytest.approx(error, rel=1e-5)
