"""Patterns inside a study: equal to the bit when they are read again, and never half written."""

import dataclasses
import errno
import shutil

import numpy as np
import pytest
import zarr

import headscope as hs
from headscope.analysis.patterns import fit_patterns, has_patterns, measure_stability, open_patterns

from .heads import noise_images, noisy_maps


@pytest.fixture(scope="module")
def study(demo, tmp_path_factory):
    from headscope.models.demo.scenes import scene

    images = [scene(seed).image for seed in range(5)]
    out = tmp_path_factory.mktemp("patterns") / "demo.zarr"
    return hs.analyze(demo, images, importance=False, out=out)


@pytest.fixture(scope="module")
def patterns(study):
    found = fit_patterns(study, umap=False, clusters=4, epochs=2)
    measured = measure_stability(found.maps, latents=found.latents, seeds=(0, 1), clusters=4)
    return dataclasses.replace(found, stability=measured)


def arrays_of(thing):
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if isinstance(value, np.ndarray):
            yield field.name, value


def assert_same(a, b):
    for x, y in (
        (a, b),
        (a.maps, b.maps),
        (a.training, b.training),
        (a.clustering, b.clustering),
        (a.projections["pca"], b.projections["pca"]),
        (a.stability, b.stability),
    ):
        other = dict(arrays_of(y))
        for name, value in arrays_of(x):
            assert value.dtype == other[name].dtype, name
            np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert a.names == b.names
    assert a.training.stopped_by == b.training.stopped_by
    assert a.maps.origins == b.maps.origins
    for one, two in zip(a.clusters, b.clusters, strict=True):
        np.testing.assert_array_equal(one.prototype, two.prototype)
        assert (one.medoid, one.heads, one.images) == (two.medoid, two.heads, two.images)


def test_the_study_reloads_its_own_checkpoint(study, patterns, demo):
    assert patterns.maps.origins[0].digest == demo.digest
    assert len(patterns.maps) == 5 * 24
    given = fit_patterns(study, checkpoint=demo, umap=False, clusters=4, epochs=2)
    np.testing.assert_array_equal(given.maps.values, patterns.maps.values)


def test_what_is_read_is_what_was_saved(study, patterns, demo, tmp_path):
    path = study.save(tmp_path / "a.zarr").path
    patterns.save(hs.open_study(path))
    opened = hs.open_study(path)
    assert has_patterns(opened)
    again = open_patterns(opened)
    assert_same(patterns, again)
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    one, two = patterns.project(demo, image), again.project(demo, image)
    np.testing.assert_array_equal(one.latents, two.latents)
    np.testing.assert_array_equal(one.distance, two.distance)
    np.testing.assert_array_equal(one.points["pca"], two.points["pca"])
    assert not list((path / "patterns").rglob("*.pkl"))

    copy = opened.save(tmp_path / "copy.zarr")
    assert_same(patterns, open_patterns(copy))
    assert opened.data["distance"].equals(copy.data["distance"])


def test_saving_again_replaces(study, patterns, tmp_path):
    path = study.save(tmp_path / "b.zarr").path
    patterns.save(hs.open_study(path))
    patterns.regroup(3).save(hs.open_study(path))
    assert open_patterns(hs.open_study(path)).clustering.n == 3
    assert len([each for each in (path / "patterns").iterdir() if each.is_dir()]) == 1


def test_an_interrupted_write_leaves_the_study_and_its_patterns(
    study, patterns, tmp_path, monkeypatch
):
    path = study.save(tmp_path / "c.zarr").path
    patterns.save(hs.open_study(path))
    write = zarr.Array.__setitem__

    def fail(self, key, value):
        if self.path.endswith("/latents"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, key, value)

    with monkeypatch.context() as patched:
        patched.setattr(zarr.Array, "__setitem__", fail)
        with pytest.raises(hs.HeadscopeError, match=r"No space left.*is kept"):
            patterns.regroup(3).save(hs.open_study(path))
    opened = hs.open_study(path)
    assert opened.is_complete
    assert_same(patterns, open_patterns(opened))
    patterns.regroup(3).save(opened)
    assert open_patterns(hs.open_study(path)).clustering.n == 3
    assert len([each for each in (path / "patterns").iterdir() if each.is_dir()]) == 1


def test_a_study_in_memory_takes_patterns(demo, study, patterns):
    images = list(study.data["pixels"].values[:1])
    held = hs.analyze(demo, images, importance=False)
    patterns.save(held)
    assert open_patterns(held).names == patterns.names


def test_damage_is_told(study, patterns, tmp_path):
    path = study.save(tmp_path / "d.zarr").path
    patterns.save(hs.open_study(path))
    shutil.rmtree(path / "patterns" / "1" / "latents" / "c")
    opened = hs.open_study(path)
    with pytest.raises(hs.HeadscopeError, match=r"patterns of .* are damaged"):
        open_patterns(opened)
    copy = opened.save(tmp_path / "copy of d.zarr")  # the study itself is whole
    assert copy.data["distance"].equals(opened.data["distance"])
    with pytest.raises(hs.HeadscopeError, match=r"patterns of .* are damaged"):
        open_patterns(copy)


def test_a_newer_format_is_told(study, patterns, tmp_path):
    path = study.save(tmp_path / "e.zarr").path
    patterns.save(hs.open_study(path))
    zarr.open_group(path / "patterns", mode="r+").update_attributes({"version": 99})
    with pytest.raises(hs.HeadscopeError, match="format 99"):
        open_patterns(hs.open_study(path))
    copy = hs.open_study(path).save(tmp_path / "copy of e.zarr")
    with pytest.raises(hs.HeadscopeError, match="format 99"):
        open_patterns(copy)
    zarr.open_group(copy.path / "patterns", mode="r+").update_attributes({"version": 1})
    assert_same(patterns, open_patterns(copy))


def test_what_does_not_fit_gets_a_sentence(study, patterns, six, of_maps):
    with pytest.raises(hs.HeadscopeError, match="no patterns yet"):
        open_patterns(study)
    assert not has_patterns(study)
    other = hs.analyze(six, noise_images(5), importance=False)
    with pytest.raises(hs.HeadscopeError, match="patterns are of demo/supervised"):
        patterns.save(other)
    with pytest.raises(hs.HeadscopeError, match="does not say how of-maps was loaded"):
        fit_patterns(other)
    with pytest.raises(hs.HeadscopeError, match="is not the checkpoint of the study"):
        fit_patterns(other, checkpoint=of_maps(noisy_maps(1)))
    assert len(fit_patterns(other, checkpoint=six, umap=False, clusters=6).maps) == 60
