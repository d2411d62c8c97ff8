"""The command, run as a user runs it."""

import dataclasses
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from headscope.analysis.study import open_study
from headscope.app import commands, progress
from headscope.app.cli import main
from headscope.models.demo import train
from headscope.models.demo.recipes import Phase

TINY = ["--model", "test_vit", "--no-pretrained", "--image-size", "64"]
COMMAND = [sys.executable, "-c", "import sys; from headscope.app.cli import main; sys.exit(main())"]


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photographs in two folders, a text, and half a JPEG."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("1.png", "2.jpg", "more/10.webp"):
        pixels = random.integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    whole = (folder / "2.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def sentence(capsys) -> str:
    """What was said on stderr: one line, without a traceback, and nothing on stdout."""
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"headscope: [^\n]+\n", err), err
    assert err.endswith(".\n")
    return err


# -- help and usage ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [[], ["app"], ["analyze"], ["explain"], ["inspect"], ["demo"], ["demo", "train"]]
)
def test_help(command, capsys):
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ".join(["usage: headscope", *command]))
    assert err == ""
    assert command == ["demo"] or "\n  headscope " in out, "an example to copy"


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_help_and_version_import_nothing_heavy(argument):
    code = (
        "import sys; from headscope.app.cli import main; main(sys.argv[1:]); "
        "sys.exit(' '.join({'torch', 'timm', 'streamlit', 'xarray', 'PIL'} & {*sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True)
    assert run.stderr.strip() == ""
    if argument == "--version":
        assert run.stdout == f"headscope {importlib.metadata.version('headscope')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nope"],
            "invalid choice: 'nope' (choose from app, analyze, explain, patterns",
        ),
        (["demo"], 'required: COMMAND; see "headscope demo --help"'),
        (["analyze"], 'required: IMAGES, --out; see "headscope analyze --help"'),
        (["analyze", "x", "--model", "m"], "required: --out"),
        (["analyze", "x", *TINY, "--out", "o", "--nope"], "Unrecognized arguments: --nope"),
        (["--nope"], "Unrecognized arguments: --nope"),
        (["--port", "0"], "'0' is no port: give a number from 1 to 65535"),
        (["--port", "99999"], "'99999' is no port"),
        (["inspect", "m", "--image-size", "big"], "'big' is no size: give 224, or 224x320"),
        (["inspect", "m", "--image-size", "1x2x3"], "'1x2x3' is no size"),
        (["inspect", "m", "--image-size", "0"], "'0' is not a whole number above 0"),
        (["inspect", "m", "--seed", "x"], "invalid int value: 'x'"),
        (["analyze", "x", *TINY, "--out", "o", "--batch-size", "-1"], "'-1' is not a whole number"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, message, capsys):
    assert main(arguments) == 2
    assert message.replace("'", "") in sentence(capsys).replace("'", "")


# -- analyze -----------------------------------------------------------------------------------


def test_analyze_writes_a_study_and_tells_its_most_important_heads(photos, tmp_path, capsys):
    out = tmp_path / "x.zarr"
    assert main(["analyze", str(photos), *TINY, "--out", str(out)]) == 0
    told, err = capsys.readouterr()
    study = open_study(out)
    assert study.is_complete
    assert study.n_images == 3
    assert re.fullmatch(r"headscope: skipped: .*half\.jpg is cut short or damaged[^\n]+\n", err), (
        "the text is no image by its name, the half one is named"
    )

    rows = re.findall(r"^ +(\d+) +(\d+) +(-?[\d.]+) ± ([\d.]+) +([\d.]+)$", told, re.MULTILINE)
    assert len(rows) == 10
    drop = study.data["probability_drop"].isel(ablation=0)
    assert "mean over 3 images" in told
    means = drop.mean("image").values
    order = np.argsort(-means, axis=None)[:10]
    assert [(int(layer), int(head)) for layer, head, *_ in rows] == [
        divmod(int(index), means.shape[1]) for index in order
    ]
    for layer, head, mean, error, distance in rows:
        of_head = {"layer": int(layer), "head": int(head)}
        values = drop.isel(of_head).values
        assert float(mean) == pytest.approx(values.mean(), abs=6e-5)
        assert float(error) == pytest.approx(values.std(ddof=1) / 3**0.5, abs=6e-5)
        expected = study.data["distance"].isel(of_head).values.mean()
        assert float(distance) == pytest.approx(expected, abs=0.051)
    assert told.endswith(f"  headscope app --study {out}\n")


def test_analyze_one_image_with_a_target(photos, tmp_path, capsys):
    out = tmp_path / "x.zarr"
    arguments = ["analyze", str(photos / "1.png"), *TINY, "--out", str(out), "--target", "7"]
    assert main(arguments) == 0
    told, err = capsys.readouterr()
    assert err == ""
    assert "(one image)" in told
    assert "±" not in told
    assert open_study(out).data["target"].values.tolist() == [7]
    # The same command again finds everything done.
    assert main(arguments) == 0
    assert capsys.readouterr().out == told


BAD_INPUT = {
    "missing": (["{photos}/none.png"], "There is no file or folder .*none.png"),
    "no match": (["{photos}/*.gif"], r"No image in the files matching .*\*\.gif"),
    "empty folder": (["{photos}/empty"], "No image in the folder .*empty"),
    "damaged, by name": (["{photos}/1.png", "{photos}/half.jpg"], "half.jpg is cut short"),
    "no image, by name": (["{photos}/notes.txt"], "notes.txt is not an image"),
    "all damaged": (["{photos}/broken"], "None of 2 images can be read. The first: .*a.jpg"),
    "unknown model": (["{photos}", "--model", "test_vlt"], "test_vit"),
    "unknown class": (["{photos}", "--target", "no such thing"], "no class 'no such thing'"),
    "class out of range": (["{photos}", "--target", "1000"], "no class '1000'"),
    "out is a file": (["{photos}", "--out", "{photos}/1.png"], "1.png is there already and is no"),
    "out is a folder": (["{photos}", "--out", "{photos}"], "is there already and is no study"),
    "out under a file": (["{photos}", "--out", "{photos}/1.png/x.zarr"], "Cannot write to .*1.png"),
    "size": (["{photos}", "--image-size", "63"], "63"),
    "device": (["{photos}", "--device", "abacus"], "abacus"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_analyze_bad_input_is_one_sentence(arguments, message, photos, tmp_path, capsys):
    (photos / "empty").mkdir()
    (photos / "broken").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(photos / "half.jpg", photos / "broken" / name)
    before = sorted(tmp_path.rglob("*"))
    given = [argument.format(photos=photos) for argument in arguments]
    defaults = ["--out", str(tmp_path / "x.zarr"), *TINY]
    assert main(["analyze", *defaults, *given]) == 2
    assert re.search(message, sentence(capsys))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written, nothing is lost"


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(),
    reason="un-skip when another folder that not even root can write to is known",
)
def test_an_output_that_cannot_be_written_is_told_before_the_model_is_loaded(photos, capsys):
    arguments = ["analyze", str(photos), "--model", "no-such-model", "--out", "/proc/self/x.zarr"]
    assert main(arguments) == 2
    assert "Cannot write to /proc/self" in sentence(capsys)


def test_another_model_does_not_go_on_with_a_study(photos, tmp_path, capsys):
    arguments = ["analyze", str(photos / "1.png"), *TINY, "--out", str(tmp_path / "x.zarr")]
    assert main(arguments) == 0
    capsys.readouterr()
    for change in (["--seed", "1"], ["--target", "3"]):
        assert main([*arguments, *change]) == 2
        assert "x.zarr holds a study" in sentence(capsys)


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(photos, tmp_path, capsys):
    many = tmp_path / "many"
    many.mkdir()
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(many / f"{index}.png")
    out = tmp_path / "x.zarr"
    model = ["--model", "test_vit", "--no-pretrained", "--batch-size", "1"]
    arguments = ["analyze", str(many), *model, "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not _n_done(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert told == ""
    assert "Traceback" not in err
    n_done = open_study(out).n_done
    assert 0 < n_done < 12
    assert err.splitlines()[-1] == (
        f"headscope: stopped. {n_done} of 12 images are in {out}, which opens as it is; "
        "the same command goes on from there."
    )
    interrupted = _of_images(out, n_done)

    assert main(arguments) == 0
    whole = open_study(out)
    assert whole.is_complete
    assert interrupted.identical(_of_images(out, n_done))

    assert main([*arguments[:-1], str(tmp_path / "at once.zarr")]) == 0
    assert whole.data.load().equals(open_study(tmp_path / "at once.zarr").data.load())


def _of_images(out: Path, n_images: int) -> xr.Dataset:
    """What the first images have each by themselves: numbers of all together come last."""
    data = open_study(out).data
    own = [name for name, variable in data.data_vars.items() if "image" in variable.dims]
    return data[own].isel(image=slice(0, n_images)).load()


def _n_done(out: Path) -> int:
    try:
        return open_study(out).n_done
    except Exception:  # it is being written
        return 0


def test_ctrl_c_before_anything_is_done(photos, tmp_path, monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_load", interrupted)
    assert main(["analyze", str(photos), *TINY, "--out", str(tmp_path / "x.zarr")]) == 130
    assert capsys.readouterr().err == "headscope: stopped.\n"


def test_the_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with commands._asked_to_stop() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


# -- inspect -----------------------------------------------------------------------------------


def test_inspect(capsys):
    assert main(["inspect", "test_vit", "--no-pretrained", "--image-size", "64x96"]) == 0
    told, err = capsys.readouterr()
    assert err == ""
    assert "1 class + 24 patches (4×6 of 16×16 px)" in told
    assert "1000, such as 'tench" in told
    row = r"^ +5  blocks\.5\.attn +2 +4×6\+1 +4×6\+1  \d\.\de-0\d +global$"
    assert re.search(row, told, re.MULTILINE)
    assert "6 of 6 attention modules read" in told


def test_inspect_refuses_by_name(capsys):
    assert main(["inspect", "coat_tiny", "--no-pretrained", "--image-size", "64"]) == 2
    assert "factorised attention" in sentence(capsys)


def test_a_reader_who_leaves_early_is_no_error():
    with subprocess.Popen(
        [*COMMAND, "inspect", "test_vit", "--no-pretrained"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


# -- demo train --------------------------------------------------------------------------------


def test_demo_train_leaves_what_is_there(tmp_path, capsys):
    for name in ("supervised", "masked"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"trained")
    assert main(["demo", "train", "supervised", "demo/masked", "--out", str(tmp_path)]) == 0
    told, err = capsys.readouterr()
    assert err == ""
    assert told.count("is there already; --no-resume trains it again.") == 2
    assert (tmp_path / "masked.safetensors").read_bytes() == b"trained"


def test_demo_train(tmp_path, monkeypatch, capsys):
    small = {"depth": 1, "embed_dim": 32, "num_heads": 2, "batch_size": 4}
    phases = (Phase(goal="labels", steps=2, keep=144),)
    recipe = dataclasses.replace(train.RECIPES["supervised"], phases=phases, **small)
    monkeypatch.setattr(train, "RECIPES", {"supervised": recipe})
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0)
    weights = tmp_path / "supervised.safetensors"
    weights.write_bytes(b"an older one")
    assert main(["demo", "train", "supervised", "--out", str(tmp_path), "--no-resume"]) == 0
    told, err = capsys.readouterr()
    assert told == f"{weights} is done.\n"
    assert "100 %: supervised labels 2/2" in err
    assert main(["inspect", str(weights)]) == 0
    assert "1 of 1 attention modules read" in capsys.readouterr().out


def test_demo_train_unknown_name(tmp_path, capsys):
    assert main(["demo", "train", "nope", "--out", str(tmp_path / "new")]) == 2
    assert "There is no demo checkpoint 'nope'; there are: " in sentence(capsys)
    assert not (tmp_path / "new").exists()


# -- app ---------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_study_that_does_not_open_starts_no_server(tmp_path, capsys):
    assert main(["--study", str(tmp_path / "none.zarr")]) == 2
    assert "There is no study at" in sentence(capsys)
    (tmp_path / "text.zarr").write_text("no study")
    assert main(["app", "--study", str(tmp_path / "text.zarr")]) == 2
    assert "is not a study" in sentence(capsys)


def test_a_port_in_use_is_told_with_a_free_one(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
        said = sentence(capsys)
    assert f"Port {port} of 127.0.0.1 is in use: give another one, such as --port " in said


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host, capsys):
    assert main(["--host", host, "--port", str(free_port())]) == 2
    assert f"Cannot listen on {host}" in sentence(capsys)


def test_the_app_is_served_until_ctrl_c(tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "--no-browser", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONWARNINGS": "error::ResourceWarning"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        assert f"is at http://127.0.0.1:{port}  (Ctrl-C stops it)" in line
        for path in ("/_stcore/health", "/"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                assert answer.status == 200
    finally:
        process.send_signal(signal.SIGINT)
        told, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "treamlit" not in told + err, "it speaks of headscope alone"
