"""The card beside a demo checkpoint's weights: how right it is, how it came about, its heads."""

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .objective import GRID, PATCH
from .recipes import Recipe
from .scenes import CLASS_NAMES, HELD_OUT, KINDS, scene
from .weights import read_weights, replacing

HEAD_SCENES = HELD_OUT[:300]
"""Held-out scenes on which single heads are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """What zeroing one head at a time costs, on scenes whose probabilities are `probabilities`."""

    top1: NDArray[np.float64]
    """`layer, head`: drop of top-1 accuracy, percentage points."""
    target: NDArray[np.float64]
    """`layer, head`: mean drop of the label's probability, percentage points."""


def probabilities(
    network: VisionTransformer, entry: dict[str, Any], seeds: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`image, class` after the file's own preprocessing, in float32, and the labels."""
    images, labels = _inputs(entry, seeds)
    return _forward(network, images), labels


def leave_one_out(
    network: VisionTransformer, entry: dict[str, Any], seeds: Sequence[int]
) -> LeftOut:
    """Each head's output set to zero in turn; layers before it are not run again."""
    images, labels = _inputs(entry, seeds)
    whole, entering = _forward(network, images), _block_inputs(network, images)
    rows = np.arange(len(labels))
    drops = np.zeros((2, len(entering), entry["model_args"]["num_heads"]))
    for layer, head in np.ndindex(*drops.shape[1:]):
        with _zeroed(network, layer, head, drops.shape[2]):
            without = _from_block(network, layer, entering[layer])
        drops[0, layer, head] = _top1(whole, labels) - _top1(without, labels)
        drops[1, layer, head] = (whole[rows, labels] - without[rows, labels]).mean()
    return LeftOut(100 * drops[0], 100 * drops[1])


def write_card(weights: Path, recipe: Recipe, *, seconds: float, n_scenes: int) -> None:
    """Measure the written file on the held-out scenes and write `<name>.md` beside it."""
    network, entry = read_weights(weights)
    chances, labels = probabilities(network, entry, HELD_OUT[:n_scenes])
    guesses = chances.argmax(1)
    lost = leave_one_out(network, entry, HEAD_SCENES[:n_scenes])
    drawn = recipe.steps * recipe.batch_size
    phases = "; ".join(
        f"{phase.steps:,} steps on {phase.goal}, {phase.keep} of {GRID**2} patches seen"
        + (f" (all in the last {100 - 100 * phase.all_from:.0f} %)" if phase.all_from < 1 else "")
        for phase in recipe.phases
    )
    kinds = ", ".join(f"{pattern} {shape}" for pattern, shape in KINDS)
    size = weights.stat().st_size / 1e6
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}"
    )
    text = f"""\
# demo/{recipe.name}

A small vision transformer,
{recipe.about}.
Its scenes are drawn by `headscope.models.demo.scenes` over scikit-image's photographs: one target
({kinds}),
one star, and distractors that have the shape of one kind and the pattern of another. The label
names the target and its side of the star.

| | |
| --- | --- |
| Top-1, {len(labels):,} held-out scenes | **{100 * _top1(chances, labels):.1f} %** |
| Kind right, whatever the side | {100 * np.mean(guesses // 2 == labels // 2):.1f} % |
| Side right, whatever the kind | {100 * np.mean(guesses % 2 == labels % 2):.1f} % |
| Chance | {100 / len(CLASS_NAMES):.1f} % |
| Layers, heads per layer, width | {recipe.depth}, {recipe.num_heads}, {recipe.embed_dim} |
| Grid, patch | {GRID} × {GRID}, {PATCH} px |
| Prefix tokens | class{f" and {recipe.reg_tokens} registers" if recipe.reg_tokens else ""} |
| File | {size:.1f} MB, float16; measured as float32 |
| Seed | {recipe.seed} |
| Command | `headscope demo train {recipe.name}` |
| Training | {phases} |
| Training scenes | {drawn:,}, none seen twice, none of the held-out ones |
| Training time | {seconds / 60:.0f} min at {drawn / seconds:.0f} scenes/s, bfloat16 autocast |
| Machine | CPU, threads: {torch.get_num_threads()}, {torch.backends.cpu.get_cpu_capability()} |
| Versions | {versions} |

The held-out scenes are those of seeds {HELD_OUT.start} to {HELD_OUT.stop - 1}. Their objects and
arrangements are new to the network; the photographs behind them are the same few.

## What each head is worth

One head's output set to zero, {len(HEAD_SCENES[:n_scenes])} held-out scenes.

Drop of top-1, percentage points (largest {lost.top1.max():.1f}, median {np.median(lost.top1):.1f}):

{_table(lost.top1)}

Mean drop of the label's probability, percentage points (largest {lost.target.max():.1f}, \
median {np.median(lost.target):.1f}):

{_table(lost.target)}
"""
    with replacing(weights.with_suffix(".md")) as part:
        part.write_text(text, encoding="utf-8")


def _inputs(entry: dict[str, Any], seeds: Sequence[int]) -> tuple[Tensor, NDArray[np.int64]]:
    config = entry["pretrained_cfg"]
    names = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
    preprocess: Any = create_transform(
        tuple(config["input_size"]), **{name: config[name] for name in names}
    )
    scenes = [scene(seed) for seed in seeds]
    images = torch.stack([preprocess(Image.fromarray(drawn.image)) for drawn in scenes])
    return images, np.array([drawn.label for drawn in scenes])


@torch.inference_mode()
def _forward(network: VisionTransformer, images: Tensor) -> NDArray[np.float32]:
    return torch.cat([network(part).softmax(-1) for part in images.split(100)]).numpy()


@torch.inference_mode()
def _block_inputs(network: VisionTransformer, images: Tensor) -> list[Tensor]:
    """What enters each block: `image, token, feature` per layer."""
    entering: dict[nn.Module, list[Tensor]] = {block: [] for block in network.blocks}

    def keep(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entering[block].append(inputs[0])

    handles = [block.register_forward_pre_hook(keep) for block in network.blocks]
    try:
        _forward(network, images)
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(parts) for parts in entering.values()]


@torch.inference_mode()
def _from_block(network: VisionTransformer, layer: int, entering: Tensor) -> NDArray[np.float32]:
    """Probabilities from what enters a block."""
    chances: list[Tensor] = []
    for tokens in entering.split(100):
        for block in network.blocks[layer:]:
            tokens = block(tokens)
        chances.append(network.forward_head(network.norm(tokens)).softmax(-1))
    return torch.cat(chances).numpy()


@contextmanager
def _zeroed(network: VisionTransformer, layer: int, head: int, n_heads: int) -> Iterator[None]:
    projection = network.blocks[layer].get_submodule("attn.proj")

    def zero(_: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        outputs = inputs[0].clone()
        outputs.unflatten(-1, (n_heads, -1))[..., head, :] = 0
        return outputs

    handle = projection.register_forward_pre_hook(zero)
    try:
        yield
    finally:
        handle.remove()


def _top1(chances: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float(np.mean(chances.argmax(1) == labels))


def _table(values: NDArray[np.float64]) -> str:
    heads = range(values.shape[1])
    lines = ["| layer | " + " | ".join(f"head {head}" for head in heads) + " |"]
    lines.append("| --- |" + " ---: |" * len(heads))
    lines += [
        f"| {layer} | " + " | ".join(f"{value:z.1f}" for value in row) + " |"
        for layer, row in enumerate(values)
    ]
    return "\n".join(lines)
