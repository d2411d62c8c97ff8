"""Exports in a real Chromium: what is taken away is opened and checked."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Download, Locator, Page, expect

import headscope as hs
from headscope.app import cli, running
from headscope.models.demo import scenes

from .browsing import unfold

pytestmark = pytest.mark.browser
NO_CHROME = "from headscope.app.export import render; render._chrome = lambda: None"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "six.zarr"
    images = [scenes.scene(seed).image for seed in range(6)]
    metrics = ["js_divergence", "entropy", "distance", "hop_share", "hop_mean", "offset_map"]
    hs.analyze(hs.load("demo/supervised"), images, out=path, metrics=metrics)
    return path


@pytest.fixture(scope="module")
def on_study(chrome: str, study: Path) -> Iterator[str]:
    with running.serving("--study", str(study)) as address:
        yield address


@pytest.fixture(scope="module")
def without_chrome(chrome: str, study: Path) -> Iterator[str]:
    with running.serving("--study", str(study), prepare=NO_CHROME) as address:
        yield address


@pytest.fixture(autouse=True)
def patience(page: Page) -> None:
    """A busy machine takes its time over a first figure."""
    page.set_default_timeout(40_000)


def saved(download: Download, folder: Path) -> bytes:
    path = folder / download.suggested_filename
    download.save_as(path)
    return path.read_bytes()


def taken(page: Page, button: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.locator(".st-key-depth, [data-testid=stPopoverBody]").get_by_role(
            "button", name=button, exact=True
        ).last.click()
    return saved(download.value, folder)


def drawn(page: Page, name: str) -> None:
    page.locator(f'.hs-sheet[data-drawn="{name}"]').wait_for()


def files_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def choose(page: Page, label: str, option: str) -> None:
    unfold(page.get_by_role("combobox", name=re.compile(label)))
    page.get_by_role("option", name=option, exact=True).click()


def of_chart(page: Page) -> Locator:
    """The menu below the first chart."""
    return page.locator('.st-key-depth [data-testid="stPopover"] button', has_text="Export").first


def test_the_zip_of_the_page_has_the_bytes_of_the_command(
    page: Page, on_study: str, study: Path, tmp_path: Path
) -> None:
    page.goto(f"{on_study}/?part=Export&layer=5&head=1&metric=entropy")
    drawn(page, "atlas")
    expect(page.get_by_text("89.0 × ")).to_be_visible()
    choose(page, "Width", "183mm")
    expect(page.get_by_text("183.0 × ")).to_be_visible()
    page.get_by_role("textbox", name="Panel letter").fill("b")
    page.get_by_role("textbox", name="Panel letter").press("Enter")
    expect(page.locator(".hs-sheet .gtitle")).to_have_text("b")
    page.get_by_role("textbox", name="Height").fill("nonsense")
    page.get_by_role("textbox", name="Height").press("Enter")
    expect(page.get_by_text("'nonsense' is no length")).to_be_visible()
    page.get_by_role("textbox", name="Height").fill("60mm")
    page.get_by_role("textbox", name="Height").press("Enter")
    expect(page.get_by_text(re.compile("183.0 × (59.9|60.0|60.1) mm"))).to_be_visible()
    page.get_by_text("Colours, font, resolution").click()
    choose(page, "^Palette", "cividis")
    command = page.locator(".st-key-depth code")
    expect(command).to_contain_text("--palette cividis")
    expect(command).to_contain_text("--letter b")
    expect(command).to_contain_text("--metric entropy")
    expect(command).to_contain_text("--height 60mm")
    files = files_of(taken(page, "Zip", tmp_path))
    words = command.inner_text().split()
    out = tmp_path / "report"
    arguments = ["report", str(study), "--out", str(out), *words[words.index("--figures") :]]
    assert cli.main(arguments) == 0
    assert {"atlas.pdf", "atlas.svg", "atlas.png", "atlas.csv", "provenance.json"} <= set(files)
    for name, data in files.items():
        assert (out / name).read_bytes() == data, name
    assert taken(page, "PDF", tmp_path) == files["atlas.pdf"]
    assert taken(page, "CSV", tmp_path) == files["atlas.csv"]
    assert b"toprule" in taken(page, "LaTeX", tmp_path)
    assert taken(page, "Markdown", tmp_path) == files["atlas.md"]
    assert b"n = 6" in files["atlas.caption.txt"]


def test_several_figures_are_made_with_their_progress(
    page: Page, on_study: str, tmp_path: Path
) -> None:
    page.goto(f"{on_study}/?part=Export&layer=5&head=1")
    drawn(page, "atlas")
    figures = page.get_by_role("combobox", name=re.compile("Figures"))
    for name in ("Hop profiles", "Offset map of a head", "Ranking with intervals"):
        unfold(figures)
        page.get_by_role("option", name=name, exact=True).click()
        figures.press("Escape")
    page.get_by_role("button", name="Zip of 4 figures").click()
    made = page.locator('[data-testid="stDownloadButton"]')
    ready = made.get_by_role("button", name="Zip of 4 figures")
    ready.wait_for(timeout=40_000)
    with page.expect_download() as download:
        ready.click()
    files = files_of(saved(download.value, tmp_path))
    for name in ("atlas", "hops", "offsets", "ranking"):
        assert files[f"{name}.pdf"].startswith(b"%PDF")
    page.get_by_role("radiogroup", name="Shown").get_by_text("Hop profiles").click()
    drawn(page, "hops")


def test_a_chart_is_exported_as_it_stands(page: Page, on_study: str, tmp_path: Path) -> None:
    page.goto(f"{on_study}/?part=Ranking&layer=5&head=1")
    page.locator(".st-key-depth .js-plotly-plot").first.wait_for()
    unfold(of_chart(page))
    page.get_by_role("button", name="PDF").wait_for()
    choose(page, "Width", "3.5 in")
    expect(page.get_by_text("88.9 × ")).to_be_visible()
    files = files_of(taken(page, "Zip", tmp_path))
    assert {"ranking.pdf", "ranking.csv", "ranking.tex", "ranking.md"} <= set(files)
    box = re.search(rb"/MediaBox \[0 [-\d.]+ ([\d.]+) ", files["ranking.pdf"])
    assert box is not None
    assert float(box[1]) == pytest.approx(252, abs=1e-3)  # four decimals are written
    assert files["ranking.csv"].count(b"\n") == 25  # heads, and the header
    assert b"n = 6" in files["ranking.caption.txt"]
    assert taken(page, "SVG", tmp_path) == files["ranking.svg"]
    image = Image.open(io.BytesIO(taken(page, "PNG", tmp_path)))
    assert image.width == 1050


def test_without_chrome_the_browser_saves_svg_and_png(
    page: Page, without_chrome: str, tmp_path: Path
) -> None:
    page.goto(f"{without_chrome}/?part=Export&layer=5&head=1")
    drawn(page, "atlas")
    expect(page.get_by_role("button", name="PDF", exact=True)).to_be_disabled()
    expect(page.get_by_text("apt install chromium")).to_be_visible()
    svg = taken(page, "SVG", tmp_path).decode()
    assert 'width="89.0000mm"' in svg
    image = Image.open(io.BytesIO(taken(page, "PNG", tmp_path)))
    assert image.width == pytest.approx(1051, abs=1)  # whole pixels of the canvas
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)  # whole dots a metre
    files = files_of(taken(page, "Zip", tmp_path))
    assert set(files) == {
        "atlas.csv",
        "atlas.tex",
        "atlas.md",
        "atlas.caption.txt",
        "provenance.json",
    }
    page.goto(f"{without_chrome}/?part=Ranking&layer=5&head=1")
    unfold(of_chart(page))
    assert b"<svg" in taken(page, "SVG", tmp_path)
