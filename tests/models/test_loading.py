"""Loading: every kind of source, and a sentence for each that cannot be taken."""

import argparse
import json
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import headscope as hs

SMALL = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 4}
ARCHITECTURE = "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model(ARCHITECTURE, **SMALL)


def config(**changes):
    return {
        "architecture": ARCHITECTURE,
        "model_args": SMALL,
        "num_classes": 4,
        "label_names": ["ant", "bee", "cat", "dog"],
        "pretrained_cfg": {
            "input_size": [3, 32, 32],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.4, 0.5, 0.6],
            "interpolation": "bilinear",
            "crop_pct": 0.8,
            "crop_mode": "center",
        },
        **changes,
    }


def test_every_embedded_checkpoint_opens():
    names = hs.known_checkpoints()
    assert "demo/supervised" in names
    for name in names:
        checkpoint = hs.load(name)
        assert min(checkpoint.layout.grid) >= 12
        assert checkpoint.n_layers >= 6
        assert sum(checkpoint.n_heads) >= 24
        assert len(checkpoint.labels) >= 10


def test_a_safetensors_file_says_itself_what_it_is(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(model.state_dict(), path, {"timm": json.dumps(config())})
    checkpoint = hs.load(path)
    assert checkpoint.architecture == ARCHITECTURE
    assert checkpoint.labels == ("ant", "bee", "cat", "dog")
    assert checkpoint.preprocessing == hs.Preprocessing(
        (32, 32), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.8, "center"
    )
    batch = torch.randn(1, 3, 32, 32)
    assert torch.equal(checkpoint.run(batch), model.eval()(batch))


def test_a_hub_folder_has_its_configuration_beside_it(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    (tmp_path / "config.json").write_text(json.dumps(config()))
    assert hs.load(path).labels[0] == "ant"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
        # what timm's training script writes
        lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1), "arch": "vit"},
    ],
)
def test_a_pth_file_opens_in_its_usual_wrappings(tmp_path, wrap):
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE)
    path = tmp_path / "mine.pth"
    torch.save(wrap(model.state_dict()), path)
    checkpoint = hs.load(path, arch=ARCHITECTURE)
    batch = torch.randn(1, 3, 224, 224)
    assert torch.equal(checkpoint.run(batch), model.eval()(batch))


def test_random_weights_are_those_of_the_seed():
    digests = [
        hs.load(ARCHITECTURE, pretrained=False, image_size=32, seed=seed).digest
        for seed in (0, 0, 1)
    ]
    assert digests[0] == digests[1] != digests[2]


class Harmful:
    def __reduce__(self):
        return print, ("this must never be printed",)


def write_code(path):
    path.write_bytes(pickle.dumps({"state_dict": Harmful()}))


def write_zipped_code(path):
    torch.save({"state_dict": Harmful()}, path)


def write_half(path):
    torch.save(timm.create_model(ARCHITECTURE, **SMALL).state_dict(), path)
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("suffix", "write", "sentence"),
    [
        ("pth", write_zipped_code, "holds code .*print.*Save the tensors alone"),
        ("pth", write_code, "was not opened"),
        ("pth", write_half, "no whole checkpoint"),
        ("pth", lambda path: path.write_text("hello"), "no whole checkpoint|was not opened"),
        ("pth", lambda path: torch.save([1, 2], path), "no named tensors"),
        ("safetensors", lambda path: path.write_text("hello"), "not a whole safetensors file"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read_gets_a_sentence(
    tmp_path, capsys, suffix, write, sentence
):
    path = tmp_path / f"bad.{suffix}"
    write(path)
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.load(path, arch=ARCHITECTURE)
    assert "never" not in capsys.readouterr().out


def test_wrong_tensors_are_named_one_by_one(model, tmp_path):
    state = dict(model.state_dict())
    state["head.weight"] = torch.zeros(7, 24)
    state["extra"] = torch.zeros(1)
    del state["norm.bias"]
    path = tmp_path / "mine.safetensors"
    save_file(state, path, {"timm": json.dumps(config())})
    with pytest.raises(hs.HeadscopeError) as caught:
        hs.load(path)
    text = str(caught.value)
    assert "head.weight is (7, 24), expected (4, 24)" in text
    assert "norm.bias is missing" in text
    assert "extra is not in the architecture" in text


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("vit_tinny_patch16_224", {}, "nearest names are: vit_tiny_patch16"),
        ("demo/nothing", {}, "there are: .*demo/supervised"),
        ("no/such/file.pth", {}, "There is no file"),
        ("x" * 300, {}, "no name of a checkpoint"),
        ("", {}, "is a folder"),
        ("demo/supervised", {"arch": ARCHITECTURE}, "names its own architecture"),
        (ARCHITECTURE, {"seed": -1, "pretrained": False}, "seed -1"),
        (ARCHITECTURE, {"image_size": 16_000, "pretrained": False}, "1,000,000 patches"),
        (ARCHITECTURE, {"image_size": 100, "pretrained": False}, "no whole number"),
        (ARCHITECTURE, {"image_size": 0, "pretrained": False}, "no whole number"),
        (ARCHITECTURE, {"device": "quantum", "pretrained": False}, "device 'quantum'"),
        ("vit_base_patch16_siglip_gap_224", {"image_size": (16, 40), "pretrained": False}, "16×16"),
    ],
)
def test_what_cannot_be_loaded_gets_a_sentence(name, options, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.load(name, **options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no JSON"),
        ("[1]", "is not timm's"),
        (json.dumps(config(architecture=3)), "is not timm's"),
        (json.dumps(config(model_args=[1])), "is not timm's"),
        (json.dumps(config(model_args={**SMALL, "colour": "red"})), "could not be loaded"),
        (json.dumps(config(model_args={**SMALL, "num_heads": 5})), "could not be loaded"),
    ],
)
def test_a_configuration_that_is_wrong_gets_a_sentence(model, tmp_path, text, sentence):
    path = tmp_path / "mine.safetensors"
    save_file(model.state_dict(), path, {"timm": text})
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.load(path)


def test_the_input_size_is_the_one_that_the_model_was_built_for(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    silent = config()
    del silent["pretrained_cfg"]
    save_file(model.state_dict(), path, {"timm": json.dumps(silent)})
    assert hs.load(path).preprocessing.size == (32, 32)


def test_the_towers_of_clip_have_no_classes():
    assert not hs.load(
        "vit_base_patch16_clip_224.openai", pretrained=False, image_size=32
    ).has_classes


def test_loading_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    hs.load(ARCHITECTURE, pretrained=False, image_size=32)
    assert torch.equal(torch.rand(2), expected)


def test_a_label_that_two_classes_have_asks_for_the_index():
    checkpoint = hs.load(ARCHITECTURE, pretrained=False, image_size=32)
    twice = next(label for label in checkpoint.labels if checkpoint.labels.count(label) > 1)
    with pytest.raises(hs.HeadscopeError, match="name one by its index"):
        checkpoint.class_index(twice)
    assert checkpoint.class_index(np.int64(3)) == 3


def test_a_file_without_an_architecture_asks_for_one(model, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(model.state_dict(), path)
    with pytest.raises(hs.HeadscopeError, match="--arch"):
        hs.load(path)
    with pytest.raises(hs.HeadscopeError, match="no architecture 'vit_tin'"):
        hs.load(path, arch="vit_tin")


@pytest.mark.parametrize("name", [ARCHITECTURE, "hf-hub:timm/some_model"])
def test_no_network_is_one_sentence_at_once(monkeypatch, tmp_path, name):
    """An address that nobody answers on stands for a missing network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(hs.HeadscopeError, match=r"cannot be reached.*--no-pretrained"):
        hs.load(name)


def test_imagenet_models_have_names_for_their_classes():
    checkpoint = hs.load(ARCHITECTURE, pretrained=False, image_size=32)
    assert checkpoint.labels[0].startswith("tench")
    assert checkpoint.class_index("tench, Tinca tinca") == 0
    assert checkpoint.class_index("7") == 7
    assert checkpoint.class_index(0) == 0
    for wrong in (1000, "-1", "unicorn", -1):
        with pytest.raises(hs.HeadscopeError, match="no class"):
            checkpoint.class_index(wrong)
