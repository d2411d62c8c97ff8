"""Studies: what is written is what is read, interrupted ones go on, damaged ones say so."""

import dataclasses
import errno
import json
import shutil

import numpy as np
import pytest
import timm
import xarray as xr
import zarr
from PIL import Image

import headscope as hs


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [
        hs.read_image(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8), name=f"photo {i}")
        for i in range(5)
    ]


@pytest.fixture(scope="module")
def study(small, photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "whole.zarr"
    return hs.analyze(small, photographs, target=7, out=out, batch_size=2)


UNREAD = ("patch_cosine", "patch_l2")
"""Metrics that say nothing about the last layer: what leaves its patches is read by nobody."""


ACROSS_LIMITS = {"rtol": 1e-3, "atol": 1e-4}
"""Differences of variances in float32 lose some digits more."""


class StoppedError(Exception):
    pass


def stop_after(n_images):
    def progress(progress):
        if progress.done >= n_images:
            raise StoppedError

    return progress


def test_a_study_holds_every_number_for_every_head(study, small):
    data = study.data
    assert study.is_complete
    assert data.sizes["image"] == 5
    for name in ("probability_drop", "js_divergence", "class_cosine"):
        assert data[name].dims == ("image", "ablation", "layer", "head")
    for name in ("distance", "entropy"):
        assert data[name].dims == ("image", "layer", "head")
    assert data["hop_share"].sizes["hop"] == 5
    assert data["share"].dims[-2:] == ("query_kind", "key_kind")
    for name, variable in data.data_vars.items():
        unread = name in UNREAD
        values = variable.isel(layer=slice(-1)) if unread else variable
        assert not values.isnull().any(), name
        assert not unread or variable.isel(layer=-1).isnull().all(), name
        assert variable.attrs["long_name"], name
    assert data["content_share"].dims == ("layer", "head")
    for variable in study.head_metrics():
        assert variable.dims[-2:] == ("layer", "head")
        assert set(variable.dims[:-2]) <= {"image"}
        assert isinstance(variable.attrs["signed"], bool)
        scope = variable.attrs.get("scope")
        assert scope in (("global", "local") if "ablation" in variable.coords else (None,))
        assert variable.attrs["units"]
        assert variable.attrs["description"]
    assert (data["target"] == 7).all()
    assert data.attrs["model_digest"] == small.digest
    assert json.loads(data.attrs["versions"])["timm"]
    assert study.layout == small.layout
    assert study.labels == small.labels
    np.testing.assert_allclose(
        data["target_probability"],
        small.probabilities(small.prepare(data["pixels"].values))[:, 7],
        rtol=1e-5,  # float32, and another batch size
    )


def test_plain_xarray_opens_it(study):
    data = xr.open_zarr(study.path, consolidated=False)
    assert data["distance"].attrs["units"] == "px"
    assert data["image"].values.tolist() == [f"photo {i}" for i in range(5)]


def test_an_interrupted_study_opens_and_the_same_call_goes_on(small, photographs, study, tmp_path):
    out = tmp_path / "stopped.zarr"
    with pytest.raises(StoppedError):
        hs.analyze(small, photographs, target=7, out=out, batch_size=2, progress=stop_after(2))
    stopped = hs.open_study(out)
    assert (stopped.n_done, stopped.n_images, stopped.is_complete) == (2, 5, False)
    assert stopped.data["distance"][2:].isnull().all()

    told = []
    done = hs.analyze(
        small,
        photographs,
        target=7,
        out=out,
        batch_size=2,
        progress=lambda p: told.append((p.done, p.total, p.text)),
    )
    assert told[0] == (0, 5, "checking image 1 of 5")
    assert told[5] == (2, 5, "reading image 1 of 2 that are done, for numbers of all")
    assert told[6] == (2, 5, "photo 2 and 1 more")
    assert told[-1] == (5, 5, "photo 4")
    for name, variable in study.data.data_vars.items():
        # The last batch has another size than in the whole run: float32 sums in another order.
        limits = ACROSS_LIMITS if "image" not in variable.dims else {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(done.data[name], variable, **limits, err_msg=name)


def test_going_on_with_something_else_is_refused(small, photographs, study):
    with pytest.raises(hs.HeadscopeError, match="other images or settings"):
        hs.analyze(small, photographs, target=8, out=study.path)
    with pytest.raises(hs.HeadscopeError, match="other images or settings"):
        hs.analyze(small, photographs[:2], target=7, out=study.path)
    other = hs.load("vit_tiny_patch16_224", pretrained=False, seed=2, image_size=(48, 80))
    with pytest.raises(hs.HeadscopeError, match="another checkpoint"):
        hs.analyze(other, photographs, target=7, out=study.path)
    with pytest.raises(hs.HeadscopeError, match="another preprocessing"):
        hs.analyze(other_mean(small), photographs, target=7, out=study.path)
    assert hs.open_study(study.path).is_complete, "nothing is lost"


def other_mean(checkpoint):
    preprocessing = dataclasses.replace(checkpoint.preprocessing, mean=(0.1, 0.1, 0.1))
    return dataclasses.replace(checkpoint, preprocessing=preprocessing)


def test_every_variable_and_coordinate_is_named(study):
    for name, variable in study.data.variables.items():
        assert variable.attrs["long_name"], name


def test_one_image_is_one_image(small):
    assert hs.analyze(small, np.zeros((6, 9, 3), np.uint8)).n_images == 1


def test_results_that_equal_the_fill_are_no_missing_chunks(small, tmp_path):
    """A black image, one without a label: Zarr leaves such chunks out unless it is told not to."""
    images = [np.full((6, 9, 3), value, np.uint8) for value in (0, 9)]
    out = tmp_path / "black.zarr"
    hs.analyze(small, images, labels={"array (2)": 3}, importance=False, out=out)
    study = hs.open_study(out)
    assert (study.data["pixels"][0] == 0).all()
    assert study.data["label"].values.tolist() == [-1, 3]
    assert hs.open_study(study.save(tmp_path / "copy.zarr").path).is_complete


def test_a_chunk_that_is_cut_short_says_so_when_it_is_read(study, tmp_path):
    path = tmp_path / "cut.zarr"
    shutil.copytree(study.path, path)
    chunk = next(file for file in (path / "entropy" / "c" / "2").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(hs.HeadscopeError, match="damaged"):
        hs.open_study(path).load()


def test_a_full_disk_keeps_what_is_done(small, photographs, tmp_path, monkeypatch):
    write = zarr.Array.__setitem__

    def fail(self, key, value):
        if self.path == "entropy" and key == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, key, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", fail)
    out = tmp_path / "full.zarr"
    with pytest.raises(hs.HeadscopeError, match=r"No space left.*goes on from there"):
        hs.analyze(small, photographs, out=out, batch_size=2)
    assert hs.open_study(out).n_done == 2


def test_layers_may_differ_in_heads():
    """Padding is NaN, and no number of a head that is there moves."""
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=3)
    narrow = timm.layers.Attention(192, num_heads=2, attn_head_dim=64, qkv_bias=True)
    model.blocks[1].attn = narrow
    checkpoint = hs.Checkpoint.of(
        model,
        name="uneven",
        architecture="uneven",
        preprocessing=hs.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3),
        labels=("a", "b", "c"),
    )
    assert checkpoint.n_heads == (3, 2)
    study = hs.analyze(checkpoint, np.zeros((32, 32, 3), np.uint8))
    for variable in study.head_metrics():
        if "image" not in variable.dims:  # one image has no numbers of all images together
            continue
        last = [True] * 3 if variable.name in UNREAD else [False, False, True]
        assert variable[0].isnull().values.tolist() == [[False] * 3, last]
    maps = hs.attention_maps(checkpoint, np.zeros((32, 32, 3), np.uint8))
    assert [len(layer.weights) for layer in maps.layers] == [3, 2]


def test_a_saved_copy_is_equal(study, tmp_path):
    copy = study.save(tmp_path / "folder" / "copy.zarr")
    xr.testing.assert_identical(copy.data.load(), study.data.load())
    with pytest.raises(hs.HeadscopeError, match="exists already"):
        study.save(copy.path)


def test_a_study_in_memory_is_the_same(small, photographs, study):
    held = hs.analyze(small, photographs, target=7, batch_size=2)
    assert held.path is None
    xr.testing.assert_identical(held.data.load(), study.data.load())


def test_paths_are_read_when_their_turn_comes_and_named_apart(small, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pixels = np.full((50, 50, 3), 40 if folder == "a" else 200, np.uint8)
        Image.fromarray(pixels).save(tmp_path / folder / "same.png")
    study = hs.analyze(small, hs.find_images([tmp_path]))
    assert study.data["image"].values.tolist() == ["same.png", "same.png (2)"]
    assert study.data["pixels"].mean(("row", "column", "channel")).values.tolist() == [40, 200]


def remove_metadata(path):
    (path / "distance" / "zarr.json").unlink()


def cut_metadata(path):
    file = path / "zarr.json"
    file.write_bytes(file.read_bytes()[:100])


def remove_chunks(path):
    shutil.rmtree(path / "js_divergence" / "c" / "3")


def remove_array(path):
    shutil.rmtree(path / "hop_share")


@pytest.mark.parametrize("damage", [remove_metadata, cut_metadata, remove_chunks, remove_array])
def test_a_study_cut_in_half_says_so(study, tmp_path, damage):
    path = tmp_path / "damaged.zarr"
    shutil.copytree(study.path, path)
    damage(path)
    with pytest.raises(hs.HeadscopeError, match=r"damaged|not a study"):
        hs.open_study(path)


def test_a_study_of_a_newer_version_says_so(study, tmp_path):
    path = tmp_path / "newer.zarr"
    shutil.copytree(study.path, path)
    zarr.open_group(path, mode="r+").update_attributes(
        {"format_version": 99, "headscope_version": "9.0"}
    )
    with pytest.raises(hs.HeadscopeError, match=r"headscope 9\.0 \(format 99\).*Upgrade"):
        hs.open_study(path)


def test_what_is_no_study_gets_a_sentence(tmp_path):
    with pytest.raises(hs.HeadscopeError, match="no study at"):
        hs.open_study(tmp_path / "nothing.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(hs.HeadscopeError, match="is not a study"):
        hs.open_study(tmp_path / "folder")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(hs.HeadscopeError, match="is not a study"):
        hs.open_study(tmp_path / "file")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(hs.HeadscopeError, match="not a study of headscope"):
        hs.open_study(tmp_path / "other.zarr")


@pytest.mark.parametrize(
    ("images", "options", "sentence"),
    [
        ([], {}, "no image to analyse"),
        (["there/is/none.png"], {}, "none.png"),
        ([np.zeros((9, 9, 3), np.uint8)], {"target": "unicorn"}, "no class 'unicorn'"),
    ],
)
def test_wrong_input_gets_a_sentence(small, images, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.analyze(small, images, **options)


def test_an_output_that_cannot_be_written_is_said_before_computing(small, photographs, tmp_path):
    (tmp_path / "file").write_text("in the way")

    def never(progress):
        assert progress.text.startswith("checking"), "it computed"

    with pytest.raises(hs.HeadscopeError, match=r"cannot be written|exists|not a study"):
        hs.analyze(small, photographs, out=tmp_path / "file" / "x.zarr", progress=never)


def test_the_order_of_metrics_is_no_other_setting(small, photographs, tmp_path):
    out = tmp_path / "x.zarr"
    hs.analyze(small, photographs, metrics=["entropy", "distance"], importance=False, out=out)
    again = hs.analyze(
        small, photographs, metrics=["distance", "entropy"], importance=False, out=out
    )
    assert again.is_complete
