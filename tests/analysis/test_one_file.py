"""A study as one file: the same study, the same bytes, and a sentence where it is damaged."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import headscope as hs

SAMPLE = Path(hs.__file__).parent / "assets" / "sample-studies" / "supervised.zarr.zip"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> hs.Study:
    samples = hs.sample_images()
    photographs = [samples[name].read() for name in ("scene-8", "coffee", "scene-9")]
    path = tmp_path_factory.mktemp("one") / "three.zarr"
    return hs.analyze(hs.load("demo/supervised"), photographs, metrics=["entropy"], out=path)


@pytest.fixture(scope="module")
def packed(folder: hs.Study) -> hs.Study:
    assert folder.path is not None
    return folder.save(folder.path.with_suffix(".zarr.zip"))


def test_the_file_holds_the_same_study(folder: hs.Study, packed: hs.Study) -> None:
    assert packed.path is not None
    assert packed.path.is_file()
    xr.testing.assert_identical(packed.data.load(), folder.data.load())
    assert packed.data.attrs == folder.data.attrs
    assert packed.settings == folder.settings
    assert packed.is_complete


def test_the_same_study_is_the_same_bytes(folder: hs.Study, packed: hs.Study) -> None:
    assert packed.path is not None
    again = folder.save(packed.path.with_name("again.zip")).path
    assert again is not None
    assert again.read_bytes() == packed.path.read_bytes()
    assert [each.name for each in again.parent.iterdir() if each.name.startswith(".")] == []


def test_a_folder_can_be_made_of_it(packed: hs.Study, tmp_path: Path) -> None:
    back = packed.save(tmp_path / "back.zarr")
    assert (tmp_path / "back.zarr" / "zarr.json").is_file()
    xr.testing.assert_identical(back.data.load(), packed.data.load())


def test_an_interrupted_study_stays_interrupted(tmp_path: Path) -> None:
    def stop(state: object) -> None:
        if getattr(state, "done", 0) >= 1:
            raise KeyboardInterrupt

    samples = hs.sample_images()
    photographs = [samples[name].read() for name in ("scene-8", "coffee")]
    checkpoint = hs.load("demo/supervised")
    with pytest.raises(KeyboardInterrupt):
        hs.analyze(
            checkpoint,
            photographs,
            metrics=["entropy"],
            batch_size=1,
            out=tmp_path / "half.zarr",
            progress=stop,
        )
    half = hs.open_study(tmp_path / "half.zarr")
    assert half.n_done == 1
    packed = half.save(tmp_path / "half.zarr.zip")
    assert (packed.n_done, packed.n_images, packed.is_complete) == (1, 2, False)
    np.testing.assert_array_equal(packed.data["entropy"].values, half.data["entropy"].values)


def test_patterns_come_along_and_cannot_be_written(tmp_path: Path) -> None:
    study = hs.open_study(SAMPLE)
    patterns = hs.open_patterns(study)
    assert len(patterns.latents) == 60 * 24
    with pytest.raises(hs.HeadscopeError, match="one file, which cannot be changed"):
        patterns.save(study)
    back = hs.open_patterns(study.save(tmp_path / "sample.zarr"))
    np.testing.assert_array_equal(back.latents, patterns.latents)


def test_it_is_not_gone_on_with_nor_written_image_by_image(
    packed: hs.Study, tmp_path: Path
) -> None:
    assert packed.path is not None
    checkpoint, image = hs.load("demo/supervised"), hs.sample_images()["scene-8"].read()
    with pytest.raises(hs.HeadscopeError, match="one file, which cannot be gone on with"):
        hs.analyze(checkpoint, [image], out=packed.path)
    with pytest.raises(hs.HeadscopeError, match="cannot grow image by image"):
        hs.analyze(checkpoint, [image], out=tmp_path / "new.zip")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(hs.HeadscopeError, match="exists already"):
        packed.save(packed.path)


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.999])
def test_a_cut_file_is_no_study(packed: hs.Study, tmp_path: Path, kept: float) -> None:
    assert packed.path is not None
    data = packed.path.read_bytes()
    cut = tmp_path / "cut.zarr.zip"
    cut.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    with pytest.raises(hs.HeadscopeError, match=r"cut\.zarr\.zip"):
        hs.open_study(cut)


def test_a_flipped_byte_is_damage(packed: hs.Study, tmp_path: Path) -> None:
    """Zip keeps a check sum of every entry."""
    assert packed.path is not None
    data = bytearray(packed.path.read_bytes())
    place = data.find(b"entropy/c/0/0/0") + len(b"entropy/c/0/0/0") + 20
    data[place] ^= 0xFF
    spoiled = tmp_path / "spoiled.zarr.zip"
    spoiled.write_bytes(data)
    with pytest.raises(hs.HeadscopeError, match="damaged"):
        hs.open_study(spoiled).load()
