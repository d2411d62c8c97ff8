"""The part "Patterns" of heads in depth, in each of its states."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.analysis.patterns import fit_patterns
from headscope.app.measuring import patterns as work
from headscope.models.demo import scenes

from .test_depth import captions, charts, show
from .test_page import open_page, words

__all__ = ["open_page"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to learn from."""
    monkeypatch.setattr(work, "IMAGES", 6)
    monkeypatch.setattr(scenes, "HELD_OUT", range(9))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight scenes without patterns."""
    path = tmp_path_factory.mktemp("study") / "eight.zarr"
    images = [scenes.scene(seed).image for seed in range(8)]
    metrics = ["js_divergence", "entropy"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics, labels=[0, 1] * 4)
    return path


@pytest.fixture(scope="module")
def study(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with patterns."""
    path = hs.open_study(bare).save(tmp_path_factory.mktemp("study") / "with.zarr").path
    assert path is not None
    opened = hs.open_study(path)
    fit_patterns(opened, clusters=3, umap=False).save(opened)
    return path


def test_the_patterns_of_a_study_are_shown(open_page: Callable[..., AppTest], study: Path) -> None:
    page = show(open_page(study=study), "Patterns")
    assert words(page) == ""
    assert charts(page) == 4
    assert "3 patterns" in captions(page)
    print(captions(page))
