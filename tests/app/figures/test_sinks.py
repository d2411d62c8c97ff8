"""Charts of sinks: what they draw of reports whose every number is known."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import headscope as hs
from headscope.analysis.sinks.find import find_sinks
from headscope.analysis.sinks.image import LayerSinks, image_sinks
from headscope.app.figures import sink_maps, sinks
from headscope.app.figures.atlas import head_metrics
from headscope.app.figures.template import DARK, LIGHT, written

N_TOKENS, SINK = 17, 1 + 5
SHARE = 0.6
Build = Callable[..., hs.Checkpoint]


def planted(sink: int = SINK, share: float = SHARE) -> np.ndarray:
    """A map that gives `share` to one token and the rest to others unalike."""
    others = np.random.default_rng(3).uniform(0.5, 1.5, (N_TOKENS, N_TOKENS))
    others[:, sink] = 0
    maps = (1 - share) * others / others.sum(1, keepdims=True)
    maps[:, sink] = share
    return maps


UNIFORM = np.full((N_TOKENS, N_TOKENS), 1 / N_TOKENS)


@pytest.fixture
def checkpoint(of_maps: Build) -> hs.Checkpoint:
    """Two layers of a patch sink, a head that looks everywhere, and a class sink."""
    return of_maps([planted(), UNIFORM, planted(0, 0.9)])


@pytest.fixture
def layer(checkpoint: hs.Checkpoint, known_crops: np.ndarray) -> LayerSinks:
    return image_sinks(checkpoint, known_crops[0])[0]


def drawn(figure: Any) -> list[Any]:
    return list(figure.data)


def test_the_sink_has_a_frame_where_it_is(layer: LayerSinks, known_crops: np.ndarray) -> None:
    figure: Any = sink_maps.maps_chart(known_crops[0], [sink_maps.panel(layer, 0)])
    (cells,) = drawn(figure)
    (frame,) = figure.layout.shapes
    assert [frame.x0, frame.x1, frame.y0, frame.y1] == [0.5, 1.5, 0.5, 1.5]  # row 1, column 1
    np.testing.assert_allclose(cells.z[1][1], SHARE, rtol=1e-12)  # float64
    assert "patch 1, 1" in cells.text[1][1]
    assert "60 %" in cells.text[1][1]
    assert "10.2 times its fair share" in cells.text[1][1]  # 0.6 · 17
    assert "a sink" in cells.text[1][1]
    assert "a sink" not in cells.text[0][0]
    assert figure.layout.images[0].source.startswith("data:image/png")


def test_maps_side_by_side_share_a_scale(layer: LayerSinks, known_crops: np.ndarray) -> None:
    both = [sink_maps.panel(layer, head, f"head {head}") for head in (0, 1)]
    figure: Any = sink_maps.maps_chart(known_crops[0], both)
    assert sink_maps.scale(both)[1:] == ("0", "60 % of the attention")
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    alone: Any = sink_maps.maps_chart(known_crops[0], both[1:])
    # On a scale of its own the even map is as bright as can be, beside the sink it is dark.
    assert figure.layout.images[1].source != alone.layout.images[0].source
    assert [note.text for note in figure.layout.annotations] == ["head 0", "head 1"]


def test_keys_come_as_bars_beside_their_fair_share(layer: LayerSinks) -> None:
    traces = {trace.name: trace for trace in drawn(sink_maps.keys_chart(layer, 0))}
    assert set(traces) == {"sink", "prefix token", "patch", "fair share"}
    assert list(traces["sink"].y) == ["patch 1, 1"]
    np.testing.assert_allclose(traces["sink"].x, [SHARE], rtol=1e-12)
    assert list(traces["prefix token"].y) == ["class"]
    np.testing.assert_allclose(traces["fair share"].x, 1 / N_TOKENS, rtol=1e-12)
    of_class = {trace.name: trace for trace in drawn(sink_maps.keys_chart(layer, 2))}
    assert list(of_class["sink"].y) == ["class"]
    assert "prefix token" not in of_class


def test_pairs_of_bars_leave_out_what_is_out_of_reach() -> None:
    figure = sink_maps.beside_chart(["class", "patch 0, 0"], [0.5, np.nan], [0, 0.5], title="")
    before, after = drawn(figure)
    assert (before.name, after.name) == ("with sinks", "without")
    assert (list(before.x), list(after.x)) == ([0.5, None], [0, 0.5])


def test_heads_lie_by_score_and_concentration(
    checkpoint: hs.Checkpoint, known_crops: np.ndarray
) -> None:
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    figure: Any = sinks.overview_chart(report, chosen=(0, 0), marked=[(1, 2)])
    traces = {trace.name: trace for trace in drawn(figure)}
    assert traces["no sink"].customdata == ([0, 1], [1, 1])
    with_sink = [
        (tuple(at), x)
        for name in set(traces) & set(sinks.KINDS)
        for at, x in zip(traces[name].customdata, traces[name].x, strict=True)
    ]
    scores = dict(with_sink)
    assert set(scores) == {(0, 0), (0, 2), (1, 0), (1, 2)}
    np.testing.assert_allclose([scores[0, 0], scores[1, 2]], [SHARE, 0.9], rtol=1e-12)
    assert list(traces["chosen head"].x) == [scores[0, 0]]
    assert list(traces["marked"].x) == [scores[1, 2]]
    assert figure.layout.yaxis.type == "log"  # from 1 to some 150
    assert figure.layout.xaxis.type is None  # from 1/17 to 0.9
    rows = {(row["layer"], row["head"]): row for row in sinks.head_rows(report)}
    assert rows[0, 0]["token"] == "patch 1, 1"
    assert rows[0, 1]["mechanism"] == "none"
    assert len(rows) == 6


def test_hidden_states_name_the_long_token_and_massive_activations(
    checkpoint: hs.Checkpoint, known_crops: np.ndarray
) -> None:
    channel = N_TOKENS + 5  # of those that nothing reads
    with torch.no_grad():
        pos_embed: Any = checkpoint.model.pos_embed
        pos_embed[0, SINK, channel] = 1e4
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    rows = [layer.rows.layout for layer in checkpoint.layers if layer.rows is not None]
    longest, middle = drawn(sinks.norms_chart(report, rows))
    # Position and content beside it are below 2.
    np.testing.assert_allclose(longest.y, 1e4, rtol=1e-6)
    assert max(middle.y) < 2
    assert "patch 1, 1 in 3 of 3 images" in longest.text[0]
    largest, limit = drawn(sinks.activations_chart(report))
    np.testing.assert_allclose(largest.y, report.data["largest_ratio"].mean("image"))
    assert all(x > y for x, y in zip(largest.y, limit.y, strict=True))
    first = sinks.massive_rows(report)[0]
    assert (first["token"], first["dimension"], first["images"]) == ("patch 1, 1", channel, 1)


@pytest.mark.parametrize(("dark", "colours"), [(False, LIGHT), (True, DARK)])
def test_charts_bring_their_own_colours(
    checkpoint: hs.Checkpoint, layer: LayerSinks, known_crops: np.ndarray, *, dark: bool, colours
) -> None:
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    figures = [
        sink_maps.maps_chart(known_crops[0], [sink_maps.panel(layer, 0)], dark=dark),
        sink_maps.keys_chart(layer, 0, dark=dark),
        sinks.overview_chart(report, dark=dark),
        sinks.norms_chart(report, [None, None], dark=dark),
        sinks.activations_chart(report, dark=dark),
    ]
    for figure in figures:
        text = str(figure.to_json())
        font = json.loads(text)["layout"]["template"]["layout"]["font"]
        assert font["color"] == colours.text
        assert "NaN" not in text
        assert "Infinity" not in text


def test_indices_of_tokens_are_no_colour_of_the_atlas() -> None:
    dims = ("image", "layer", "head")
    score, token = (
        xr.DataArray(np.ones((2, 1, 1)), dims=dims, name=name, attrs={"units": units})
        for name, units in (("sink_score", "share"), ("sink_token", "token"))
    )
    assert [metric.key for metric in head_metrics([token, score])] == ["sink_score"]


def test_numbers_in_text_have_no_powers_of_ten() -> None:
    given = (7437.2, -2998, 0.000123456, 99.96, 1, 0, 0.1, float("inf"), float("nan"))
    shown = ["7,440", "−3,000", "0.000123", "100", "1", "0", "0.1", "∞", "–"]
    assert [written(value) for value in given] == shown
