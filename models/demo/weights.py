"""A demo checkpoint as a file: float16 tensors and, in the header, what timm needs to load them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from safetensors.torch import save
from timm.models.vision_transformer import VisionTransformer

from .recipes import ARCHITECTURE, Recipe
from .scenes import CLASS_NAMES, SIZE


def create(recipe: Recipe) -> VisionTransformer:
    """The recipe's network with its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return _build(recipe.model_args)


def header(recipe: Recipe) -> dict[str, Any]:
    """The `timm` entry of the file's metadata, shaped like a hub `config.json`."""
    return {
        "architecture": ARCHITECTURE,
        "model_args": recipe.model_args,
        "num_classes": len(CLASS_NAMES),
        "label_names": list(CLASS_NAMES),
        "pretrained_cfg": {
            "input_size": [3, SIZE, SIZE],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "num_classes": len(CLASS_NAMES),
        },
    }


def write_weights(network: VisionTransformer, path: Path, recipe: Recipe) -> None:
    """Write the network, rounded to float16, with its header."""
    tensors = {key: value.half().contiguous() for key, value in network.state_dict().items()}
    with replacing(path) as part:
        part.write_bytes(save(tensors, {"timm": json.dumps(header(recipe))}))


def read_weights(path: Path) -> tuple[VisionTransformer, dict[str, Any]]:
    """The network of a file in float32, ready to be evaluated, and the `timm` entry."""
    with safe_open(path, framework="pt") as file:
        entry = json.loads(file.metadata()["timm"])
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    network = _build(entry["model_args"])
    network.load_state_dict(tensors)
    return network.eval(), entry


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to that takes the place of `path` only once it is complete."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _build(model_args: dict[str, Any]) -> VisionTransformer:
    network = timm.create_model(ARCHITECTURE, pretrained=False, **model_args)
    assert isinstance(network, VisionTransformer)
    return network
