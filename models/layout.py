"""Where each token is: the one place that knows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

PATCH = "patch"
"""The kind of a token that stands for a patch; every other kind has no place in the image."""
PADDING = "padding"
"""The kind of all that a window was filled up with: one token for the attention it takes."""


@dataclass(frozen=True)
class TokenLayout:
    """The tokens on one side of an attention layer.

    Patches lie on a grid in row-major order; prefix tokens (class, distillation, registers) and
    padding have no place in the image.
    """

    kinds: tuple[str, ...]
    """Kind of each token: `"class"`, `"distillation"`, `"register"`, `"patch"`, …"""
    grid: tuple[int, int]
    """Patches as (rows, columns); (0, 0) where there is none."""
    patch_px: tuple[float, float]
    """Height and width of a patch, in input pixels."""
    scattered: tuple[tuple[float, float], ...] | None = None
    """Row and column of each patch's centre in pixels, where patches are on no grid (keys that are
    averages along rows, say): `grid` is then (number of patches, 1)."""

    def __post_init__(self) -> None:
        rows, columns = self.grid
        if self.kinds.count(PATCH) != rows * columns:
            raise ValueError(
                f"a grid of {rows}×{columns} needs {rows * columns} patch tokens, "
                f"got {self.kinds.count(PATCH)}"
            )

    @property
    def n_tokens(self) -> int:
        return len(self.kinds)

    @property
    def n_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def n_prefix(self) -> int:
        """Tokens that are no patches."""
        return self.n_tokens - self.n_patches

    @cached_property
    def present_kinds(self) -> tuple[str, ...]:
        """The kinds that occur, in order of first appearance."""
        return tuple(dict.fromkeys(self.kinds))

    @cached_property
    def is_patch(self) -> Bool[np.ndarray, " token"]:
        return np.array([kind == PATCH for kind in self.kinds], dtype=bool)

    def tokens(self, kind: str) -> Int[np.ndarray, " token"]:
        """Indices of the tokens of one kind."""
        return np.flatnonzero(np.array(self.kinds) == kind)

    def labels(self) -> Iterator[str]:
        """A name for every token: `"class"`, `"register 2"`, `"patch 3, 7"` (row, column)."""
        seen: dict[str, int] = {}
        for kind in self.kinds:
            index = seen.get(kind, 0)
            seen[kind] = index + 1
            if kind == PATCH:
                yield "patch {}, {}".format(*divmod(index, self.grid[1]))
            else:
                yield kind if self.kinds.count(kind) == 1 else f"{kind} {index}"

    @cached_property
    def cells(self) -> Int[np.ndarray, "patch 2"]:
        """Row and column of each patch on the grid."""
        return np.indices(self.grid).reshape(2, -1).T

    @cached_property
    def centres(self) -> Float[np.ndarray, "patch 2"]:
        """Row and column of each patch's centre, in input pixels."""
        if self.scattered is not None:
            return np.array(self.scattered)
        return (self.cells + 0.5) * np.array(self.patch_px)

    @cached_property
    def distances(self) -> Float[np.ndarray, "patch patch"]:
        """Euclidean distance between patch centres, in input pixels."""
        return _distances(self, self)

    @cached_property
    def hops(self) -> Int[np.ndarray, "patch patch"]:
        """Chebyshev distance between patches on the grid, in patches."""
        return _hops(self, self)

    @property
    def n_hops(self) -> int:
        """Number of different hops, hop 0 (the patch itself) included."""
        return max(self.grid)


@dataclass(frozen=True, eq=False)
class AttentionLayout:
    """Who can attend to whom in one layer, and where they are.

    A window is a set of queries that attend to a set of keys. Attention from all tokens to all has
    one window. Queries and keys may lie on different grids.
    """

    queries: TokenLayout
    keys: TokenLayout
    query_tokens: Int[np.ndarray, "window query"]
    """Which token of `queries` each query of a window is; -1: padding, its output goes nowhere."""
    key_tokens: Int[np.ndarray, "window key"]
    """Which token of `keys` each key of a window is."""
    masked: Bool[np.ndarray, "window query key"] | None = None
    """Pairs of a window that may not attend: in a shifted window, those that lie at opposite ends
    of the image. None: there are none."""

    @classmethod
    def of_all(cls, tokens: TokenLayout) -> "AttentionLayout":
        """All tokens attend to all."""
        every = np.arange(tokens.n_tokens)[None]
        return cls(tokens, tokens, every, every)

    @property
    def n_windows(self) -> int:
        return len(self.query_tokens)

    @cached_property
    def is_dense(self) -> bool:
        """Whether the model's own maps are those from all tokens to all, in their order."""
        return self.n_windows == 1 and all(
            np.array_equal(tokens[0], np.arange(layout.n_tokens))
            for tokens, layout in (
                (self.query_tokens, self.queries),
                (self.key_tokens, self.keys),
            )
        )

    @cached_property
    def reach(self) -> Bool[np.ndarray, "query key"]:
        """Whether a query and a key share a window."""
        reach = np.zeros((self.queries.n_tokens + 1, self.keys.n_tokens), dtype=bool)
        for queries, keys in zip(self.query_tokens, self.key_tokens, strict=True):
            reach[np.ix_(queries, keys)] = True
        return reach[:-1]  # the last row is that of padding

    @property
    def same_grid(self) -> bool:
        """Whether queries and keys are the same patches."""
        q, k = self.queries, self.keys
        return (q.grid, q.scattered) == (k.grid, k.scattered)

    @cached_property
    def distances(self) -> Float[np.ndarray, "query_patch key_patch"]:
        """Euclidean distance between the centres of patches, in input pixels."""
        return _distances(self.queries, self.keys)

    @cached_property
    def hops(self) -> Int[np.ndarray, "query_patch key_patch"]:
        """Chebyshev distance on the coarser of the two grids: 0 where one patch holds the other."""
        return _hops(self.queries, self.keys)

    @cached_property
    def n_hops(self) -> int:
        """Number of different hops, hop 0 included."""
        return len(self.pairs_by_hop)

    @cached_property
    def pairs_by_hop(self) -> Int[np.ndarray, " hop"]:
        """How many pairs of a query and a key patch are so many hops apart, windows aside."""
        if not self.queries.n_patches or not self.keys.n_patches:
            return np.zeros(1, int)
        # Cell by cell of the coarse grid: there are few, however many patches there are.
        counts = [np.unique(cells, axis=0, return_counts=True) for cells in self.coarse_cells]
        (query, n_query), (key, n_key) = counts
        hops = np.abs(query[:, None] - key[None]).max(-1)
        weights = n_query[:, None] * n_key[None]
        return np.bincount(hops.reshape(-1), weights.reshape(-1)).astype(int)

    @property
    def coarse_reach(self) -> tuple[int, int]:
        """Rows and columns but 1 of the coarser of the two grids; (0, 0) where patches are on no
        grid."""
        if self.queries.scattered is not None or self.keys.scattered is not None:
            return 0, 0
        rows, columns = np.maximum(np.minimum(self.queries.grid, self.keys.grid) - 1, 0).tolist()
        return rows, columns

    @cached_property
    def offset_reach(self) -> tuple[int, int]:
        """How many rows and columns of the coarser grid a query patch is at most away from a key
        patch of its window that no mask forbids; (0, 0) where there is none, or patches are on no
        grid."""
        if self.n_windows == 1 or self.coarse_reach == (0, 0):
            return self.coarse_reach
        if self.masked is not None:
            return self._reach_of_unmasked
        # Window by window the farthest pair is one of the extremes: no need of all pairs.
        ends = []
        for layout, tokens, cells in zip(
            (self.queries, self.keys),
            (self.query_tokens, self.key_tokens),
            self.coarse_cells,
            strict=True,
        ):
            patch = np.append(np.where(layout.is_patch, np.cumsum(layout.is_patch) - 1, -1), -1)
            of_window = patch[tokens]
            at = cells[np.maximum(of_window, 0)].astype(float)
            at[of_window < 0] = np.nan
            there = (of_window >= 0).any(1)
            at[~there] = 0  # no pair: left out below
            ends.append((np.nanmin(at, 1), np.nanmax(at, 1), there))
        (query_low, query_high, queries), (key_low, key_high, keys) = ends
        both = (queries & keys)[:, None]
        far = np.where(both, np.maximum(query_high - key_low, key_high - query_low), 0).max(0)
        return int(far[0]), int(far[1])

    @property
    def _reach_of_unmasked(self) -> tuple[int, int]:
        places = []
        for layout, tokens, cells in zip(
            (self.queries, self.keys),
            (self.query_tokens, self.key_tokens),
            self.coarse_cells,
            strict=True,
        ):
            # The last is that of no patch; in order, patches are the rows of their cells.
            of_token = np.full((layout.n_tokens + 1, 2), np.nan)
            of_token[:-1][layout.is_patch] = cells
            places.append(of_token[tokens])
        far = np.abs(places[1][:, None] - places[0][:, :, None])
        far[self.masked] = 0
        rows, columns = np.nan_to_num(far).max((0, 1, 2))
        return int(rows), int(columns)

    @cached_property
    def coarse_cells(
        self,
    ) -> tuple[Int[np.ndarray, "query_patch 2"], Int[np.ndarray, "key_patch 2"]]:
        """Row and column of query and key patches on the coarser of the two grids."""
        return _coarse_cells(self.queries, self.keys)


def _distances(a: TokenLayout, b: TokenLayout) -> Float[np.ndarray, "patch patch"]:
    offset = a.centres[:, None] - b.centres[None]
    return np.sqrt((offset**2).sum(-1))


def _hops(a: TokenLayout, b: TokenLayout) -> Int[np.ndarray, "patch patch"]:
    of_a, of_b = _coarse_cells(a, b)
    return np.abs(of_a[:, None] - of_b[None]).max(-1)


def _coarse_cells(a: TokenLayout, b: TokenLayout) -> tuple[np.ndarray, np.ndarray]:
    coarse = np.minimum(a.grid, b.grid)
    unit = np.maximum(a.patch_px, b.patch_px)

    def cells(layout: TokenLayout) -> np.ndarray:
        if layout.scattered is None and np.array_equal(layout.grid, coarse):
            return layout.cells
        return np.minimum((layout.centres / unit).astype(int), np.maximum(coarse - 1, 0))

    return cells(a), cells(b)
