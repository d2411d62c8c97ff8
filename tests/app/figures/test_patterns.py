"""Charts of patterns: which dots, in which colours, and their tables."""

import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headscope.analysis.patterns.forms import FORMS
from headscope.analysis.patterns.result import HeadPatterns
from headscope.app.figures import pattern_quality, patterns, prototypes
from headscope.app.figures.patterns import Amount, Dots, Sort
from headscope.app.figures.template import DARK, LIGHT
from headscope.app.figures.why import KINDS, Axis
from headscope.app.figures.why import chart as why_chart

NAN = np.nan


def dots(n: int = 6) -> Dots:
    """Heads (0, 0), (0, 1), (1, 0), … in images in turn."""
    index = np.arange(n)
    return Dots(
        np.stack([index, -index], -1).astype(float),
        np.stack([index // 2, index % 2], -1),
        index - 1,
        [f"image {i}" for i in index],
        ["left", "sink"] * (n // 2),
    )


def drawn(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_dots_of_a_pattern_have_its_colour_and_tell_their_head() -> None:
    sort = Sort("Pattern", ["left", "sink"], np.array([0, 1, 0, 1, -1, 1]))
    traces = drawn(patterns.chart(dots(), sort, ("a", "b")))
    assert list(traces) == ["left", "sink", patterns.NONE_NAME]
    assert traces["left"].marker.color == KINDS[0]
    assert [list(each) for each in traces["sink"].customdata] == [[0, 1, 0], [1, 1, 2], [2, 1, 4]]
    assert traces["sink"].x == (1, 3, 5)
    assert all(trace.type == "scattergl" for trace in traces.values())


def test_the_chosen_head_and_marked_heads_have_rings() -> None:
    sort = Sort("Pattern", ["left"], np.zeros(6, int))
    figure = patterns.chart(dots(), sort, ("a", "b"), chosen=(1, 1), marked=[(0, 0), (9, 9)])
    traces = drawn(figure)
    assert traces["chosen head"].x == (3,)
    assert traces["marked"].x == (0,)
    # A box would tell of the rings, too; without custom data they are no heads.
    assert traces["chosen head"].customdata is None


def test_new_maps_lie_among_the_others() -> None:
    sort = Sort("Pattern", ["left"], np.zeros(6, int))
    own = drawn(
        patterns.chart(
            dots(), sort, ("a", "b"), chosen=(0, 1), own=dots(2), own_words="x", dark=True
        )
    )["x"]
    assert list(own.marker.size) == [9, 14]
    assert own.marker.line.color == DARK.text != LIGHT.text


@pytest.mark.parametrize(
    ("values", "signed", "ends"),
    [
        ([0.0, 1, 2, 3, 4], False, (0, 3.96)),
        ([-4.0, 1, 2, 3, 0], True, (-3.96, 3.96)),
        ([2.0, 2, 2, 2, 2], False, (2, 3)),
        ([np.nan] * 5, False, (0, 1)),
    ],
)
def test_colours_of_a_number_end_at_its_quantile(
    values: list[float], ends: tuple[float, float], *, signed: bool
) -> None:
    amount = Amount("Drop", "probability", np.array(values), signed)
    # Linear interpolation between the two largest of five: 3 + 0.96, to rounding.
    np.testing.assert_allclose(patterns.ends(amount), ends, rtol=1e-12)


def test_what_has_no_number_is_grey() -> None:
    amount = Amount("Drop", "p", np.array([1.0, np.nan, 2, 3, 4, 5]))
    traces = drawn(patterns.chart(dots(), amount, ("a", "b")))
    assert traces["heads"].marker.color == (1, 2, 3, 4, 5)
    assert traces["heads"].x == (0, 2, 3, 4, 5)
    assert traces["no number"].x == (1,)
    assert traces["no number"].showlegend


def test_heads_without_a_number_are_grey_among_the_important_ones() -> None:
    axis = Axis("Drop", "p", np.array([[1.0, 2.0, 3.0]]))
    colour = Axis("Entropy", "nats", np.array([[0.5, NAN, 0.7]]))
    traces = drawn(why_chart(axis, axis, colour))
    assert traces["heads"].marker.color == (0.5, 0.7)
    assert traces["no number"].x == (2.0,)


def test_many_dots_are_sampled_with_the_chosen_heads() -> None:
    always = np.zeros(10_000, bool)
    always[[17, 9_999]] = True
    rows = patterns.sample(10_000, always, 100)
    assert {17, 9_999} <= set(rows.tolist())
    assert 100 <= len(rows) <= 102
    np.testing.assert_array_equal(rows, patterns.sample(10_000, always, 100))
    np.testing.assert_array_equal(patterns.sample(5, always[:5], 100), np.arange(5))


def test_no_two_of_many_patterns_look_the_same() -> None:
    looks = {(patterns.colour_of(k), patterns.symbol_of(k)) for k in range(24)}
    assert len(looks) == 24


def test_shares_of_a_head_are_stacked_to_one() -> None:
    shares = np.array([[0.5, 0.25], [1.0, 0.0]])
    figure = patterns.shares_chart([(0, 0), (0, 1)], shares, ["a", "b"], chosen=(0, 1), n_images=4)
    traces = drawn(figure)
    assert list(traces) == ["a", "b", patterns.NONE_NAME]
    np.testing.assert_allclose(sum(np.array(trace.x) for trace in traces.values()), 1)
    assert figure.layout.yaxis.ticktext == ("L0 H0", "<b>L0 H1</b>")  # pyright: ignore[reportAttributeAccessIssue]
    assert [list(each) for each in traces["a"].customdata] == [[0, 0], [0, 1]]


def test_the_chosen_number_stands_out_on_the_silhouette() -> None:
    figure = pattern_quality.silhouette_chart([2, 3], [0.1, np.nan], (3, 0.2), chosen_words="shown")
    traces = drawn(figure)
    assert traces["k-means"].y == (0.1, None)
    assert (traces["shown"].x, traces["shown"].y) == ((3,), (0.2,))
    alone = pattern_quality.silhouette_chart([], [], (5, np.nan), chosen_words="shown")
    assert list(drawn(alone)) == ["shown"]


def test_held_out_errors_are_drawn_beside_the_training() -> None:
    figure = pattern_quality.training_chart([3.0, 2.0], [4.0, 3.5, 3.2], (1.0, 2.5))
    traces = drawn(figure)
    assert traces["images that end the training"].x == (0, 1, 2)  # 0 is PCA
    assert traces["images that it learns from"].x == (1, 2)
    assert traces["held-out images, PCA"].y == (2.5, 2.5)
    assert traces["held-out images, autoencoder"].y == (1.0, 1.0)


def test_the_table_has_a_column_a_pattern() -> None:
    heads = HeadPatterns(
        np.array([[0, 2, 3], [0, 2, 4]]),
        np.array([[0.75, 0.25], [0.0, 0.0]]),
        np.array([0, -1]),
        np.array([0.75, 1.0]),
        np.array([0.5, 0.0]),
    )
    first, second = patterns.head_rows(heads, ["a", "b"], 4)
    assert (first["name"], first["pattern"], first["share b"]) == ("L2 H3", "a", 0.25)
    assert second["pattern"] == patterns.NONE_NAME


def pixels(source: str) -> list[np.ndarray]:
    """The pictures inside a drawing."""
    text = base64.b64decode(source.split(",", 1)[1]).decode()
    found = re.findall(r"data:image/png;base64,([^\"]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def luminance(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ [0.2126, 0.7152, 0.0722]


def test_maps_are_drawn_sharply_on_one_scale() -> None:
    side = FORMS["offset"].side
    first, second = np.zeros((2, 2, side, side))
    first[0, 2, 7] = 0.4
    first[1] = 1 / side**2
    second[0, 5, 5] = 0.1
    ends = prototypes.tops([first, second])
    assert ends == [0.4, 1 / side**2]
    found = pixels(prototypes.drawing([("a", first), ("b", second)], "offset", ends))
    assert len(found) == 4  # two channels, one beside the other, of two maps
    bright, _, dim, _ = (luminance(each) for each in sorted_by_row(found))
    times = len(bright) // side
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert (row // times, column // times) == (2, 7)
    cell = bright[2 * times : 3 * times, 7 * times : 8 * times]
    assert np.ptp(cell) == 0
    # A quarter of the share is half of the colours: less bright, and far from black.
    assert 0.2 * bright.max() < dim.max() < 0.8 * bright.max()


def sorted_by_row(found: list[np.ndarray]) -> list[np.ndarray]:
    """The drawing goes channel by channel."""
    return [found[0], found[2], found[1], found[3]]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_words_for_its_axes(form: str) -> None:
    axes = prototypes.FORM_AXES[form]
    assert len(axes) == len(FORMS[form].channels)
    assert all(place <= FORMS[form].side for axis in axes for place, _ in axis.ticks)
    blank = np.zeros(FORMS[form].shape)
    assert pixels(prototypes.drawing([("a", blank)], form, prototypes.tops([blank])))
