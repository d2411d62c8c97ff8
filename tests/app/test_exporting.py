"""The part Export, without a browser."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope.app.export import render
from headscope.models.demo import scenes

from .test_page import open_page, rest

__all__ = ["open_page"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(6)]
    metrics = ["js_divergence", "entropy", "hop_share", "hop_mean"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics)
    return path


def test_more_figures_than_a_click_takes_are_packed_first(
    open_page: Callable[..., AppTest], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "_chrome", lambda: None)  # tables alone: quick
    page = open_page(study=study)
    page.segmented_control(key="depth_part").set_value("Export").run()
    page = rest(page)
    names = ["atlas", "hops", "ranking", "scatter"]
    page.multiselect(key="export_figures").set_value(names).run()
    page = rest(page)
    page.button(key="export_make_zip").click().run()
    page = rest(page)
    assert [each.key for each in page.get("download_button")].count("export_zip") == 1
    assert not page.error
