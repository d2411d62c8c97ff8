"""Which studies the page offers: given, opened lately, samples; and how samples are made."""

import json
from pathlib import Path

import numpy as np
import pytest

import headscope as hs
from headscope.app import demo_studies, studies
from headscope.app.cli import main
from headscope.app.serve import STUDIES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(STUDIES, raising=False)
    monkeypatch.setenv(studies.HOME, str(tmp_path / "home"))
    return tmp_path / "home"


def zipped(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(studies.samples()["sample/supervised"].read_bytes())
    return place


def test_samples_open_and_say_what_they_are() -> None:
    for name, path in studies.samples().items():
        study = hs.open_study(path)
        assert studies.title(name) == f"Sample study: {study.model}, 60 scenes"
        assert name == f"sample/{study.model.removeprefix('demo/')}"
        assert study.is_complete
        assert study.data["ablation"].values.tolist() == ["zero", "mean", "class-to-patch"]
        assert np.bincount(study.data["label"].values).tolist() == [5] * 12
        assert len(hs.open_patterns(study).latents) == 60 * 24
        assert path.stat().st_size < 4e6
        digest = study.model_digest
        assert digest == hs.load(study.model).digest, "made of the checkpoint that is shipped"
    assert set(studies.samples()) == {f"sample/{name}" for name in demo_studies.NAMES}
    assert set(studies.samples()) <= set(studies.known())


def test_what_was_opened_is_offered_until_it_vanishes(tmp_path: Path) -> None:
    first, second = zipped(tmp_path / "a" / "one.zip"), zipped(tmp_path / "b" / "two.zip")
    for path in (first, second, first):
        studies.remember(path)
    assert studies.recent() == [first, second]
    assert list(studies.known())[:2] == ["one.zip", "two.zip"]
    assert studies.named(second) == "two.zip"
    second.unlink()
    assert studies.recent() == [first]
    assert "two.zip" not in studies.known()


def test_equal_names_are_told_apart_by_their_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [zipped(tmp_path / folder / "one.zip") for folder in "abc"]
    monkeypatch.setenv(STUDIES, str(paths[0]))
    for path in paths:
        studies.remember(path)
    known = studies.known()
    assert known["one.zip"] == paths[0]
    assert {known[str(path)] for path in paths[1:]} == set(paths[1:])


def test_as_many_as_are_worth_a_list(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.zip" for i in range(studies.REMEMBERED + 3)]
    for path in paths:
        path.touch()
        studies.remember(path)
    assert studies.recent() == paths[::-1][: studies.REMEMBERED]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', "[1, null]", '["relative.zarr"]', "\x00"])
def test_a_memory_that_is_not_ours_is_empty(home: Path, text: str) -> None:
    home.mkdir()
    (home / "recent-studies.json").write_text(text)
    assert studies.recent() == []


def test_a_home_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(studies.HOME, str(tmp_path / "file" / "home"))
    studies.remember(zipped(tmp_path / "one.zip"))
    assert studies.recent() == []


def test_a_typed_place_is_a_study_or_not(tmp_path: Path) -> None:
    path = zipped(tmp_path / "one.zarr.zip")
    (tmp_path / "weights.pth").touch()
    assert studies.at(str(path)) == path
    for text in ("vit_base_patch16_224", str(tmp_path / "weights.pth"), "\x00", "~nobody/x", ""):
        assert studies.at(text) is None


def test_samples_are_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STUDIES, str(studies.samples()["sample/supervised"]))
    assert studies.first() == "sample/supervised"


def test_the_same_command_makes_the_same_numbers(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        demo_studies.make(["demo/supervised"], out=tmp_path / folder, per_class=1)
    first, second = (
        hs.open_study(tmp_path / folder / "supervised.zarr.zip").data
        for folder in ("first", "second")
    )
    for name, variable in first.data_vars.items():
        if np.issubdtype(variable.dtype, np.floating):
            # float32; kernels may add in another order the second time
            np.testing.assert_allclose(second[name], variable, rtol=1e-3, atol=1e-4)
        else:
            assert (second[name] == variable).all()


def test_demo_studies_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["demo", "studies", "nope", "--out", str(tmp_path)]) == 2
    assert "no sample study 'nope'" in capsys.readouterr().err
    zipped(tmp_path / "masked.zarr.zip")
    assert main(["demo", "studies", "masked", "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_rounding_is_to_the_nearest() -> None:
    values = np.random.default_rng(0).lognormal(size=10_000).astype(np.float32)
    values[:3] = np.nan, 0, -values[1]
    rounded = demo_studies.rounded(values, 8)
    assert np.isnan(rounded[0])
    assert rounded[1] == 0
    assert np.max(np.abs(rounded[3:] / values[3:] - 1)) <= 2**-9 * (1 + 1e-6)
    assert (rounded.view(np.uint32)[3:] & ((1 << 15) - 1) == 0).all()


def test_the_memory_is_plain(tmp_path: Path, home: Path) -> None:
    path = zipped(tmp_path / "one.zip")
    studies.remember(path)
    assert json.loads((home / "recent-studies.json").read_text()) == [str(path)]
