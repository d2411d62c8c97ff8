"""Heads that put out the same, up to rotation and scale, over the same images."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.capture import LayerAttention, watch
from ...models.layout import PATCH, TokenLayout
from ..across.similarity import centred_products
from .sides import NotThere, Side

LEAST_IMAGES = 8
"""Below, outputs are compared over the patches of each image instead of over images: the estimate
from fewer says little, and with less than 4 there is none."""
CELLS = 8
"""Most rows and columns of places that patches are brought to, for comparison within an image."""
BATCH = 8
"""Images in one forward pass."""
Progress = Callable[[float], None]


def output(
    first: Side, second: Side, progress: Progress | None = None
) -> tuple[Float[np.ndarray, "pair_head pair_head"], tuple[str, ...]]:
    """Linear CKA of the head outputs (`attention @ value`) of all heads of both.

    CKA = HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)), with K and L the inner products between what a head
    puts out for the images: what its class token gets where both checkpoints have one, else the
    mean of what patches get. Negative values, which the estimate without bias has, are set to 0. 1:
    the same up to rotation and scale; 0: nothing in common. With fewer than `LEAST_IMAGES` images
    the inner products are between the places of each image (patches, or their area means on the
    coarsest grid of all layers, at most `CELLS` a side), and HSIC is summed over images.

    Memory: (images)² numbers a head, or places². Kornblith et al. (2019); the estimator of HSIC is
    that of Song et al. (2012), without which CKA of few images is far above 0 for any two heads.

    Raises:
        NotThere: a checkpoint is not there, or there is nothing to compare over.
    """
    for side in (first, second):
        if side.checkpoint is None:
            raise NotThere(
                f"the checkpoint of {side.study.model} is not there"
                + (f": {side.why_not}" if side.why_not else "")
            )
    over_images = len(first.images) >= LEAST_IMAGES
    layouts = [_queries(side) for side in (first, second)]
    of_class = all(all(len(each.tokens("class")) for each in side) for side in layouts)
    if over_images:
        told = "the class token over images" if of_class else "the mean over patches, over images"
        read = _class if of_class else _mean
        places = (1, 1)
    else:
        grids = [each.grid for side in layouts for each in side]
        rows, columns = (min(CELLS, *sizes) for sizes in zip(*grids, strict=True))
        if rows * columns < 4 or any(each.scattered is not None for s in layouts for each in s):
            raise NotThere(
                f"there are {len(first.images)} images, and fewer than 4 places that the patches "
                "of all layers have in common"
            )
        told, places = f"{rows} × {columns} places of each image", (rows, columns)
        read = lambda layer: _cells(layer, places)  # noqa: E731
    n = len(first.images) + len(second.images)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done / n)

    before = (0, len(first.images))
    put_out = [
        side.once(
            ("output", told),
            lambda side=side, done=done: _outputs(side, read, lambda more: tell(done + more)),
        )
        for side, done in zip((first, second), before, strict=True)
    ]
    centred = _over_images if over_images else _within
    return _cka([centred(each) for each in put_out]), (told,)


def _queries(side: Side) -> list[TokenLayout]:
    assert side.checkpoint is not None
    return [layer.layout.queries for layer in side.checkpoint.layers]


def _class(layer: LayerAttention) -> Float[Tensor, "image head place channel"]:
    tokens = torch.from_numpy(layer.queries.tokens("class")).to(layer.head_output.device)
    return layer.head_output[:, :, tokens].mean(2, keepdim=True)


def _mean(layer: LayerAttention) -> Float[Tensor, "image head place channel"]:
    there = layer.queries.is_patch if layer.queries.n_patches else np.ones(layer.queries.n_tokens)
    tokens = torch.from_numpy(np.flatnonzero(there)).to(layer.head_output.device)
    return layer.head_output[:, :, tokens].mean(2, keepdim=True)


def _cells(
    layer: LayerAttention, places: tuple[int, int]
) -> Float[Tensor, "image head place channel"]:
    tokens = torch.from_numpy(layer.queries.tokens(PATCH)).to(layer.head_output.device)
    patches = layer.head_output[:, :, tokens].float()
    maps = patches.unflatten(2, layer.queries.grid).movedim(-1, 2).flatten(0, 2)
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps[:, None], places)[:, 0]
    return pooled.flatten(1).unflatten(0, (*patches.shape[:2], -1)).transpose(-2, -1)


def _outputs(
    side: Side,
    read: Callable[[LayerAttention], Float[Tensor, "image head place channel"]],
    tell: Callable[[int], None],
) -> list[Float[Tensor, "image head place channel"]]:
    """What all heads of each layer put out, for all images."""
    checkpoint, pixels = side.checkpoint, side.study.data["pixels"]
    assert checkpoint is not None
    parts: list[list[Tensor]] = [[] for _ in range(checkpoint.n_layers)]
    for start in range(0, len(side.images), BATCH):
        tell(start)
        indices: Int[np.ndarray, " image"] = side.images[start : start + BATCH]
        batch = checkpoint.prepare(pixels.isel(image=indices).values)
        watch(checkpoint, batch, lambda layer: parts[layer.layer].append(read(layer).cpu()))
    tell(len(side.images))
    return [torch.cat(part) for part in parts]


def _over_images(outputs: list[Tensor]) -> Float[Tensor, "head pair"]:
    """Centred products between images, scaled to length 1; heads of layers differ in channels."""
    return torch.cat([centred_products(each.transpose(0, 2))[0] for each in outputs])


def _within(outputs: list[Tensor]) -> Float[Tensor, "head pair"]:
    """Centred products between places, image by image, one after the other."""
    return torch.cat([centred_products(each).transpose(0, 1).flatten(1) for each in outputs])


def _cka(sides: list[Float[Tensor, "head pair"]]) -> Float[np.ndarray, "pair_head pair_head"]:
    vectors = torch.cat(sides).double()
    size = vectors.norm(dim=1, keepdim=True)
    found = ((vectors / size) @ (vectors / size).T).numpy()
    return np.where(np.isnan(found), np.nan, np.clip(found, 0, 1))
