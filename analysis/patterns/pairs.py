"""Which query and key patches of a layer meet, at which offset: what does not depend on images."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...models.layout import AttentionLayout, TokenLayout
from .cells import grid_cells

CLASS_KINDS = ("class", "distillation")
REGISTER_KINDS = ("register",)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of patches of a layer, window by window.

    Offsets are key − query, in patches of the coarser of the two grids: (0, −1) is the left
    neighbour. Where no query is a patch (class attention) there are no pairs.
    """

    layout: AttentionLayout
    query: Bool[Tensor, "window query"]
    """Whether the query is a patch."""
    key: Bool[Tensor, "window key"]
    """Whether the key is a patch."""
    met: Bool[Tensor, "window query key"]
    """Whether both are patches, and no mask keeps them apart."""
    counted: Bool[Tensor, "window query"]
    """The queries that a map is about: patches; all where none is a patch."""
    query_patch: Int[Tensor, "window query"]
    """Which patch it is; 0 for the others."""
    key_patch: Int[Tensor, "window key"]
    offset: Int[Tensor, " pair"]
    """Index of each pair's offset; that of the last, one too many, where one is no patch."""
    reach: tuple[int, int]
    """Largest offset along rows and columns between patches that meet."""
    by_offset: Float[Tensor, "row_offset column_offset"]
    """How many pairs there are."""
    even: Float[Tensor, "row_offset column_offset"]
    """What queries that give all patches they meet alike give by offset; sums to 1. Where masks
    leave some fewer patches than others, it is not in proportion to the pairs."""
    kinds: Float[Tensor, "window key kind"]
    """1 where the key is of the class, register or other kinds."""

    @property
    def n_queries(self) -> int:
        return int(self.counted.sum())

    @property
    def n_keys(self) -> int:
        return self.layout.keys.n_patches

    def key_places(self, side: int) -> Float[Tensor, "patch cell"]:
        """Which part of each key patch lies in which of `side`² cells of the image."""
        return _places(self.layout.keys, self.layout.queries, side)

    def query_places(self, side: int) -> Float[Tensor, "patch cell"]:
        """Which part of each query patch lies in which of `side`² cells of the image."""
        return _places(self.layout.queries, self.layout.keys, side)


@lru_cache(maxsize=32)
def pairs_of(layout: AttentionLayout) -> Pairs:
    """The pairs of a layout."""
    query, of_query = _patches(layout.queries, layout.query_tokens)
    key, of_key = _patches(layout.keys, layout.key_tokens)
    both = query[:, :, None] & key[:, None, :]
    if layout.masked is not None:
        both &= ~layout.masked
    there = layout.query_tokens >= 0
    reach = (0, 0)
    index = np.zeros(both.shape, int)
    if both.any():
        cells = layout.coarse_cells
        offset = cells[1][of_key][:, None] - cells[0][of_query][:, :, None]
        rows, columns = (int(np.abs(offset[both][:, axis]).max()) for axis in (0, 1))
        reach = (rows, columns)
        index = (offset[..., 0] + rows) * (2 * columns + 1) + offset[..., 1] + columns
    shape = (2 * reach[0] + 1, 2 * reach[1] + 1)
    index = np.where(both, index, shape[0] * shape[1]).reshape(-1)
    n_offsets = shape[0] * shape[1]
    count = np.bincount(index, minlength=n_offsets + 1)[:-1].reshape(shape)
    alike = both / np.maximum(both.sum(-1, keepdims=True), 1)
    even = np.bincount(index, alike.reshape(-1), minlength=n_offsets + 1)[:-1].reshape(shape)
    kinds = np.array([*layout.keys.kinds])[layout.key_tokens]
    of_class, of_register = np.isin(kinds, CLASS_KINDS), np.isin(kinds, REGISTER_KINDS)
    other = ~(of_class | of_register | key)
    return Pairs(
        layout,
        torch.from_numpy(query),
        torch.from_numpy(key),
        torch.from_numpy(both),
        torch.from_numpy(query if query.any() else there),
        torch.from_numpy(of_query),
        torch.from_numpy(of_key),
        torch.from_numpy(index),
        reach,
        torch.from_numpy(count).double(),
        torch.from_numpy(even / max(even.sum(), 1)),
        torch.from_numpy(np.stack([of_class, of_register, other], -1)).double(),
    )


def _patches(layout: TokenLayout, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the tokens in windows are patches, and which patch (0 for the others)."""
    patch = np.append(np.where(layout.is_patch, np.cumsum(layout.is_patch) - 1, -1), -1)[tokens]
    return patch >= 0, np.maximum(patch, 0)


@lru_cache(maxsize=64)
def _places(tokens: TokenLayout, other: TokenLayout, side: int) -> Tensor:
    if not tokens.n_patches:
        return torch.zeros(1, side**2)
    if tokens.scattered is None:
        rows, columns = (grid_cells(n, side) for n in tokens.grid)
        return torch.from_numpy(np.kron(rows, columns))
    # On no grid: each counts where its centre is, within the image that the other side spans.
    spanned = other if other.scattered is None and other.n_patches else tokens
    extent = np.maximum(
        np.array(spanned.grid) * np.array(spanned.patch_px), tokens.centres.max(0) + 1e-6
    )
    cells = (tokens.centres / extent * side).astype(int)
    places = np.zeros((tokens.n_patches, side**2))
    places[np.arange(len(places)), cells[:, 0] * side + cells[:, 1]] = 1
    return torch.from_numpy(places)
