"""The table: every number is that of the score's own function, and what is missing is told."""

import csv
import importlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain.base import Answer, Method, Question
from headscope.analysis.faithfulness import (
    SCORES,
    Explaining,
    compare_explanations,
    deletion_insertion,
    energy_in_mask,
    iou,
    pointing_game,
    road,
)

from .games import contributions, gradient_times_input, noise, target, tiny

N_IMAGES = 8


def parts(checkpoint: hs.Checkpoint, batch: torch.Tensor, images: np.ndarray) -> np.ndarray:
    """The true parts of the score, of whatever model."""
    return contributions(batch)


def masks() -> np.ndarray:
    return np.random.default_rng(0).random((N_IMAGES, 32, 32)) < 0.3


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return noise(N_IMAGES)


@pytest.fixture(scope="module")
def table(known: hs.Checkpoint, batch: torch.Tensor):
    return compare_explanations(
        known,
        batch,
        {"parts": parts, "gradient": gradient_times_input},
        masks=masks(),
        maps={"upside down": -contributions(batch)},
        target=0,
        quantity="score",
        steps=16,
        n_costly=2,
    )


def test_its_numbers_are_those_of_the_scores_alone(known, batch, table) -> None:
    names = [score.name for score in SCORES]
    assert table.values.shape == (6, len(SCORES), N_IMAGES)
    of = dict(zip(names, table.values[0], strict=True))
    maps, aim = contributions(batch), target(batch)
    curves = deletion_insertion(known, batch, maps, aim, steps=16, quantity="score")
    # float64, in other batches.
    np.testing.assert_allclose(of["deletion"], curves.deletion_area, atol=1e-12)
    np.testing.assert_allclose(of["insertion"], curves.insertion_area, atol=1e-12)
    np.testing.assert_allclose(of["difference"], curves.difference, atol=1e-12)
    np.testing.assert_allclose(table.curves["parts"].most_first, curves.most_first, atol=1e-12)
    removed = road(known, batch, maps, aim, quantity="score")
    np.testing.assert_allclose(of["road"], removed.score, atol=1e-12)
    np.testing.assert_allclose(of["pointing"], pointing_game(maps, masks()))
    np.testing.assert_allclose(of["iou"], iou(maps, masks()))
    np.testing.assert_allclose(of["energy"], energy_in_mask(maps, masks()))
    np.testing.assert_allclose(of["infidelity"], 0, atol=1e-12)
    # These ignore the model: the copy's maps are the same.
    np.testing.assert_allclose(of["randomised"][:2], 1)
    assert np.isnan(of["randomised"][2:]).all()
    assert np.isfinite(of["sensitivity"][:2]).all()
    assert np.isnan(of["sensitivity"][2:]).all()
    given = dict(zip(names, table.values[2], strict=True))
    np.testing.assert_allclose(given["difference"], -of["difference"], atol=1e-12)
    assert np.isnan(given["sensitivity"]).all()
    assert np.isnan(given["randomised"]).all()


def test_the_true_map_beats_every_baseline(table) -> None:
    column = [score.name for score in table.scores].index("difference")
    for baseline in table.baselines:
        paired = table.against(baseline)
        assert paired.low[table.methods.index("parts"), column] > 0
        assert paired.high[table.methods.index("upside down"), column] < 0
        row = table.methods.index(baseline)
        assert paired.mean[row, column] == paired.low[row, column] == 0
    with pytest.raises(hs.HeadscopeError, match="no 'luck'"):
        table.against("luck")


def test_it_is_labelled_and_written_out(table) -> None:
    data = table.data
    assert data["value"].dims == ("explanation", "score", "image")
    by_hand = data["value"].sel(explanation="parts", score="difference").mean("image")
    np.testing.assert_allclose(data["mean"].sel(explanation="parts", score="difference"), by_hand)
    assert int(data["n_images"].sel(explanation="parts", score="randomised")) == 2
    assert data["is_baseline"].values.tolist() == [False] * 3 + [True] * 3
    assert data.attrs["quantity"] == "score"

    rows = table.rows()
    assert len(rows) == 6 * len(SCORES)
    written = io.StringIO()
    writer = csv.DictWriter(written, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    assert written.getvalue().count("\n") == len(rows) + 1

    lines = table.markdown().splitlines()
    assert "Insertion − deletion ↑" in lines[0]
    assert lines[0].count("|") == lines[1].count("|") == len(SCORES) + 2
    assert "(baseline)" in lines[5]
    mean = float(by_hand)
    assert f"**{mean:.3f}" in lines[2]  # the best is bold
    text = table.markdown()
    assert "On the first 2 of 8 images: Max-sensitivity" in text
    assert "parts hardly changes" in text
    assert "centre hardly" not in text  # of a baseline it is known
    assert "hardly changes" in table.randomisations["centre"].sentence
    column = [score.name for score in SCORES].index("randomised") + 2
    assert "**" not in lines[2].split("|")[column]  # a check, no race


@pytest.fixture
def tiny_methods(monkeypatch: pytest.MonkeyPatch) -> dict[str, Method]:
    found = {
        "quick": tiny("quick"),
        "slow": tiny("slow", slow=True),
        "misfit": tiny("misfit", why="it has no nose."),
    }
    for module in ("explain.explain", "faithfulness.evaluate"):
        # Both modules share their name with a function that their package exports.
        where = importlib.import_module(f"headscope.analysis.{module}")
        monkeypatch.setattr(where, "explanations", lambda: found)
    return found


def test_registered_methods_are_asked_and_misfits_are_told(known, batch, tiny_methods) -> None:
    told: list[tuple[float, str]] = []
    table = compare_explanations(
        known,
        batch,
        target="bright",
        scores=["difference", "stability"],
        baselines=["centre"],
        n_slow=3,
        n_costly=4,
        progress=lambda share, doing: told.append((share, doing)),
    )
    assert table.methods == ("quick", "slow", "centre")
    assert table.reasons == {"misfit": "it has no nose."}
    assert np.isfinite(table.values).sum(-1).tolist() == [[8, 4], [3, 1], [8, 0]]
    assert (table.values[0, 1, :4] < 1).all()
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert any(doing == "slow: seeds" for _, doing in told)
    assert any(doing == "slow: maps" and share % (1 / 3) > 0 for share, doing in told)
    agreement = table.agreement()
    assert agreement.names == table.methods
    assert agreement.rho.shape == (3, 3, 3)  # the slow one has three images
    np.testing.assert_allclose(agreement.mean[[0, 1], [0, 1]], 1)
    text = table.markdown()
    assert "Tiny misfit was left out: it has no nose." in text
    assert "On the first 3 of 8 images: Tiny slow." in text
    assert "On the first 4 of 8 images: Stable across seeds." in text
    assert "On the first 1: the same scores of Tiny slow." in text
    assert table.rows()[-1]["reason"] == "it has no nose."
    # The best of a column is one with the most images: the slow one has 3 of 8.
    assert text.splitlines()[2].count("**") == 2
    assert text.splitlines()[3].count("**") == 0


def test_a_target_stays_the_same_for_variants(known, batch, tiny_methods) -> None:
    seen: list[Question] = []

    def compute(question: Question) -> Answer:
        seen.append(question)
        return Answer(np.zeros((len(question.batch), 4, 4)))

    tiny_methods["quick"] = replace(tiny_methods["quick"], compute=compute)
    classes = torch.tensor([0, 1, 1, 0, 0, 1, 0, 1])
    aim = replace(target(batch), classes=classes, against=1 - classes)
    images = np.array([5, 0, 5])
    Explaining("quick", aim)(known, batch[images] * 0, images)
    assert seen[0].target.classes.tolist() == [1, 0, 1]  # type: ignore[union-attr]
    assert seen[0].target.against.tolist() == [0, 1, 0]  # type: ignore[union-attr]


def test_whatever_stops_it_leaves_the_model_free(known, batch) -> None:
    def stop(share: float, doing: str) -> None:
        if "infidelity" in doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_explanations(known, batch, {"parts": parts}, target=0, progress=stop)
    assert known.lock.acquire(blocking=False)
    known.lock.release()


def test_a_model_without_classes_is_scored_by_its_features(small: hs.Checkpoint) -> None:
    small = replace(small, labels=())
    batch = torch.randn(6, 3, 48, 80, generator=torch.manual_seed(0))
    table = compare_explanations(small, batch, {}, scores=["difference", "infidelity"])
    assert table.quantity == "score"
    assert table.methods == ("centre", "random", "edges")
    assert np.isfinite(table.values).all()


def test_what_is_not_there_gets_a_sentence(known, batch) -> None:
    with pytest.raises(hs.HeadscopeError, match="score 'beauty'"):
        compare_explanations(known, batch, {}, scores=["beauty"])
    with pytest.raises(hs.HeadscopeError, match="needs masks"):
        compare_explanations(known, batch, {}, scores=["iou"])
    with pytest.raises(hs.HeadscopeError, match="baseline 'luck'"):
        compare_explanations(known, batch, {}, baselines=["luck"])
    with pytest.raises(hs.HeadscopeError, match="no method 'dream'"):
        compare_explanations(known, batch, ["dream"])
    with pytest.raises(hs.HeadscopeError, match="name of a baseline"):
        compare_explanations(known, batch, {"centre": parts})
    with pytest.raises(hs.HeadscopeError, match="16×16 px"):
        compare_explanations(known, batch, {}, masks=masks()[:, :16, :16])
    with pytest.raises(hs.HeadscopeError, match="8"):
        compare_explanations(known, batch, {}, masks=masks()[:3])
