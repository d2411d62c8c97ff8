"""Attention between patches by how far and which way the key lies: one pass, for many metrics."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layout import AttentionLayout
from .patches import maps_of, once_per_layer, patches_of

_FINE_PX = 3
"""Decimals of a pixel below which displacements are one: places are computed in float64."""


@dataclass(frozen=True)
class Displacements:
    """The ways from a query patch to a key patch of its window that occur in a layout.

    A step down or to the right is positive.
    """

    px: Float[Tensor, "displacement 2"]
    """Rows and columns between the centres, in input pixels."""
    cells: Int[Tensor, "displacement 2"]
    """Rows and columns on the coarser of the two grids."""
    patches: Float[Tensor, "displacement 2"]
    """Rows and columns in patches of the queries' grid."""
    n_pairs: Int[Tensor, " displacement"]
    """How many pairs of a query and a key are so apart and not kept from each other by a mask."""
    of_pair: Int[Tensor, "window query key"]
    """Which of them each pair is; as many as there are where query or key is no patch."""

    @property
    def hops(self) -> Int[Tensor, " displacement"]:
        """Chebyshev distance on the coarser grid."""
        return self.cells.abs().amax(-1)


@lru_cache(maxsize=32)
def displacements(
    layout: AttentionLayout, device: torch.device, dtype: torch.dtype
) -> Displacements:
    """Those of a layout, where the maps are and as precise."""
    query, of_query = patches_of(layout.queries, layout.query_tokens)
    key, of_key = patches_of(layout.keys, layout.key_tokens)
    both = query[:, :, None] & key[:, None, :]
    n_columns, rows, columns = 1, np.zeros((1, 2)), np.zeros((1, 2))
    index = np.ones(both.shape, int)
    if layout.queries.n_patches and layout.keys.n_patches:
        # Row by row and column by column there are few: never all pairs of patches at once.
        (of_rows, rows), (of_columns, columns) = (_along(layout, axis) for axis in (0, 1))
        n_columns = len(columns)
        index = of_rows(of_query, of_key) * n_columns + of_columns(of_query, of_key)
    n = len(rows) * n_columns
    index = np.where(both, index, n)
    counted = index if layout.masked is None else index[~layout.masked]
    # `px` and `cells` of every row beside every column.
    table = np.stack([np.repeat(rows, n_columns, 0), np.tile(columns, (len(rows), 1))], axis=-1)
    px = torch.from_numpy(table[:, 0]).to(device, dtype)
    unit = px.new_tensor(layout.queries.patch_px)
    return Displacements(
        px,
        torch.from_numpy(table[:, 1].astype(int)).to(device),
        px / unit,
        torch.from_numpy(np.bincount(counted.reshape(-1), minlength=n)[:n]).to(device),
        torch.from_numpy(index).to(device),
    )


def displacements_of(layer: LayerAttention) -> Displacements:
    """Those of a layer."""
    weights = maps_of(layer)
    return displacements(layer.layout, weights.device, weights.dtype)


@once_per_layer
def by_displacement(layer: LayerAttention) -> Float[Tensor, "image head displacement"]:
    """Attention of all query patches together by the way from query to key."""
    return sum_by_displacement(layer, maps_of(layer))


def sum_by_displacement(
    layer: LayerAttention, weights: Float[Tensor, "image window head query key"]
) -> Float[Tensor, "image head displacement"]:
    """Any weights of a layer's pairs, summed by the way from query to key."""
    ways = displacements_of(layer)
    by_head = weights.transpose(1, 2).flatten(2)
    total = by_head.new_zeros(*by_head.shape[:2], len(ways.px) + 1)
    return total.index_add_(-1, ways.of_pair.flatten(), by_head)[..., :-1]


class _Along:
    """Which displacement along one axis a query and a key have: a table of rows or columns."""

    def __init__(self, query: np.ndarray, key: np.ndarray, table: np.ndarray) -> None:
        self._query, self._key, self._table = query, key, table

    def __call__(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        return self._table[self._query[query][:, :, None], self._key[key][:, None, :]]


def _along(layout: AttentionLayout, axis: int) -> tuple[_Along, Float[np.ndarray, "step 2"]]:
    """How to find it, and what each is in pixels and in cells of the coarser grid."""
    sides = []
    for tokens, cells in zip((layout.queries, layout.keys), layout.coarse_cells, strict=True):
        sides.append(_different(np.stack([tokens.centres[:, axis], cells[:, axis]], axis=-1)))
    (query, of_query), (key, of_key) = sides
    steps, of_pair = _different((key[None] - query[:, None]).reshape(-1, 2))
    return _Along(of_query, of_key, of_pair.reshape(len(query), len(key))), steps


def _different(
    places: Float[np.ndarray, "n 2"],
) -> tuple[Float[np.ndarray, "m 2"], Int[np.ndarray, " n"]]:
    """Those that differ by more than rounding, and which of them each is."""
    rounded = places.round(_FINE_PX) + 0.0  # no −0
    _, first, which = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return places[first], which.reshape(-1)
