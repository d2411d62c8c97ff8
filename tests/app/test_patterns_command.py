"""`headscope patterns`: learned, kept in the study, told."""

import pytest

import headscope as hs
from headscope.analysis.patterns import open_patterns
from headscope.app.cli import main


@pytest.fixture(scope="module")
def path(demo, tmp_path_factory):
    from headscope.models.demo.scenes import scene

    out = tmp_path_factory.mktemp("command") / "demo.zarr"
    hs.analyze(demo, [scene(seed).image for seed in range(6)], importance=False, out=out)
    return out


def test_patterns_are_kept_and_told(path, capsys):
    arguments = [str(path), "--clusters", "3", "--seed", "2", "--no-umap"]
    assert main(["patterns", *arguments]) == 0
    told = capsys.readouterr().out
    found = open_patterns(hs.open_study(path))
    assert found.clustering.n == 3
    assert found.training.seed == found.clustering.seed == 2
    assert "3 patterns of 24 heads on 6 images" in told
    for name in found.names:
        assert name in told
    assert main(["patterns", *arguments]) == 0
    again = open_patterns(hs.open_study(path))
    assert (again.clustering.labels == found.clustering.labels).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--clusters", "1"], "no number of clusters"),
        (["--seed", "-1"], "no seed"),
        (["--method", "hdbscan", "--clusters", "3"], "leave --clusters out"),
        (["--method", "magic"], "invalid choice"),
    ],
)
def test_wrong_usage_gets_a_sentence(path, capsys, arguments, sentence):
    assert main(["patterns", str(path), *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_no_study_gets_a_sentence(tmp_path, capsys):
    assert main(["patterns", str(tmp_path / "none.zarr")]) == 2
    assert "no study at" in capsys.readouterr().err
