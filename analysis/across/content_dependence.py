"""Whether a head's maps follow what is in the image, or where the query is."""

from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.checkpoint import Checkpoint
from ...models.layout import TokenLayout
from .base import Across, side_by_side
from .rows import AT_MOST, rows_of, some_queries

WEIGHTS_AT_MOST = 2**15
"""Of a head's mean map that are kept, in float64: 256 KiB a head."""
QUERIES_AT_LEAST = 16
"""However many keys there are."""
NOTHING = 1e-12
"""Of the mean square of the weights: variance below is that of rounding in float32."""


@final
class ContentDependence(Across):
    """V_c / (V_c + V_p). V_c = E_q Σ_k Var_images A_qk is the variance over images at a fixed query
    q, V_p = Σ_k Var_q E_images A_qk that over queries of the map that stays; keys k are places, not
    offsets.

    Range: 0 (maps differ by where the query is and are the same in every image) to 1 (all queries
    look alike, and where changes from image to image).
    Reading: a head that looks left is all position. Both are estimated without bias for few images:
    V_p is cleared of the part that changing maps leave in a mean of n images (two-way analysis of
    variance, images by queries), and is 0 where that is more than all. Over at most 64 patch
    queries, evenly spread, down to 16 where there are many keys. Undefined for one image, one
    query, and a head whose maps never differ.
    Source: the decomposition is our own; that heads divide so: Cordonnier et al. (2020), section 4.
    """

    name = "content_share"
    long_name = "Content- against position-dependence"
    units = "share"
    dims = ("layer", "head")

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint)
        self._sums = [
            _Sums(layer.layout.queries, layer.layout.keys.n_tokens, layer.n_heads)
            for layer in checkpoint.layers
        ]

    def fold(self, layer: LayerAttention) -> None:
        self._sums[layer.layer].add(layer)

    def finish(self) -> Float[np.ndarray, "layer head"]:
        return side_by_side([sums.share() for sums in self._sums])


@final
class _Sums:
    """Of the maps A of one layer: what both variances are made of."""

    def __init__(self, queries: TokenLayout, n_keys: int, n_heads: int) -> None:
        at_most = min(AT_MOST, max(QUERIES_AT_LEAST, WEIGHTS_AT_MOST // n_keys))
        self._queries = some_queries(queries, at_most)
        self._n_images = 0
        self._maps = torch.zeros(n_heads, len(self._queries), n_keys, dtype=torch.float64)
        """Σ_i A."""
        self._squares = torch.zeros(n_heads, dtype=torch.float64)
        """Σ_iqk A²."""
        self._of_images = torch.zeros(n_heads, dtype=torch.float64)
        """Σ_ik (Σ_q A)²."""

    def add(self, layer: LayerAttention) -> None:
        rows: Tensor = rows_of(layer, self._queries).cpu().double()
        self._n_images += len(rows)
        self._maps += rows.sum(0)
        self._squares += rows.square().sum((0, 2, 3))
        self._of_images += rows.sum(2).square().sum((0, 2))

    def share(self) -> Float[np.ndarray, " head"]:
        n_images, n_queries = self._n_images, len(self._queries)
        if n_images < 2 or n_queries < 2:
            return np.full(len(self._maps), np.nan)
        of_pairs = self._maps.square().sum((1, 2)) / n_images
        of_all = self._maps.sum(1).square().sum(1) / (n_images * n_queries)
        content = (self._squares - of_pairs) / ((n_images - 1) * n_queries)
        # What image and query make together, of which a mean over images keeps 1/n.
        both = self._squares - of_pairs - self._of_images / n_queries + of_all
        both = both / ((n_images - 1) * (n_queries - 1))
        position = (of_pairs - of_all) / ((n_queries - 1) * n_images) - both / n_images
        content, position = content.clamp_min(0), position.clamp_min(0)
        whole = content + position
        there = whole > NOTHING * self._squares / (n_images * n_queries)
        return torch.where(there, content / whole, torch.nan).numpy()
