"""Figures of the explanation bench: what they draw, and on which scale."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headscope.app.figures import explanation, faithfulness, head_maps, redundancy
from headscope.app.figures.faithfulness import Line, Step

NAN = np.nan


def drawn(figure: Any) -> list[Any]:
    """The traces, of a type that plotly does not state."""
    return list(figure.data)


def pixels(source: str) -> np.ndarray:
    """Of a data URL."""
    data = base64.b64decode(source.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)


def line(name: str, *, is_baseline: bool = False) -> Line:
    share = np.linspace(0, 1, 5)
    return Line(name, share, 1 - share, share, share**2, is_baseline=is_baseline)


def test_steps_cover_the_most_relevant_first_and_show_them_first() -> None:
    white, black = (np.full((8, 12, 3), level, np.uint8) for level in (255, 0))
    rank = np.array([[3, 0, 1], [2, 5, 4]])
    edges = ((0, 4, 8), (0, 4, 8, 12))
    made = faithfulness.steps(white, black, rank, edges, np.array([0, 2, 6]))
    tile = faithfulness.SIDE // 3

    def cells(source: str) -> list[list[bool]]:
        """Whether each cell is the picture's: at its middle, as JPEG and resizing blur edges."""
        middles = pixels(source)[tile // 2 :: tile, tile // 2 :: tile, 0][:2, :3]
        return (middles > 127).tolist()

    assert [cells(step.deleted) for step in made] == [
        [[True] * 3] * 2,
        [[True, False, False], [True, True, True]],
        [[False] * 3] * 2,
    ]
    assert [cells(step.inserted) for step in made] == [
        [[False] * 3] * 2,
        [[True, True, True], [True, False, False]],  # 4 of 6 are shown: 2 are covered
        [[True] * 3] * 2,
    ]


def test_a_player_moves_the_marker_along_the_chosen_curve() -> None:
    lines = [line("A"), line("B"), line("Random", is_baseline=True)]
    steps = [Step(f"data:image/png;base64,d{i}", f"data:image/png;base64,i{i}") for i in range(5)]
    made = faithfulness.player(lines, "B", steps, quantity="Probability", shape=(8, 12))
    curves = [trace for trace in drawn(made) if trace.type == "scatter" and trace.mode == "lines"]
    assert [trace.name for trace in curves] == ["Random", "Random", "A", "A", "B", "B"]
    assert [trace.line.width for trace in curves[-2:]] == [3.5, 3.5]
    assert len({trace.line.color for trace in curves}) == 3
    assert sum(bool(trace.showlegend) for trace in curves) == 3
    for step, frame in enumerate(made.frames):
        assert [drawn(made)[place].type for place in frame.traces] == 2 * ["scatter"] + 2 * [
            "image"
        ]
        share = step / 4
        assert [(trace.x[0], trace.y[0]) for trace in frame.data[:2]] == [
            (share, 1 - share),
            (share, share**2),
        ]
        assert [trace.source[-2:] for trace in frame.data[2:]] == [f"d{step}", f"i{step}"]
    names = [step.args[0][0] for step in made.layout.sliders[0].steps]
    assert names == [frame.name for frame in made.frames]


def test_maps_of_heads_share_one_scale_and_gaps_stay_empty() -> None:
    values = np.zeros((2, 2, 3, 3))
    values[0, 1] = 1.0
    values[1, 0] = 0.5
    values[1, 1] = NAN
    image, largest = head_maps.montage(values, signed=False)
    assert largest == 1.0
    shown = np.asarray(image, int)
    height, width = shown.shape[0] // 2, shown.shape[1] // 2
    middles = shown[height // 2 :: height, width // 2 :: width]
    table = explanation.table(signed=False).round()
    assert middles[0, 0, :3].tolist() == table[0].tolist()
    assert middles[0, 1, :3].tolist() == table[-1].tolist()
    assert middles[1, 0, :3].tolist() == table[round(0.5 * 255)].tolist()
    assert middles[..., 3].tolist() == [[255, 255], [255, 0]]  # there is no such head


def test_a_flat_map_of_heads_is_zero_everywhere() -> None:
    image, largest = head_maps.montage(np.zeros((1, 1, 2, 2)), signed=True)
    assert largest == 0
    middle = np.asarray(image, int)[image.height // 3, image.width // 3]
    assert middle[:3].min() > 230  # the middle of the signed scale


@pytest.mark.parametrize("kind", ["maps", "shares"])
def test_every_head_that_is_there_can_be_clicked(kind: str) -> None:
    values = np.ones((2, 3, 4, 4))
    values[1, 2] = NAN
    if kind == "maps":
        made = head_maps.maps_chart(values, signed=False, chosen=(0, 1), marked=[(1, 0), (1, 2)])
    else:
        shares = values[..., 0, 0] / 5
        made = head_maps.shares_chart(shares, chosen=(0, 1), marked=[(1, 0), (1, 2)])
    points = drawn(made)[-1]
    assert [tuple(head) for head in points.customdata] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    rings = [(shape.y0 + 0.49, shape.x0 + 0.49) for shape in made.layout.shapes]
    assert rings == [pytest.approx((1, 0)), pytest.approx((0, 1))]  # the chosen one in front


def test_patches_that_are_dropped_are_dark() -> None:
    white = np.full((8, 8, 3), 200, np.uint8)
    kept = np.array([[True, False], [False, False]])
    shown = pixels(redundancy.kept_picture(white, kept, ((0, 3, 8), (0, 4, 8))))
    times = shown.shape[0] // 8
    assert (shown[: 3 * times, : 4 * times] == 200).all()
    assert shown[3 * times :].max() < 50
    assert shown[:, 4 * times :].max() < 50


def test_curves_of_fewer_patches_keep_their_order() -> None:
    share = np.array([1.0, 0.5, 0.1])
    values = np.array([[0.9, 0.8, 0.7], [0.9, 0.5, 0.2], [0.9, 0.3, 0.1]])
    made = redundancy.chart(share, values, title="Probability")
    assert [trace.name for trace in drawn(made)] == list(redundancy.NAMES)
    assert [list(trace.y) for trace in drawn(made)] == values.tolist()
    assert made.layout.xaxis.range[0] > made.layout.xaxis.range[1]  # from all patches to few


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0123, "0.0123"), (-1.5e-7, "−1.5·10⁻⁷"), (2.5e12, "2.5·10¹²"), (NAN, "–")],
)
def test_numbers_without_markup(value: float, shown: str) -> None:
    assert explanation.plain(value) == shown
