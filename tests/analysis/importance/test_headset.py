"""Head sets: the query language, files, and the effect of a set removed as one."""

import numpy as np
import pytest
import xarray as xr

import headscope as hs
from headscope.analysis.importance.headset import HeadSet, joint_effect
from headscope.analysis.importance.query import query_names
from headscope.analysis.importance.tables import effect_rows

from .teamwork import contents, probability_without, teamwork

ABLATIONS = ("zero", "mean", "hops>3", "hops>3:renormalised")


class MadeUp:
    """What a query reads of a study, with numbers that are known."""

    def __init__(self):
        nan = np.nan
        entropy = [[[1.0, 2.0], [3.0, nan]], [[3.0, 2.0], [3.0, nan]], [[nan] * 2] * 2]
        drop = np.zeros((3, 4, 2, 2))
        drop[:, 0] = [[0.1, 0.2], [0.3, nan]]
        drop[:, 1] = [[0.5, 0.2], [-0.3, nan]]
        drop[:, 2], drop[:, 3] = 0.6, [[0.7, 0.8], [0.6, nan]]
        per_head = ("image", "layer", "head")
        self.data = xr.Dataset(
            {
                "entropy": (per_head, np.array(entropy)),
                "distance": (per_head, np.broadcast_to([[10.0, 20.0], [30.0, nan]], (3, 2, 2))),
                "probability_drop": (("image", "ablation", "layer", "head"), drop),
            },
            {"ablation": list(ABLATIONS), "n_heads": ("layer", [2, 1])},
        )

    def head_metrics(self):
        for ablation in ABLATIONS:
            yield self.data["probability_drop"].sel(ablation=ablation)
        yield self.data["entropy"]
        yield self.data["distance"]


A, B, C = (0, 0), (0, 1), (1, 0)
"""Mean entropy 2, 2, 3; deviation √2, 0, 0; distance 10, 20, 30; drops 0.1, 0.2, 0.3 and 0.5, 0.2,
−0.3. Layer 1 has one head; the third image is not done."""


@pytest.mark.parametrize(
    ("query", "heads"),
    [
        ("entropy < 3", [A, B]),
        ("entropy < 3 and distance > 10", [B]),
        ("entropy == 3 or distance <= 10", [A, C]),
        ("not entropy < 3", [C]),
        ("not (entropy < 3 and distance > 10)", [A, C]),
        ("10 < distance < 30", [B]),
        ("10 <= distance <= 30 != distance", [A, B]),
        ("layer == 0", [A, B]),
        ("layer >= 0 and head == 0", [A, C]),
        ("probability_drop > 0.15", [B, C]),
        ("probability_drop:zero > 0.15", [B, C]),
        ("probability_drop:mean > 0.15", [A, B]),
        ("probability_drop:mean < -0.1", [C]),
        ("probability_drop:mean > probability_drop", [A]),
        ("probability_drop:mean!=probability_drop:zero", [A, C]),
        ("probability_drop:hops>3 > 0.5", [A, B, C]),
        ("probability_drop:hops>3:renormalised>probability_drop:hops>3", [A, B]),
        ("std(entropy) > 1", [A]),
        ("std(entropy) == 0", [B, C]),
        ("max(entropy) >= 3 and min(entropy) <= 1", [A]),
        ("median(probability_drop:mean) > +0.4", [A]),
        ("-distance < -15", [B, C]),
        ("1 < 2", [A, B, C]),
        ("  entropy > 99 ", []),
    ],
)
def test_a_query_picks_its_heads(query, heads):
    found = HeadSet.where(MadeUp(), query)
    assert found == HeadSet(query, tuple(heads), query)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("entrpy < 1", "no 'entrpy'; did you mean entropy"),
        ("probability_drop:man > 0", "did you mean probability_drop:mean"),
        ("probability_drop:hops>35 > 0", "no 'probability_drop:hops'"),
        ("entropy", "'entropy' is no comparison"),
        ("entropy and distance > 1", "'entropy' is no comparison"),
        ("(entropy < 1) < 2", "neither a number nor the name"),
        ("entropy <", "incomplete, misspelt"),
        ("", "incomplete, misspelt"),
        ("entropy = 1", "incomplete, misspelt"),
        ("entropy < 1; distance > 1", "incomplete, misspelt"),
        ("entropy + 1 < 2", "neither a number"),
        ("entropy < 'a'", "is no number"),
        ("entropy < True", "is no number"),
        ("entropy < 1j", "is no number"),
        ("layer in (1, 2)", "neither a number|by a word"),
        ("layer is head", "by a word"),
        ("open(entropy) > 1", r"no open\(…\); there are: mean, median, std"),
        ("std(entropy, head) > 1", "takes the name of one metric"),
        ("std(entropy < 1) > 1", "takes the name of one metric"),
        ("std(probability_drop:mean) + 1 > 0", r"'std\(probability_drop:mean\) \+ 1' is neither"),
        ("().__class__ > 1", "neither a number"),
        ("__import__('os').system('true') > 1", r"there is no __import__\('os'\).system"),
        ("[x for x in entropy] > 1", "neither a number"),
        ("(lambda: 1)() > 0", "there is no"),
        ("entropy < " + "9" * 400, "too deep"),
        ("not " * 400 + "1 < 2", "characters, of at most"),
        ("(" * 450 + "1 < 2" + ")" * 450, "too deep"),
    ],
)
def test_what_is_no_query_gets_a_sentence_and_is_never_run(query, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence) as caught:
        HeadSet.where(MadeUp(), query)
    assert len(str(caught.value)) < 300


def test_a_query_reads_a_real_study(demo):
    study = hs.analyze(demo, hs.sample_images()["scene-8"].read())
    names = query_names(study)
    assert {"layer", "head", "entropy", "distance", "probability_drop"} <= set(names)
    assert "hop_share" not in names, "a row of numbers is no number"
    chosen = HeadSet.where(study, "entropy < 3 and distance > 20", name="far and sharp")
    entropy, distance = (study.data[name].values[0] for name in ("entropy", "distance"))
    expected = {(int(a), int(b)) for a, b in np.argwhere((entropy < 3) & (distance > 20))}
    assert set(chosen) == expected
    assert 0 < len(chosen) < sum(demo.n_heads)
    assert chosen.name == "far and sharp"
    with hs.ablate(demo, chosen.heads):
        pass


def test_a_set_is_saved_and_loaded(tmp_path):
    path = tmp_path / "set.json"
    chosen = HeadSet("σ and π", ((3, 1), (0, 2), (3, 1)), "layer > 0")
    assert chosen.heads == ((0, 2), (3, 1))
    assert len(chosen) == 2
    chosen.save(path)
    assert HeadSet.load(path) == chosen
    assert "σ and π" in path.read_text(encoding="utf-8")
    with pytest.raises(hs.HeadscopeError, match="cannot be written"):
        chosen.save(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "no json",
        "[]",
        '"heads"',
        '{"name": "a", "query": ""}',
        '{"name": "a", "query": "", "heads": 3}',
        '{"name": "a", "query": "", "heads": [[0, 0.5]]}',
        '{"name": "a", "query": "", "heads": [[0, -1]]}',
    ],
)
def test_what_is_no_saved_set_gets_a_sentence(tmp_path, text):
    path = tmp_path / "set.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(hs.HeadscopeError, match="holds no head set"):
        HeadSet.load(path)


@pytest.mark.parametrize("heads", [((0,),), ((0, -1),), ((0, 1.5),), (3,)])
def test_what_is_no_head_gets_a_sentence(heads):
    with pytest.raises(hs.HeadscopeError, match="is no head"):
        HeadSet("", heads)


def test_numpy_numbers_are_heads():
    assert HeadSet("", (np.array([1, 2]),)).heads == ((1, 2),)


def test_the_effect_of_a_set_is_that_of_ablating_it(known_crops):
    team = teamwork()
    batch = team.prepare(known_crops)
    backups = HeadSet("backups", ((0, 0), (1, 0)))
    effect = joint_effect(team, batch, backups, target="held")
    m = contents(batch)
    expected = probability_without([], m) - probability_without(backups, m)
    np.testing.assert_allclose(effect.effect, expected, atol=1e-12)
    with hs.ablate(team, backups):
        removed = team.run(batch).softmax(-1)[:, 0].numpy()
    np.testing.assert_allclose(effect.removed, removed, atol=1e-12)
    assert effect.mean == pytest.approx(expected.mean())
    assert effect.standard_error == pytest.approx(expected.std(ddof=1) / np.sqrt(3))
    rows = effect_rows(effect, ["a", "b", "c"])
    assert [row["effect"] for row in rows] == effect.effect.tolist()
    assert rows[0]["head_set"] == "backups"
    again = joint_effect(team, batch, [(0, 0), (1, 0)], target="held")
    np.testing.assert_array_equal(again.effect, effect.effect)
