"""Models that a user's own function makes."""

import importlib
import json
import sys

import pytest
import torch

import headscope as hs
from headscope.app import services
from headscope.app.cli import main
from headscope.app.export import render
from headscope.models.demo import scenes
from headscope.models.factory import from_factory

SOURCE = """
import torch
from torch import nn

import headscope as hs


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def build():
    return Model()


def build_checkpoint():
    return hs.wrap(Model(), image_size=(16, 24), labels=("a", "b", "c"), name="mine")


def three():
    return 3


def raises():
    raise ArithmeticError("two plus two\\nis five")


value = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("import no_such_package_at_all")
    (tmp_path / "wrong.py").write_text("def f(:")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_model", None)


@pytest.mark.parametrize("factory", ["own_model:build", "own_model.py:build"])
def test_a_module_is_wrapped_with_seeded_weights(factory, folder):
    before, path = torch.random.get_rng_state(), list(sys.path)
    one, same, other = (from_factory(factory, image_size=32, seed=seed) for seed in (1, 1, 2))
    assert one.digest == same.digest != other.digest
    assert one.layout.grid == (4, 4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sys.path == path
    where = str(folder / "own_model.py") if ".py" in factory else "own_model"
    assert one.loaded_with["factory"] == f"{where}:build"


def test_a_checkpoint_is_taken_as_it_is():
    checkpoint = from_factory("own_model.py:build_checkpoint")
    assert checkpoint.name == "mine"
    assert checkpoint.labels == ("a", "b", "c")
    assert checkpoint.preprocessing.size == (16, 24)
    assert checkpoint.loaded_with["factory"].endswith("own_model.py:build_checkpoint")


@pytest.mark.parametrize(
    ("factory", "size", "sentence"),
    [
        ("build", None, "names no function; expected package.module:function or file.py:function"),
        ("own_model:", None, "names no function"),
        ("nowhere:build", None, "no module 'nowhere', neither installed nor in the working"),
        ("nowhere.inner:build", None, "no module 'nowhere.inner'"),
        ("own model:build", None, "no module 'own model'"),
        ("nowhere.py:build", None, "no file nowhere.py"),
        ("own_model:nope", None, r"no nope in own_model; its functions are: .*build"),
        ("own_model.py:value", None, "is int; expected a function"),
        ("own_model:three", None, "returns int; expected a torch.nn.Module or a Checkpoint"),
        ("own_model:raises", None, "raised ArithmeticError: two plus two.$"),
        ("own_model:build", None, r"input size of Model is not known: .* return wrap"),
        ("own_model:build_checkpoint", 32, "leave --image-size out"),
        ("broken:build", None, "broken could not be imported: ModuleNotFoundError: .*no_such"),
        ("wrong.py:f", None, "wrong.py could not be imported: SyntaxError"),
    ],
)
def test_what_is_no_factory_gets_a_sentence(factory, size, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        from_factory(factory, image_size=size)


def test_inspect_and_analyze_take_a_factory(capsys, folder):
    made = ["--factory", "own_model.py:build_checkpoint"]
    assert main(["inspect", *made]) == 0
    assert "1 of 1 attention modules read" in capsys.readouterr().out
    out = folder / "x.zarr"
    assert main(["analyze", "sample/astronaut", *made, "--out", str(out)]) == 0
    told = json.loads(hs.open_study(out).data.attrs["loaded_with"])
    assert told["factory"] == f"{folder / 'own_model.py'}:build_checkpoint"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "neither is given"),
        (["test_vit", "--factory", "a:b"], "both are given"),
        (["--factory", "a:b", "--arch", "x"], "--arch is for checkpoints by name"),
        (["--factory", "a:b", "--no-pretrained"], "--no-pretrained is for checkpoints by name"),
    ],
)
def test_usage_is_told(arguments, sentence, capsys):
    assert main(["inspect", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_the_app_runs_no_code_that_a_study_names(monkeypatch, folder):
    factory = f"{folder / 'own_model.py'}:build_checkpoint"
    source = services.Source("mine", factory=factory)
    with pytest.raises(hs.HeadscopeError, match="not run unless you ask for it"):
        services.load_source(source)
    monkeypatch.setenv("HEADSCOPE_FACTORY", factory)
    assert services.load_source(source).name == "mine"
    (folder / "own_model.py").unlink()
    with pytest.raises(hs.HeadscopeError, match="no file"):
        services.load_source(source)


def test_a_report_checks_the_weights_of_the_factory(folder, monkeypatch, capsys):
    """A wrapped module does not say how it was loaded: a sentence, and the figures without it."""
    monkeypatch.syspath_prepend(folder)
    own_model = importlib.import_module("own_model")
    monkeypatch.setattr(render, "_chrome", lambda: None)
    images = [scenes.scene(seed).image for seed in range(2)]
    study = hs.analyze(own_model.build_checkpoint(), images, metrics=["entropy"])
    study.save(folder / "own.zarr")
    asked = ["report", "own.zarr", "--out", "figures", "--formats", "csv"]
    assert main(asked) == 0
    told = capsys.readouterr().err
    assert "Without the figures that run the network: The study does not say how mine was" in told
    assert (folder / "figures" / "atlas.csv").exists()
    assert main([*asked, "--factory", "own_model.py:build_checkpoint"]) == 2  # other weights
    assert "mine is not the checkpoint of the study" in capsys.readouterr().err
