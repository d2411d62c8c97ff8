"""Head sets: kept on disk, and the bar in each of its states."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import headscope as hs
from headscope import HeadscopeError, HeadSet
from headscope.app import head_sets
from headscope.app.head_sets import Shelf
from headscope.models.demo import scenes

from .test_depth import captions
from .test_page import open_page, rest, words

__all__ = ["open_page"]
N_SCENES = 6


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(head_sets.HOME, str(tmp_path / "home"))
    monkeypatch.setattr(scenes, "HELD_OUT", range(N_SCENES))
    return tmp_path / "home"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf("vit_small", (4, 4, 2))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(N_SCENES)]
    metrics = ["entropy", "distance"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, importance=False, metrics=metrics)
    return path


# -- on disk ---------------------------------------------------------------------------------------


def test_a_set_is_kept_and_found_again(shelf: Shelf, home: Path) -> None:
    kept = HeadSet("near ones / “α”", ((2, 1), (0, 3)), "distance < 20")
    shelf.save(kept)
    assert shelf.all() == {kept.name: kept}
    files = list(home.rglob("*"))
    assert [file.suffix for file in files if file.is_file()] == [".json"], "no half file is left"
    assert HeadSet.load(next(file for file in files if file.is_file())) == kept
    assert Shelf("vit_small", (4, 4, 4)).all() == {}, "other heads"
    assert Shelf("vit_other", (4, 4, 2)).all() == {}, "another architecture"
    shelf.save(HeadSet(kept.name, ((1, 1),)))
    assert shelf.all()[kept.name].heads == ((1, 1),)


def test_sets_are_renamed_and_deleted(shelf: Shelf) -> None:
    for name in ("b", "A"):
        shelf.save(HeadSet(name, ((0, 0),), "head < 1"))
    assert list(shelf.all()) == ["A", "b"]
    shelf.rename("b", " c ")
    assert list(shelf.all()) == ["A", "c"]
    assert shelf.all()["c"].query == "head < 1"
    with pytest.raises(HeadscopeError, match="a set 'A' already"):
        shelf.rename("c", "A")
    with pytest.raises(HeadscopeError, match="no set 'b' any more"):
        shelf.rename("b", "d")
    shelf.delete("A")
    shelf.delete("A")
    assert list(shelf.all()) == ["c"]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", 81 * "x"])
def test_a_name_that_is_none(shelf: Shelf, name: str) -> None:
    with pytest.raises(HeadscopeError, match="cannot be used"):
        shelf.save(HeadSet(name, ((0, 0),)))


def test_heads_that_are_not_there(shelf: Shelf) -> None:
    with pytest.raises(HeadscopeError, match="layer 2, head 2, which vit_small has not"):
        shelf.save(HeadSet("a", ((2, 2),)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"name": "a"}',
        b'{"name": "a", "heads": [[0]]}',
        b"7",
        b"{" * 9999,
    ],
)
def test_an_upload_that_is_no_set(shelf: Shelf, data: bytes) -> None:
    with pytest.raises(HeadscopeError):
        shelf.read(data, "some.json")


def test_an_upload_reads_what_save_wrote(shelf: Shelf, tmp_path: Path) -> None:
    kept = HeadSet("mine", ((1, 2),), "entropy < 1")
    kept.save(tmp_path / "a.json")
    assert shelf.read((tmp_path / "a.json").read_bytes(), "a.json") == kept
    (tmp_path / "b.json").write_text(shelf.text(kept), encoding="utf-8")
    assert HeadSet.load(tmp_path / "b.json") == kept


def test_what_is_broken_on_disk_is_passed_over(shelf: Shelf) -> None:
    shelf.save(HeadSet("good", ((0, 0),)))
    (shelf.folder / "broken.json").write_text("{", encoding="utf-8")
    content = {"name": "far", "query": "", "heads": [[9, 9]]}
    (shelf.folder / "far.json").write_text(json.dumps(content), encoding="utf-8")
    assert list(shelf.all()) == ["good"]


def test_a_place_that_cannot_be_written(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv(head_sets.HOME, str(tmp_path / "file"))
    with pytest.raises(HeadscopeError, match=head_sets.HOME):
        shelf.save(HeadSet("a", ((0, 0),)))


def test_the_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(head_sets.HOME)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert head_sets.home() == tmp_path / "headscope"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert head_sets.home() == Path.home() / ".local/share/headscope"


# -- the bar ---------------------------------------------------------------------------------------


def search(page: AppTest, query: str) -> AppTest:
    page.text_input(key="head_set_query").set_value(query).run()
    return rest(page)


def marked(page: AppTest) -> set[tuple[int, int]]:
    return set(page.session_state["selection"].marked_heads)


def press(page: AppTest, label: str) -> AppTest:
    next(button for button in page.button if button.label == label).click().run()
    return rest(page)


def test_a_search_marks_what_it_finds(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study)
    assert "No head is in the set" in captions(page)
    opened = hs.open_study(study)
    found = set(HeadSet.where(opened, "entropy < 3"))
    near = set(HeadSet.where(opened, "distance < 30 or layer == 0"))
    assert found
    assert near - found
    search(page, "entropy < 3")
    assert marked(page) == found
    n = len(found)
    assert f"{n} head{'s' * (n != 1)} found." in captions(page)
    join = page.segmented_control(key="head_set_join")
    for how, expected in (("add", found | near), ("remove", found), ("common", set())):
        join.set_value(how).run()
        search(page, "distance < 30 or layer == 0" if how != "common" else "layer > 99")
        if how == "common":
            assert "the set stays as it was" in captions(page)
            expected = found - near
        elif how == "remove":
            expected = (found | near) - near
        assert marked(page) == expected
        search(page, "")
    page.button(key="unmark").click().run()
    rest(page)
    assert marked(page) == set()
    assert page.button(key="unmark").disabled


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("entrop < 1", "did you mean entropy"),
        ("entropy <", "incomplete"),
        ("__import__('os')", "is no comparison"),
    ],
)
def test_a_wrong_query_is_said_in_place(
    open_page: Callable[..., AppTest], study: Path, query: str, said: str
) -> None:
    page = open_page(study=study, marked="3.1")
    search(page, query)
    assert said in captions(page).replace("\\", "")
    assert marked(page) == {(3, 1)}
    search(page, "entropy >= 0")
    assert "24 heads found" in captions(page)


def test_sets_are_saved_loaded_renamed_and_deleted(
    open_page: Callable[..., AppTest], study: Path
) -> None:
    page = open_page(study=study, marked="3.1,4.0")
    page.text_input(key="kept_name").set_value("two *stars*")
    press(page, "Save")
    assert "Saved:" in captions(page)
    page.button(key="unmark").click().run()
    page.button(key="kept_load").click().run()
    rest(page)
    assert marked(page) == {(3, 1), (4, 0)}
    page.text_input(key="kept_new").set_value("pair")
    press(page, "Rename")
    assert page.selectbox(key="kept_chosen").value == "pair"
    other = open_page(study=study)
    assert other.selectbox(key="kept_chosen").options == ["pair (2)"]
    page.button(key="kept_delete").click().run()
    assert "There are no sets of these heads yet" in captions(rest(page))
    assert words(page) == ""


def test_a_set_is_uploaded(open_page: Callable[..., AppTest], study: Path, tmp_path: Path) -> None:
    page = open_page(study=study)
    HeadSet("far", ((0, 1), (5, 3))).save(tmp_path / "far.json")
    uploader: Any = page.file_uploader(key="kept_upload")
    uploader.upload("far.json", (tmp_path / "far.json").read_bytes(), "application/json").run()
    assert "2 heads" in captions(rest(page))
    assert page.selectbox(key="kept_chosen").value == "far"
    uploader = page.file_uploader(key="kept_upload")
    uploader.set_value(("bad.json", b'{"name": "a", "heads": [[40, 0]]}', "application/json")).run()
    assert "which vit" in captions(rest(page)).replace("\\", "")


def test_the_effect_as_one_beside_the_sum(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, marked="4.0,4.2")
    page.toggle(key="head_set_effect_open").set_value(True).run()
    rest(page)
    checkpoint = hs.load("demo/supervised")
    data = hs.open_study(study).data
    batch = checkpoint.prepare(data["pixels"].values)
    target = data["target"].values.tolist()
    joint = hs.joint_effect(checkpoint, batch, [(4, 0), (4, 2)], target=target).effect
    alone = sum(
        hs.joint_effect(checkpoint, batch, [head], target=target).effect
        for head in ((4, 0), (4, 2))
    )
    table = next(
        each.proto.body for each in page.get("html") if "head-set-effect" in each.proto.body
    )
    cells = [row.split("</td><td>") for row in table.split("<tr><td>")[1:]]
    for (name, mean, span), values in zip(cells, (joint, alone, joint - alone), strict=True):
        shown = float(mean.replace("−", "-"))
        assert shown == pytest.approx(100 * values.mean(), abs=0.051), name
        interval = hs.t_interval(values[:, None])
        low = float(span.split("[")[1].split(",")[0].replace("−", "-"))
        assert low == pytest.approx(100 * interval.low[0], abs=0.051)
    assert np.abs(joint).max() > 0.01, "or nothing happens"
    assert f"mean over {N_SCENES} images of the study" in captions(page)


def test_the_set_is_switched_off_in_what_if(open_page: Callable[..., AppTest], study: Path) -> None:
    page = open_page(study=study, marked="4.0,4.2")
    page.button(key="head_set_off").click().run()
    rest(page)
    now = page.session_state["selection"]
    assert (now.off, now.part) == ("4.0,4.2", "What if")
    assert "**2 heads off**" in captions(page)
    next(each for each in page.segmented_control if each.label == "Part").set_value(None).run()
    page.button(key="head_set_show_off").click().run()
    assert rest(page).session_state["selection"].part == "What if"


def test_without_a_checkpoint_there_is_no_set(open_page: Callable[..., AppTest]) -> None:
    page = open_page(checkpoint="/nowhere/at/all.pth", marked="3.1")
    assert not [each for each in page.text_input if each.key == "head_set_query"]
    assert not page.exception
