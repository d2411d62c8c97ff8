"""Maps that know nothing of the model: what an explanation has to be better than."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ..explain.perturbing import cell_grid
from .cells import Maps

_LUMINANCE = (0.299, 0.587, 0.114)


def centre_map(checkpoint: Checkpoint, batch: Tensor, images: Int[np.ndarray, " image"]) -> Maps:
    """exp(−d²/2) with d the distance from the centre in quarters of the height and width.

    Photographs have their subject in the middle: a map that scores no better has found nothing.
    """
    del images
    grid = cell_grid(checkpoint)
    rows, columns = (
        ((np.array(edges[1:]) + np.array(edges[:-1])) / 2 / edges[-1] - 0.5) / 0.25
        for edges in (grid.row_edges, grid.column_edges)
    )
    gaussian = np.exp(-(rows[:, None] ** 2 + columns**2) / 2)
    return np.repeat(gaussian[None], len(batch), axis=0)


def random_map(
    checkpoint: Checkpoint, batch: Tensor, images: Int[np.ndarray, " image"], *, seed: int = 0
) -> Maps:
    """Numbers by lot, even between 0 and 1, drawn by seed and image: the same for any model."""
    grid = cell_grid(checkpoint).shape
    del batch
    return np.stack([np.random.default_rng((seed, int(image))).random(grid) for image in images])


def edge_map(checkpoint: Checkpoint, batch: Tensor, images: Int[np.ndarray, " image"]) -> Maps:
    """How strong edges are: the gradient of the luminance by Sobel, averaged over each cell.

    Depends on the image and not at all on the model (Adebayo et al., NeurIPS 2018, section 5).
    """
    del images
    channels = batch.double().cpu()
    if channels.shape[1] == 3:
        grey = (channels * torch.tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    else:
        grey = channels.mean(1, keepdim=True)
    kernel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=torch.float64)
    padded = torch.nn.functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    slopes = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None])
    return cell_grid(checkpoint).means(slopes.square().sum(1).sqrt().numpy())


BASELINES = {"centre": centre_map, "random": random_map, "edges": edge_map}
"""By name; each gives a map for each image of a batch."""
