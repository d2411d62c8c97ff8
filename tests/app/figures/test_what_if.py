"""What if as the browser takes it: maps by their pixels, words, names of ablations."""

import base64
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headscope as hs
from headscope.app.figures import ablation_names as names
from headscope.app.figures import what_if as figures
from headscope.app.figures.explanation import table


def decoded(source: str) -> np.ndarray:
    data = base64.b64decode(source.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_map_is_one_pixel_a_cell_with_colour_and_opacity() -> None:
    values = np.array([[0.0, 0.5, 1.0], [np.nan, 2.0, -1.0]])
    drawn = decoded(figures.layer_of(values, signed=False, largest=1.0))
    assert drawn.shape == (2, 3, 4)
    colours = table(signed=False).round()
    for at, place in (((0, 0), 0), ((0, 2), 255), ((1, 0), 0), ((1, 1), 255), ((1, 2), 0)):
        np.testing.assert_array_equal(drawn[at][:3], colours[place])
    # 15 % where it is 0, 85 % where it is largest
    assert [drawn[0, 0, 3], drawn[0, 1, 3], drawn[0, 2, 3]] == [38, 128, 217]
    signed = decoded(figures.layer_of(values, signed=True, largest=1.0))
    np.testing.assert_array_equal(signed[1, 2][:3], table(signed=True)[0].round())
    assert signed[1, 2, 3] == signed[0, 2, 3] == 217


def test_three_maps_share_one_scale() -> None:
    before, after = np.array([[0.1, 0.2]]), np.array([[0.4, 0.0]])
    found = figures.triple(before, after, signed=False, share=True)
    assert [each["title"] for each in found["maps"]] == ["Before", "After", "Difference"]
    ends = [(scale["low"], scale["high"]) for scale in found["scale"]]
    assert ends == [("0", "40 %"), ("−40 %", "40 %")]
    expected = figures.layer_of(after - before, signed=True, largest=0.4)
    assert found["maps"][2]["source"] == expected
    signed = figures.triple(before, -after, signed=True)
    assert [scale["of"] for scale in signed["scale"]] == ["all three"]


def test_maps_of_zeros_are_drawn() -> None:
    found = figures.triple(np.zeros((2, 2)), np.zeros((2, 2)), signed=False)
    assert decoded(found["maps"][0]["source"])[..., 3].tolist() == [[38, 38], [38, 38]]


def test_cells_of_patches_that_lie_on_no_grid() -> None:
    layout: Any = SimpleNamespace(n_patches=2, scattered=[(8.0, 8.0), (8.0, 24.0)])
    cells = figures.raster(layout, (16, 32))
    assert cells is not None
    assert cells.shape == (32, 64)
    assert (cells[:, :32] == 0).all()
    assert (cells[:, 32:] == 1).all()
    none: Any = SimpleNamespace(n_patches=0)
    assert figures.raster(none, (16, 32)) is None


def test_a_grid_that_is_not_square(small: hs.Checkpoint) -> None:
    cells = figures.raster(small.layers[0].layout.keys, (48, 80))
    assert cells is not None
    np.testing.assert_array_equal(cells, np.arange(15).reshape(3, 5))


def test_heads_are_ranked_by_what_moved() -> None:
    moved = np.array([[0.0, np.nan, 0.3], [0.3, 0.5, 1e-6]])
    assert figures.ranked(moved) == [(1, 1), (0, 2), (1, 0)]


def test_heads_in_words() -> None:
    n_heads = (4, 4, 2)
    assert figures.heads_words([(0, 1), (0, 0)], n_heads) == "layer 0: 0, 1"
    assert figures.heads_words([(2, 0), (2, 1), (1, 3)], n_heads) == "layer 1: 3; all of layer 2"
    assert figures.is_all(
        [(layer, head) for layer, n in enumerate(n_heads) for head in range(n)], n_heads
    )
    assert not figures.is_all([(0, 0)], n_heads)


def test_points() -> None:
    assert [figures.points(x) for x in (0.1234, -0.1, 1e-5, -1e-5)] == [
        "+12.3",
        "−10.0",
        "0.0",
        "0.0",
    ]


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ("zero", "zero", ()),
        ("class-to-patch", "QUERY-to-KEY", ("class", "patch")),
        ("any-to-class:renormalised", "QUERY-to-KEY", ("any", "class")),
        ("hops<=2", "hops<=R", ("2",)),
        ("hops>12:renormalised", "hops>R", ("12",)),
        ("sinks:masked", "sinks:masked", ()),
        ("sinks>8:masked", "sinks>R:masked", ("8",)),
        ("sinks[0+3]:redistributed@0.25", "sinks[TOKENS]:redistributed", ("0+3",)),
        ("sinks:redistributed@0.2", "sinks:redistributed", ()),
    ],
)
def test_names_are_taken_apart_and_put_together(
    text: str, form: str, values: tuple[str, ...]
) -> None:
    name = names.read(text, hs.ablations())
    assert name is not None
    assert (name.form, name.values) == (form, values)
    assert name.text == text


@pytest.mark.parametrize("text", ["", "nobody", "zeros", "hops<2"])
def test_a_name_of_no_form(text: str) -> None:
    assert names.read(text, hs.ablations()) is None


def test_every_form_has_a_first_name_that_is_one() -> None:
    """What the page offers can be typed: `ablation` knows it."""
    from headscope.models.ablations import ablation

    for form in names.plain_forms(hs.ablations()):
        assert ablation(names.first_of(form).text)
        assert form in names.words(form)
