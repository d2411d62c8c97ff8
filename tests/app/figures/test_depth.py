"""Charts of heads in depth: what they draw, in which colours, and their tables."""

import json
from typing import Any

import numpy as np
import pytest

from headscope.analysis.importance.curves import RandomBand, RemovalCurve, RemovalCurves
from headscope.analysis.importance.evidence import draw_order
from headscope.analysis.importance.race import Race
from headscope.analysis.importance.ranking import race_ranking
from headscope.analysis.importance.ranking import ranking as rank
from headscope.analysis.importance.synergy import Synergy
from headscope.analysis.importance.tables import ranking_rows
from headscope.analysis.importance.values import Value
from headscope.app.figures import ranking, removal, synergy
from headscope.app.figures.encode import csv
from headscope.app.figures.template import DARK, LIGHT, Colours, number

NAN = np.nan
PROBABILITY = Value("probability", "Probability", "probability", "", True, lambda *given: given[0])


def drawn(figure: Any) -> list[Any]:
    """The traces, of a type that plotly does not state."""
    return list(figure.data)


def scores(n_images: int) -> np.ndarray:
    """Two layers of two heads and one; head (1, 0) is the most important."""
    rng = np.random.default_rng(0)
    means = np.array([[0.1, 0.3], [0.5, NAN]])
    return means + 0.01 * rng.standard_normal((n_images, 2, 2))


def test_heads_come_in_order_with_intervals() -> None:
    found = rank(scores(20), label="Drop", units="probability")
    assert found.heads == ((1, 0), (0, 1), (0, 0))
    (dots,) = drawn(ranking.chart(found))
    np.testing.assert_allclose(dots.y, found.mean)
    np.testing.assert_allclose(np.array(dots.y) + dots.error_y.array, found.high)
    np.testing.assert_allclose(np.array(dots.y) - dots.error_y.arrayminus, found.low)
    assert "bootstrap" in found.interval
    assert found.neighbours((0, 1), 1) == [(1, 0), (0, 0)]


@pytest.mark.parametrize(("n_images", "has"), [(1, False), (2, False), (4, True), (20, True)])
def test_few_images_have_a_reason_and_no_bar(n_images: int, *, has: bool) -> None:
    found = rank(scores(n_images), label="Drop", units="probability")
    (dots,) = drawn(ranking.chart(found))
    assert np.isfinite(found.low).all() == has
    assert any(dots.error_y.array) == has
    assert bool(found.interval) == has
    assert ("too few" in found.reason) == (not has)


def test_heads_that_ablations_disagree_about_stand_out() -> None:
    flagged = np.array([[True, False], [False, False]])
    found = rank(scores(8), label="Drop", units="probability", flagged=flagged)
    figure = ranking.chart(found, chosen=(0, 1))
    shape = {trace.name: trace.marker.symbol for trace in drawn(figure)}
    assert shape["zero and mean ablation disagree"] == "diamond"
    assert drawn(figure)[-1].x == (1,)  # the ring of the chosen head
    assert [row["ablations_disagree"] for row in ranking_rows(found)] == [False, False, True]


def test_a_race_shows_who_is_decided() -> None:
    race = Race(np.isfinite(scores(1)[0]), draw_order(100), 1)
    race.update(scores(60)[:, [0, 0, 1], [0, 1, 0]])
    found = race_ranking(race, label="Drop", units="probability")
    assert found.places[0] == "among the top"
    assert found.heads[0] == (1, 0)
    names = {trace.name for trace in drawn(ranking.chart(found))}
    assert names <= {"among the top", "not among the top", "undecided"}


def test_before_two_images_a_race_has_no_bars() -> None:
    race = Race(np.isfinite(scores(1)[0]), draw_order(100), 1)
    race.update(scores(1)[:, [0, 0, 1], [0, 1, 0]])
    found = race_ranking(race, label="Drop", units="probability")
    assert not np.isfinite(found.low).any()
    assert found.reason


def curve(name: str, values: list[float]) -> RemovalCurve:
    per_image = np.array(values)[:, None] + [[-0.1, 0.1]]
    heads = ((0, 0), (0, 1), (1, 0))
    return RemovalCurve(name, PROBABILITY, heads, np.arange(4), per_image, 3)


def test_the_band_is_closed_and_behind_the_lines() -> None:
    random = (curve("random 0", [0.9, 0.8, 0.5, 0.1]), curve("random 1", [0.9, 0.6, 0.3, 0.1]))
    curves = RemovalCurves(
        PROBABILITY,
        "zero",
        2,
        3,
        (curve("most", [0.9, 0.4, 0.2, 0.1]), curve("least", [0.9, 0.9, 0.8, 0.1])),
        RandomBand(random, (0.0, 1.0), 0),
    )
    figure: Any = removal.chart(curves)
    band, _, most, least = drawn(figure)
    np.testing.assert_allclose(band.y, [0.9, 0.8, 0.5, 0.1, 0.1, 0.3, 0.6, 0.9])
    np.testing.assert_allclose(most.y, [0.9, 0.4, 0.2, 0.1])
    assert (most.name, least.name) == ("most", "least")
    assert "± 0.1 probability" in most.text[1]
    assert "layer 0, head 0" in most.text[1]
    assert "probability" in figure.layout.yaxis.title.text


def pairs() -> Synergy:
    """Two backups of effect 0.1 alone and 0.6 together, and a third that adds up."""
    alone = np.array([0.1, 0.1, 0.2])
    together = alone[:, None] + alone + np.diag(-alone)
    together[0, 1] = together[1, 0] = 0.6
    shift = np.array([-0.01, 0.01])[:, None]
    return Synergy(
        ((0, 0), (0, 1), (1, 0)),
        PROBABILITY,
        "zero",
        alone + shift,
        together + shift[..., None],
    )


def test_synergy_is_symmetric_around_zero_and_empty_where_there_is_no_pair() -> None:
    (cells,) = drawn(synergy.chart(pairs()))
    assert cells.zmin == -cells.zmax
    assert cells.zmax == pytest.approx(0.4)
    assert [cells.z[i][i] for i in range(3)] == [None] * 3
    assert cells.z[0][1] == cells.z[1][0] == pytest.approx(0.4)
    assert "± 0.01 probability" in cells.text[0][1]
    assert "Layer 0, head 1 alone 0.1" in cells.text[0][1]


@pytest.mark.parametrize(("dark", "colours"), [(False, LIGHT), (True, DARK)])
def test_charts_bring_their_own_colours(*, dark: bool, colours: Colours) -> None:
    found = rank(scores(8), label="Drop", units="probability")
    for figure in (ranking.chart(found, dark=dark), synergy.chart(pairs(), dark=dark)):
        text = str(figure.to_json())
        sent = json.loads(text)
        assert sent["layout"]["template"]["layout"]["font"]["color"] == colours.text
        assert "NaN" not in text


def test_numbers_are_short_and_signed() -> None:
    assert [number(x) for x in (-0.01234, 2.0, NAN)] == ["−0.0123", "2", "–"]
    assert number(1.5e-7) == "1.5·10<sup>-7</sup>".replace("-", "−")


def test_tables_leave_out_what_is_no_number() -> None:
    assert csv([{"a": 1.5, "b": NAN, "c": "x,y"}]) == 'a,b,c\n1.5,,"x,y"\n'
    assert csv([]) == ""
