"""From numbers of tokens to maps over the image."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.layers import Layer
from ...models.layout import TokenLayout


def on_grid(
    values: Float[Tensor, "*lead token"], tokens: TokenLayout
) -> Float[np.ndarray, "*lead row column"]:
    """The patches among tokens, on their grid."""
    patches = values[..., torch.from_numpy(tokens.is_patch).to(values.device)]
    return patches.unflatten(-1, tokens.grid).detach().double().cpu().numpy()


def by_token(
    folded: Float[Tensor, "image window head place"],
    tokens: Int[np.ndarray, "window place"],
    n_tokens: int,
) -> Float[Tensor, "image head token"]:
    """What stands in windows, added up by token; -1 is none."""
    summed = folded.new_zeros(folded.shape[0], folded.shape[2], n_tokens + 1)
    index = torch.from_numpy(np.where(tokens < 0, n_tokens, tokens).reshape(-1)).to(folded.device)
    summed.index_add_(2, index, folded.transpose(1, 2).flatten(2))
    return summed[..., :n_tokens]


def has_cells(tokens: TokenLayout) -> bool:
    """Whether there are patches, and these on a grid."""
    return tokens.n_patches > 0 and tokens.scattered is None


def beside(
    checkpoint: Checkpoint,
    parts: Mapping[int, Float[np.ndarray, "image head row column"]],
    n_images: int,
    grid: tuple[int, int],
) -> Float[np.ndarray, "image layer head row column"]:
    """Maps of the heads of some layers beside each other; NaN where there is no such head."""
    maps = np.full((n_images, checkpoint.n_layers, max(checkpoint.n_heads), *grid), np.nan)
    for layer, part in parts.items():
        maps[:, layer, : part.shape[1]] = part
    return maps


def grids_beside(layers: Sequence[Layer]) -> tuple[tuple[int, int], ...]:
    """The grids of a model that works on several side by side; empty where it does not.

    In stages one grid follows the other; side by side, one comes again after another.
    """
    grids = [
        side.grid
        for layer in layers
        for side in [layer.layout.queries if layer.layout.queries.n_patches else layer.layout.keys]
    ]
    runs = [grid for i, grid in enumerate(grids) if i == 0 or grids[i - 1] != grid]
    return tuple(dict.fromkeys(runs)) if len(set(runs)) < len(runs) else ()
