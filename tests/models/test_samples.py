"""The samples are there without a network, and are what they say."""

import re
import subprocess
import sys

import numpy as np
import pytest

from headscope.models.demo.scenes import HELD_OUT, KINDS, scene
from headscope.models.images import read_image
from headscope.models.samples import sample_images

SCENES = {name: int(name.removeprefix("scene-")) for name in sample_images() if "scene" in name}


@pytest.mark.parametrize("name", sample_images())
def test_every_sample_reads(name):
    sample = sample_images()[name]
    photograph = sample.read()
    assert photograph.name == sample.name == name
    assert re.fullmatch(r"[a-z0-9-]+", name), "a URL carries the name"
    assert sample.title
    assert sample.credit
    assert min(photograph.pixels.shape[:2]) >= 96
    assert photograph.pixels.std() > 20, "something is in the image"


def test_samples_are_distinct():
    digests = {sample.read().digest for sample in sample_images().values()}
    titles = {sample.title for sample in sample_images().values()}
    assert len(digests) == len(titles) == len(sample_images()) == 13


def test_a_photograph_is_scikit_images_own():
    from skimage import data

    np.testing.assert_array_equal(sample_images()["chelsea"].read().pixels, data.chelsea())
    photograph = sample_images()["rocket"].read()
    assert photograph.path is not None
    assert read_image(photograph.path).digest == photograph.digest


def test_scenes_are_held_out_one_of_each_kind():
    scenes = [scene(seed) for seed in SCENES.values()]
    assert set(SCENES.values()) <= set(HELD_OUT)
    assert sorted(s.label // 2 for s in scenes) == list(range(len(KINDS)))
    assert sum(s.label % 2 for s in scenes) == len(KINDS) // 2
    for name, seed in SCENES.items():
        sample = sample_images()[name]
        np.testing.assert_array_equal(sample.read().pixels, scene(seed).image)
        assert sample.title.lower() == scene(seed).name


def test_importing_the_samples_reads_none():
    code = "import sys, headscope.models.samples; sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
