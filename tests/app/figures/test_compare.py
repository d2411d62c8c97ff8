"""Figures that set checkpoints side by side, by their data."""

import numpy as np
import pytest

from headscope.analysis.importance.intervals import t_interval
from headscope.analysis.matching import HeadMatching
from headscope.app.figures import (
    compare_atlas,
    compare_layers,
    compare_matching,
    compare_scatter,
    compare_series,
)

SCORE = np.array([[0.9, 0.2, 0.1], [0.3, 0.1, 0.8]])


def matching(threshold: float = 0.5) -> HeadMatching:
    """Two heads of one layer, and three of two layers."""
    return HeadMatching(
        first="one",
        second="two",
        n_images=3,
        n_layers=(2, 3),
        heads_a=np.array([[0, 0], [1, 0]]),
        heads_b=np.array([[0, 0], [1, 0], [2, 0]]),
        score=SCORE,
        criteria={"strength": SCORE},
        weights={"strength": 1.0},
        told_by={"strength": ("hops",)},
        left_out={},
        assigned=np.array([[0, 0], [1, 2]]),
        threshold=threshold,
        null=np.array([0.5]),
        quantile=0.75,
    )


@pytest.mark.parametrize("dark", [False, True])
def test_atlases_have_one_range_and_gaps(dark: bool) -> None:  # noqa: FBT001
    first = np.array([[0.0, 1.0], [2.0, np.nan]])
    second = np.array([[5.0, 3.0, 4.0]])
    panels = [
        compare_atlas.Atlas("A", first, compare_atlas.words(first, "px"), {(0, 1): (0, 1)}),
        compare_atlas.Atlas("B", second, compare_atlas.words(second, "px"), {(0, 2): (0, 1)}),
    ]
    difference = compare_atlas.Atlas("B − A", np.array([[np.nan, 3.0], [np.nan, np.nan]]), {}, {})
    figure = compare_atlas.chart(
        panels, difference, label="x", unit="px", signed=False, chosen=(0, 1), dark=dark
    )
    layout = figure.to_plotly_json()["layout"]
    assert (layout["coloraxis"]["cmin"], layout["coloraxis"]["cmax"]) == (0.0, 5.0)
    assert (layout["coloraxis2"]["cmin"], layout["coloraxis2"]["cmax"]) == (-3.0, 3.0)
    assert layout["coloraxis"]["colorbar"]["title"]["text"] == "px"
    assert list(figure.data[0].z[1]) == [2.0, None]
    clicks = [list(map(tuple, trace.customdata)) for trace in figure.data if trace.customdata]
    assert clicks[0] == [(-1, -1), (0, 1), (-1, -1)]  # (0, 0), (0, 1), (1, 0)
    assert clicks[1] == [(-1, -1), (-1, -1), (0, 1)]
    rings = [trace for trace in figure.data[2::3] if trace.type == "scatter"]
    assert [(ring.x, ring.y) for ring in rings] == [((1,), (0,)), ((2,), (0,))]


def test_a_signed_number_has_its_zero_in_the_middle() -> None:
    values = np.array([[-1.0, 3.0]])
    assert compare_atlas.limits([values], signed=True) == (-3.0, 3.0)
    assert compare_atlas.limits([values, np.array([[-7.0]])], signed=False) == (-7.0, 3.0)
    assert compare_atlas.limits([np.full((1, 2), np.nan)], signed=False) == (0.0, 1.0)
    assert compare_atlas.limits([np.ones((1, 2))], signed=False) == (1.0, 2.0)


def test_lines_go_between_matched_heads() -> None:
    figure = compare_matching.lines(matching(), chosen=(1, 0))
    front = next(trace for trace in figure.data if trace.name == "chosen head")
    first, second = figure.data[-2:]
    assert list(front.x[:2]) == [0, 1]
    assert front.y[0] == first.y[1]
    assert front.y[1] == second.y[2]
    assert [list(each) for each in second.customdata] == [[0, 0], [-1, -1], [1, 0]]
    assert list(second.marker.symbol) == ["circle", "circle-open", "circle"]
    assert "no match: died in A, appeared in B" in [trace.name for trace in figure.data]
    assert "closest" in second.text[1]
    none = compare_matching.lines(matching(threshold=1.0))
    assert all(trace.mode == "markers" for trace in none.data)


def test_the_matrix_marks_what_is_assigned() -> None:
    found = matching(threshold=0.85)
    figure = compare_matching.matrix(found, found.score, "Score")
    cells, matched, below = figure.data
    np.testing.assert_array_equal(np.array(cells.z, float), SCORE)
    assert list(zip(matched.y, matched.x, strict=True)) == [("L0 H0", "L0 H0")]
    assert list(zip(below.y, below.x, strict=True)) == [("L1 H0", "L2 H0")]
    assert list(map(list, below.customdata)) == [[1, 0]]


def test_the_scatter_has_equal_axes() -> None:
    points = [
        compare_scatter.Point((0, 0), (1, 1), 1.0, 2.0, 0.9),
        compare_scatter.Point((0, 1), (0, 0), np.nan, 2.0, 0.9),
        compare_scatter.Point((2, 0), (0, 2), 3.0, 0.0, 0.9),
    ]
    figure = compare_scatter.chart(points, "Distance", "px", ("one", "two"), chosen=(2, 0))
    line, dots, ring = figure.data
    assert list(line.x) == list(line.y) == list(figure.layout.xaxis.range)
    assert list(map(list, dots.customdata)) == [[0, 0], [2, 0]]
    assert list(dots.x) == [1.0, 3.0]
    assert (list(ring.x), list(ring.y)) == ([3.0], [0.0])
    assert figure.layout.xaxis.title.text == "A · one: Distance (px)"
    assert len(compare_scatter.chart([], "Distance", "", ("one", "two")).data[1].x) == 0


def test_layers_of_other_numbers_are_drawn_by_depth() -> None:
    generator = np.random.default_rng(0)
    three, two = (t_interval(generator.normal(size=(5, n)), 0.95) for n in (3, 2))
    figure = compare_layers.chart([three, two], None, "Distance", "px", ("one", "two"))
    assert list(figure.data[0].x) == [0, 0.5, 1]
    assert list(figure.data[1].x) == [0, 1]
    assert "relative depth" in figure.layout.xaxis.title.text
    figure = compare_layers.chart([three, three], three, "Distance", "px", ("one", "two"))
    assert list(figure.data[2].y) == pytest.approx(three.mean.tolist())
    assert figure.layout.xaxis.title.text == "layer"


def film() -> compare_series.Film:
    tracks = np.array([[[0, 0], [0, 1], [1, 0]], [[0, 1], [-1, -1], [-1, -1]]])
    x = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, np.nan]])
    return compare_series.Film(["a", "b", "c"], tracks, x, 2 * x, "X (px)", "Y", 2)


def test_a_film_keeps_its_axes_and_draws_a_trail() -> None:
    figure = compare_series.film(film(), chosen=0)
    assert [frame.name for frame in figure.frames] == ["0", "1", "2"]
    trail, dots, ring = figure.frames[2].data
    assert list(trail.x) == [1.0, 2.0, 3.0]
    assert list(trail.y) == [2.0, 4.0, 6.0]
    assert list(dots.x) == [3.0, None]
    assert list(dots.ids) == ["0", "1"]
    assert [list(each) for each in dots.customdata] == [[0, 0], [0, 1]]
    assert list(ring.x) == [3.0]
    low, high = figure.layout.xaxis.range
    assert low < 1
    assert high > 4
    steps = figure.layout.sliders[0].steps
    assert [(step.label, step.args[0]) for step in steps] == [
        ("a", ("0",)),
        ("b", ("1",)),
        ("c", ("2",)),
    ]
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == [
        "▶ Play",
        "❚❚ Pause",
    ]
    assert len(compare_series.film(film()).data[0].x) == 0


def test_lines_of_a_series_have_the_chosen_one_in_front() -> None:
    found = film()
    figure = compare_series.lines(found, found.y, "Y", chosen=0)
    assert list(figure.data[-1].y) == [2.0, 4.0, 6.0]
    assert figure.data[-1].line.width > figure.data[0].line.width
    assert list(figure.data[0].y) == [8.0, None, None]
    bars = compare_series.fates(["→ b", "→ c"], np.array([[1, 1], [0, 0], [1, 0], [0, 0]]))
    assert [trace.name for trace in bars.data] == [
        "matched, same depth",
        "moved",
        "died",
        "appeared",
    ]
    assert [list(trace.y) for trace in bars.data][2] == [1, 0]
