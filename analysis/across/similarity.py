"""Which heads do the same: by their maps, and by what they put out."""

from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.checkpoint import Checkpoint
from ...models.layout import AttentionLayout
from .base import Across
from .pairs import HeadPairs
from .rows import rows_of, some_queries

PAIRS = ("layer", "head", "layer_2", "head_2")


@final
class MapCosine(Across):
    """⟨A, B⟩ / ‖A‖‖B‖ of the maps of two heads over queries and keys, mean over images.

    Range: 0 (no query gives two heads' attention to the same key) to 1 (they look alike).
    Reading: over at most 64 patch queries, evenly spread, and all keys (all queries, where none is
    a patch). Heads of layers with other tokens are compared by the mean attention at each offset
    from query to key, over all patches, in steps of the largest patch that any layer has; NaN where
    a layer has no such offsets.
    Source: our own.
    """

    name = "map_cosine"
    long_name = "Similarity of maps (cosine)"
    units = "cosine"
    dims = PAIRS

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._rows, self._offsets = HeadPairs(checkpoint), HeadPairs(checkpoint)
        layouts = [layer.layout for layer in checkpoint.layers]
        self._several = len({(each.queries, each.keys) for each in layouts}) > 1
        sizes = [tokens.patch_px for each in layouts for tokens in (each.queries, each.keys)]
        height, width = (max(each) for each in zip(*sizes, strict=True))
        self._step = height, width
        rows, columns = np.ceil(np.array(checkpoint.preprocessing.size) / self._step).tolist()
        self._reach = int(rows), int(columns)
        self._n_images = 0

    def fold(self, layer: LayerAttention) -> None:
        rows = rows_of(layer, some_queries(layer.queries)).flatten(2)
        self._rows.add(layer.layer, (layer.queries, layer.keys), _unit(rows))
        if self._several and layer.queries.n_patches and layer.keys.n_patches:
            offsets = torch.cat([self._by_offset(image) for image in layer.images])
            self._offsets.add(layer.layer, "offsets", _unit(offsets))
        if layer.layer == self.checkpoint.n_layers - 1:
            self._n_images += len(rows)
            self._rows.end_of_batch()
            self._offsets.end_of_batch()

    def finish(self) -> Float[np.ndarray, "layer head layer_2 head_2"]:
        if not self._n_images:
            return self._rows.by_layer(np.full(self._rows.sums.shape, np.nan))
        apart = np.where(self._offsets.compared, self._offsets.sums, np.nan)
        sums = np.where(self._rows.compared, self._rows.sums, apart)
        return self._rows.by_layer(sums / self._n_images)

    def _by_offset(self, layer: LayerAttention) -> Float[Tensor, "image head offset"]:
        weights = layer.window_weights.transpose(1, 2).flatten(2)
        bins, n_bins = _offset_bins(layer.layout, self._step, self._reach)
        found = weights.new_zeros(*weights.shape[:2], n_bins + 1)
        found.index_add_(2, bins.to(weights.device), weights)
        return found[..., :n_bins]


@final
class OutputCka(Across):
    """Linear CKA of the outputs of two heads over tokens: Σ HSIC(K, L) / √(Σ HSIC(K, K) Σ HSIC(L,
    L)), sums over images, with K and L the inner products between the outputs of an image's tokens
    and HSIC the estimator without bias.

    Range: −1 to 1 (the outputs are the same up to rotation and scale); about 0 where they have
    nothing in common.
    Reading: over at most 64 patches of each image, evenly spread; NaN between layers of other
    queries, with fewer than 4 patches, and for a head that gives all of them the same.
    Source: Nguyen, Raghu & Kornblith, "Do Wide and Deep Networks Learn the Same Things?" (2021),
    equations 2 to 4, with an image's patches as the minibatch.
    """

    name = "output_cka"
    long_name = "Similarity of outputs (CKA)"
    units = "CKA"
    dims = PAIRS

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._pairs = HeadPairs(checkpoint)

    def fold(self, layer: LayerAttention) -> None:
        if layer.queries.n_patches >= 4:
            tokens = torch.from_numpy(some_queries(layer.queries))
            output = layer.head_output[:, :, tokens.to(layer.head_output.device)]
            self._pairs.add(layer.layer, layer.queries, centred_products(output))
        if layer.layer == self.checkpoint.n_layers - 1:
            self._pairs.end_of_batch()

    def finish(self) -> Float[np.ndarray, "layer head layer_2 head_2"]:
        size = np.sqrt(np.diagonal(self._pairs.sums))
        size = np.where(size > 0, size, np.nan)
        cka = self._pairs.sums / size / size[:, None]
        return self._pairs.by_layer(np.where(self._pairs.compared, cka, np.nan))


def _unit(vectors: Float[Tensor, "image head entry"]) -> Float[Tensor, "image head entry"]:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def centred_products(
    output: Float[Tensor, "image head token channel"],
) -> Float[Tensor, "image head pair"]:
    """Products between tokens, centred so that ⟨K, L⟩ / n(n − 3) is HSIC without bias.

    Székely & Rizzo (2014), equation 2.4: rows sum to 0 without the diagonal, which is 0.
    """
    dtype = torch.promote_types(output.dtype, torch.float32)
    output, n = output.to(dtype), output.shape[2]
    # The mean token changes nothing but the rounding; what is left of it is rounding.
    moved = output - output.mean(2, keepdim=True)
    least = (32 * torch.finfo(dtype).eps) ** 2 * output.square().sum((2, 3), keepdim=True)
    moved = torch.where(moved.square().sum((2, 3), keepdim=True) > least, moved, 0)
    products = moved @ moved.transpose(-2, -1)
    products.diagonal(dim1=-2, dim2=-1).zero_()
    row = products.sum(-1, keepdim=True) / (n - 2)
    whole = row.sum(-2, keepdim=True) / (n - 1)
    centred = products - row - row.transpose(-2, -1) + whole
    centred.diagonal(dim1=-2, dim2=-1).zero_()
    return centred.flatten(2)


@lru_cache(maxsize=32)
def _offset_bins(
    layout: AttentionLayout, step: tuple[float, float], reach: tuple[int, int]
) -> tuple[Int[Tensor, " pair"], int]:
    """Of each pair in windows the offset in steps, as a flat index; the last is for no patch."""
    sides = []
    for tokens, of in (
        (layout.queries, layout.query_tokens),
        (layout.keys, layout.key_tokens),
    ):
        places = np.full((tokens.n_tokens + 1, 2), np.nan)  # the last one is padding
        places[:-1][tokens.is_patch] = tokens.centres
        sides.append(places[of])
    offset = np.round((sides[1][:, None] - sides[0][:, :, None]) / step)
    widths = 2 * reach[0] + 1, 2 * reach[1] + 1
    place = (offset + reach) @ [widths[1], 1]
    n_bins = widths[0] * widths[1]
    flat = np.where(np.isnan(place), n_bins, place).astype(np.int64)
    return torch.from_numpy(flat.reshape(-1)), n_bins
