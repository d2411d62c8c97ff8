"""Figures as files: sizes, fonts, resolution, data, and the same bytes each time."""

import io
import json
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

import headscope as hs
from headscope.app import cli
from headscope.app.export import making, provenance, render, sheet, style
from headscope.app.export.package import zipped
from headscope.app.export.sheet import FORMATS, Sheet
from headscope.app.figures.paper import Request, makers
from headscope.app.figures.template import DARK, figure
from headscope.models.demo import scenes

ALONE = ["atlas", "hops", "offsets", "predictions", "ranking", "scatter", "sinks", "trend"]
NETWORK = ["explanation", "map", "maps", "multiples"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Six scenes by two checkpoints."""
    folder = tmp_path_factory.mktemp("studies")
    images = [scenes.scene(seed).image for seed in range(6)]
    metrics = ["js_divergence", "probability_drop", "entropy", "distance", "hop_share", "hop_mean"]
    metrics += ["offset_map", "share", "sink_score", "sink_concentration"]
    for name in ("supervised", "masked"):
        hs.analyze(hs.load(f"demo/{name}"), images, out=folder / f"{name}.zarr", metrics=metrics)
    return folder / "supervised.zarr", folder / "masked.zarr"


@pytest.fixture(scope="module")
def request_(paths: tuple[Path, Path]) -> Request:
    study, other = (hs.open_study(path) for path in paths)
    return Request(study, other, hs.load("demo/supervised"), metric="js_divergence")


@pytest.fixture(scope="module")
def chart() -> go.Figure:
    dots = go.Scatter(x=[1, 2, 3], y=[3.0, None, 1.5], name="dots", mode="markers")
    return figure(dots, dark=False, height=300)


@pytest.fixture
def chrome() -> None:
    if not render.is_possible():
        pytest.skip(render.NO_CHROME)  # un-skip when there is a Chrome


# -- the sheet -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mm"), [("89mm", 89), ("3.5in", 88.9), ("7.16 in", 181.864), ("252pt", 88.9)]
)
def test_widths_are_read_in_every_unit(text: str, mm: float) -> None:
    assert Sheet(width=text).width_mm == pytest.approx(mm)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": "89"}, "'89' is no length"),
        ({"width": "9mm"}, "30 to 500 mm"),
        ({"font_size": 2.0}, "4 to 24 pt"),
        ({"font": "comic"}, "sans, arial"),
        ({"palette": "jet"}, "viridis, cividis"),
        ({"signed": "rainbow"}, "puor, rdbu"),
        ({"dpi": 10}, "72 to 1200"),
        ({"limits": (1.0, 0.0)}, "lower end first"),
        ({"letter": "abcd"}, "no letter"),
        ({"background": "black"}, "white, none"),
    ],
)
def test_a_wrong_setting_gets_a_sentence(wrong: dict, said: str) -> None:
    with pytest.raises(hs.HeadscopeError, match=re.escape(said)):
        Sheet(**wrong)


@pytest.mark.parametrize("text", ["", "1", "a,b", "0,inf", "1,2,3"])
def test_a_wrong_colour_range_gets_a_sentence(text: str) -> None:
    with pytest.raises(hs.HeadscopeError, match="is no colour range"):
        sheet.limits(text)


def test_formats_are_read_once_each() -> None:
    assert sheet.formats("png, PDF,png") == ("png", "pdf")
    with pytest.raises(hs.HeadscopeError, match="There is no format 'eps'; there are pdf"):
        sheet.formats("eps")


# -- print style -----------------------------------------------------------------------------------


def test_all_text_has_one_size_and_a_dark_chart_becomes_light(chart: go.Figure) -> None:
    dark = figure(*chart.data, dark=True, height=300)
    dark.update_layout(font_color=DARK.text, xaxis={"title": {"text": "x", "font": {"size": 9}}})
    made = style.printed(dark, Sheet(font="serif"))
    text = made.to_json()
    assert text is not None
    assert DARK.text not in text
    assert set(re.findall(r'"size":(\d+)', text)) == {"13"}, text
    assert "Liberation Serif" in text
    # 7 pt of text are 13 px: 89 mm are 252.28 pt, or 468.5 px.
    assert made.layout.width == 469


def test_cells_are_shapes_in_the_palette_that_was_asked_for() -> None:
    from headscope.app.figures.palette import NUMBERS

    heat = go.Heatmap(z=[[0.0, 1.0], [None, 0.5]], zmin=0, zmax=1, colorscale=list(NUMBERS))
    heat.update(colorbar={"title": {"text": "share"}})
    made = style.printed(go.Figure(heat), Sheet(palette="cividis", limits=(0.0, 2.0)))
    assert len(made.layout.shapes) == 3  # a gap where there is no number
    (bar,) = (trace.marker for trace in made.data)
    assert (bar.cmin, bar.cmax) == (0, 2)
    assert bar.colorbar.tickvals[0] == 0
    assert bar.colorbar.tickvals[-1] == 2  # both ends are told
    colours = [shape.fillcolor for shape in made.layout.shapes]
    assert colours[0] == "rgb(0, 34, 78)"  # Cividis begins there
    assert len(set(colours)) == 3


def test_a_panel_letter_takes_room_of_its_own(chart: go.Figure) -> None:
    plain, lettered = (style.printed(chart, Sheet(letter=letter)) for letter in ("", "b"))
    assert lettered.layout.title.text == "<b>b</b>"
    assert lettered.layout.height == plain.layout.height + 18
    assert lettered.layout.margin.t > plain.layout.margin.t


# -- files -----------------------------------------------------------------------------------------


def page_box(data: bytes) -> tuple[float, float]:
    (box,) = re.findall(rb"/MediaBox \[([^\]]+)\]", data)
    left, bottom, right, top = map(float, box.split())
    return right - left, top - bottom


def objects(data: bytes) -> dict[int, int]:
    """Place of each object by the file's own table."""
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])  # pyright: ignore
    assert data[start : start + 7] == b"xref\n0 "
    count = int(data[start + 7 :].split(b"\n", 1)[0])
    lines = data[start:].split(b"\n")[2 : 2 + count]
    return {number: int(line[:10]) for number, line in enumerate(lines) if line[17:18] == b"n"}


@pytest.mark.parametrize("width", sheet.PRESETS)
def test_a_pdf_has_the_width_exactly_and_its_fonts(
    chart: go.Figure, width: str, chrome: None
) -> None:
    paper = Sheet(width=width)
    data = render.render(chart, paper, "pdf")
    across, down = page_box(data)
    # Four decimals of a point are written.
    assert across == pytest.approx(paper.width_mm / 25.4 * 72, abs=1e-3)
    made = style.printed(chart, paper)
    assert down == pytest.approx(across * made.layout.height / made.layout.width, abs=1e-3)
    for number, place in objects(data).items():
        assert data[place:].startswith(b"%d 0 obj\n" % number)
    fonts = set(re.findall(rb"/BaseFont /(\S+)", data))
    assert all(name[6:7] == b"+" for name in fonts)  # subsets: embedded
    assert any(b"Liberation" in name for name in fonts)
    descriptors = re.findall(rb"/Type /FontDescriptor.*?endobj", data, re.DOTALL)
    assert len(descriptors) > 0
    assert all(b"/FontFile2" in each for each in descriptors)
    assert b"HeadlessChrome" not in data
    for stream in re.findall(rb"stream\n(.*?)\nendstream", data, re.DOTALL):
        assert zlib.decompressobj().decompress(stream)


def test_svg_and_png_have_their_sizes(chart: go.Figure, chrome: None) -> None:
    paper = Sheet(width="3.5in", height="2in", dpi=600)
    svg = render.render(chart, paper, "svg").decode()
    assert 'width="88.9000mm"' in svg
    height = float(re.search(r'height="([\d.]+)mm"', svg)[1])  # pyright: ignore
    assert height == pytest.approx(50.8, abs=0.1)  # whole pixels of 0.19 mm
    image = Image.open(io.BytesIO(render.render(chart, paper, "png")))
    assert image.width == 2100
    assert image.height == pytest.approx(1200, abs=3)  # as above, of 600 dpi
    assert image.info["dpi"] == pytest.approx((600, 600), abs=0.1)  # whole dots a metre
    assert image.mode == "RGB"
    clear = Image.open(io.BytesIO(render.render(chart, Sheet(background="none"), "png")))
    assert clear.mode == "RGBA"
    assert clear.getpixel((0, 0))[3] == 0  # pyright: ignore


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_twice_is_the_same_bytes_also_after_a_new_start(
    chart: go.Figure, form: render.Format, chrome: None
) -> None:
    first = render.render(chart, Sheet(), form)
    assert render.render(chart, Sheet(), form) == first
    render.stop()
    assert render.render(chart, Sheet(), form) == first
    other = go.Figure(chart).update_traces(y=[3.0, None, 1.6])
    assert render.render(other, Sheet(), form) != first


def test_without_chrome_there_is_a_sentence(
    chart: go.Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "_chrome", lambda: None)
    assert not render.is_possible()
    with pytest.raises(hs.HeadscopeError, match="apt install chromium"):
        render.render(chart, Sheet(), "pdf")


# -- figures of a study ----------------------------------------------------------------------------


def test_every_figure_is_made_and_says_n(request_: Request) -> None:
    assert set(makers()) >= {*ALONE, *NETWORK, "difference", "patterns", "prototypes"}
    for name in (*ALONE, *NETWORK, "difference"):
        paper = makers()[name].build(request_)
        assert paper.rows, name
        assert re.search(r"\bn = [16]\b", paper.caption), (name, paper.caption)
        assert "seed 0" in paper.caption, name
        assert paper.figure is not None or name == "predictions"


def test_the_atlas_draws_the_means_of_the_study(request_: Request) -> None:
    paper = makers()["atlas"].build(request_)
    mean = request_.study.data["js_divergence"].mean("image").values.squeeze()
    assert paper.figure is not None
    drawn = np.array(paper.figure.data[0].z, float)
    np.testing.assert_allclose(drawn, mean, rtol=1e-6)  # float32 in the store
    for row in paper.rows:
        assert row["value"] == pytest.approx(mean[row["layer"], row["head"]], rel=1e-6)
        assert row["low"] <= row["value"] <= row["high"]
    assert "bootstrap" in paper.caption


def test_the_difference_is_paired(request_: Request) -> None:
    paper = makers()["difference"].build(request_)
    assert request_.against is not None
    sides = [
        study.data["js_divergence"].mean("image").values.squeeze().astype(float)
        for study in (request_.study, request_.against)
    ]
    for row in paper.rows:
        at = row["layer"], row["head"]
        # Means of float32 numbers in two orders.
        assert row["difference"] == pytest.approx(sides[1][at] - sides[0][at], abs=1e-7)
    assert paper.figure is not None
    first, second, _ = paper.figure.data
    assert (first.zmin, first.zmax) == (second.zmin, second.zmax)


def test_a_map_sums_with_the_rest_to_one(request_: Request) -> None:
    paper = makers()["map"].build(request_)
    assert sum(row["attention"] for row in paper.rows) == pytest.approx(1, abs=0.02)  # in 1/255
    assert len(paper.rows) == request_.study.layout.n_tokens


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metric": "beauty"}, "There is no metric 'beauty' in the study; there are "),
        ({"head": (9, 0)}, "There is no head 9.0"),
        ({"image": "nobody.png"}, "There is no image 'nobody.png'"),
        ({"query": "nose"}, "There is no query 'nose'"),
    ],
)
def test_what_is_not_there_gets_a_sentence(request_: Request, wrong: dict, said: str) -> None:
    from dataclasses import replace

    asked = replace(request_, **wrong)
    with pytest.raises(hs.HeadscopeError, match=re.escape(said)):
        makers()["atlas" if "metric" in wrong else "map"].build(asked)


def test_a_study_without_patterns_says_how_to_learn_them(request_: Request) -> None:
    with pytest.raises(hs.HeadscopeError, match="headscope patterns"):
        makers()["prototypes"].build(request_)


# -- the command -----------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    return cli.main(["report", *arguments])


def test_the_command_and_the_page_make_the_same_bytes(
    paths: tuple[Path, Path], tmp_path: Path, chrome: None
) -> None:
    """And the line in the provenance makes them once more."""
    out = tmp_path / "one"
    chosen = [
        "--figures",
        "atlas,map",
        "--letter",
        "a",
        "--head",
        "5.1",
        "--formats",
        "pdf,svg,csv",
    ]
    assert run(str(paths[0]), "--out", str(out), *chosen) == 0
    told = json.loads((out / "provenance.json").read_text())
    assert told["study"]["weights_sha256"] == hs.load("demo/supervised").digest
    assert len(told["study"]["images"]) == 6
    study = hs.open_study(paths[0])
    request = Request(study, checkpoint=hs.load("demo/supervised"), head=(5, 1))
    paper = Sheet(letter="a")
    forms = ("pdf", "svg", "csv")
    found = making.make(request, ["atlas", "map"], paper, forms, with_overview=False)
    for name, data in found.files.items():
        assert (out / name).read_bytes() == data, name
    assert {path.name for path in out.iterdir()} == {*found.files, "index.html", "report.md"}
    with zipfile.ZipFile(io.BytesIO(zipped(found.files))) as archive:
        assert archive.testzip() is None
        assert archive.infolist()[0].date_time == (2000, 1, 1, 0, 0, 0)
    assert zipped(found.files) == zipped(dict(found.files))
    words = told["command"].split()
    assert words[:3] == ["headscope", "report", "supervised.zarr"]
    again = tmp_path / "two"
    rest = words[words.index("--figures") :]
    assert run(str(paths[0]), "--out", str(again), *rest) == 0
    for name in found.files:
        assert (again / name).read_bytes() == (out / name).read_bytes(), name


def test_all_tables_without_chrome_or_checkpoint(
    paths: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(render, "_chrome", lambda: None)
    out = tmp_path / "tables"
    assert run(str(paths[0]), "--out", str(out), "--formats", "csv", "--no-checkpoint") == 0
    told = capsys.readouterr().err
    assert "left out: map: It runs the network" in told
    assert "left out: difference" in told
    for name in ALONE:
        assert (out / f"{name}.csv").exists()
        assert "toprule" in (out / f"{name}.tex").read_text()
        assert "n = 6" in (out / f"{name}.caption.txt").read_text()
    assert "Left out" in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--figures", "moon"], "There is no figure 'moon'; there are atlas, "),
        (["--width", "wide"], "is no length"),
        (["--metric", "beauty"], "there are probability_drop, js_divergence"),
        (["--head", "3"], "'3' is no head"),
        (["--image", "x.png"], "There is no image"),
        (["--formats", "eps"], "There is no format"),
        (["--figures", "difference"], "difference: It sets two studies side by side"),
    ],
)
def test_wrong_names_get_the_list(
    paths: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: list[str],
    said: str,
) -> None:
    more = ["--out", str(tmp_path / "x"), "--no-checkpoint", *wrong]
    assert run(str(paths[0]), *more) == 2
    assert said in capsys.readouterr().err


def test_the_command_names_the_factory(paths: tuple[Path, Path]) -> None:
    study = hs.open_study(paths[0])
    assert "--factory" not in provenance.command(Request(study), ["atlas"], Sheet(), FORMATS)
    told = json.loads(study.data.attrs["loaded_with"]) | {"factory": "/home/me/build.py:vit"}
    study.data.attrs["loaded_with"] = json.dumps(told)
    words = provenance.command(Request(study), ["atlas"], Sheet(), FORMATS).split()
    assert words[words.index("--factory") + 1] == "build.py:vit"  # no place of this machine
