"""What the axes of an attention mean, and where its queries and keys are, read off their places."""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .layout import PADDING, PATCH, AttentionLayout, TokenLayout
from .places import FAINT, PAYLOADS, Places

SHARED_KEYS = "windows with a halo"
SHIFTED = "shifted windows"
"""The kind of windows that share keys with others."""

PRECISION_PX = 1e-4
"""Places that differ by less are one: they are computed in float64."""


@dataclass(frozen=True)
class Axes:
    """Which leading axes of a model's attention are windows, and which are heads.

    The first axis is the image's, times the windows and heads that the model folded into it.
    """

    merged: tuple[int, ...]
    """What the first axis holds beside the images, outermost first."""
    sizes: tuple[int, ...]
    """Of the leading axes: `merged`, then the others."""
    windows: tuple[int, ...]
    heads: tuple[int, ...]

    @property
    def n_windows(self) -> int:
        return prod(self.sizes[axis] for axis in self.windows)

    @property
    def n_heads(self) -> int:
        return prod(self.sizes[axis] for axis in self.heads)

    @property
    def _order(self) -> tuple[int, ...]:
        lead = (0, *(axis + 1 for axis in (*self.windows, *self.heads)))
        return (*lead, len(lead), len(lead) + 1)

    def fold(self, tensor: Float[Tensor, "*lead row column"]) -> Float[Tensor, "i w h r c"]:
        """The model's axes as `image window head row column`."""
        tensor = tensor.unflatten(0, (-1, *self.merged))
        # Heads that share a key or a value are written out.
        tensor = tensor.expand(len(tensor), *self.sizes, *tensor.shape[-2:])
        tensor = tensor.permute(self._order)
        return tensor.reshape(len(tensor), self.n_windows, self.n_heads, *tensor.shape[-2:])

    def unfold(self, tensor: Float[Tensor, "i w h r c"]) -> Float[Tensor, "*lead row column"]:
        """The model's axes again."""
        sizes = [self.sizes[axis] for axis in (*self.windows, *self.heads)]
        tensor = tensor.reshape(len(tensor), *sizes, *tensor.shape[-2:])
        back = tuple(int(axis) for axis in np.argsort(self._order))
        return tensor.permute(back).flatten(0, len(self.merged))


@dataclass(frozen=True)
class Geometry:
    """One attention of a model: its axes, and the layout of its tokens."""

    axes: Axes
    layout: AttentionLayout
    kind: str
    """In words: `"global"`, `"windows"`, `"class attention"`, …"""


@dataclass(frozen=True)
class Rows:
    """Which rows of a module's output are which tokens."""

    image_axis: int
    merged: int
    """Windows that the output has folded into that axis."""
    channel_axis: int
    """Once images come first and windows are an axis of their own."""
    layout: TokenLayout
    order: Int[np.ndarray, " token"]
    """Of each token, its place among the rows of the output."""

    def take(self, output: Float[Tensor, "image ..."]) -> Float[Tensor, "image token channel"]:
        """A module's output by token."""
        output = output.movedim(self.image_axis, 0).unflatten(0, (-1, self.merged))
        rows = output.movedim(self.channel_axis, -1).flatten(1, -2)
        if np.array_equal(self.order, np.arange(rows.shape[1])):
            return rows
        return rows[:, torch.from_numpy(self.order).to(rows.device)]

    def put(
        self,
        output: Float[Tensor, "image ..."],
        tokens: Int[np.ndarray, " some"],
        values: Float[Tensor, "image some channel"],
    ) -> Float[Tensor, "image ..."]:
        """A module's output with other values at some tokens: the inverse of `take`."""
        split = output.movedim(self.image_axis, 0).unflatten(0, (-1, self.merged))
        last = split.movedim(self.channel_axis, -1)
        index = torch.from_numpy(self.order[tokens]).to(output.device)
        rows = last.flatten(1, -2).index_copy(1, index, values)
        split = rows.unflatten(1, last.shape[1:-1]).movedim(-1, self.channel_axis)
        # As modules give it: of one image whose channels lie last in memory, PyTorch's batch norm
        # has a wrong derivative on CPUs (seen in 2.15).
        return split.flatten(0, 1).movedim(0, self.image_axis).contiguous()


class UnplacedError(Exception):
    """Why an attention is no map over the image, in a sentence."""


@dataclass(frozen=True)
class _Side:
    """Queries or keys: where they are, by `window token`."""

    place: Float[np.ndarray, "window token 2"]
    there: Bool[np.ndarray, "window token"]
    """Whether it is in the image."""
    prefix: Bool[np.ndarray, "window token"]


def place_attention(
    query: Float[Tensor, "*lead query"],
    key: Float[Tensor, "*lead key"],
    image_size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
    *,
    learned_queries: bool = False,
    image: int = 0,
    n_images: int = 1,
) -> Geometry:
    """Read axes and layout off the places of queries and keys.

    Args:
        query: places of the queries, as the model's attention has them (`places.PAYLOADS`).
        key: places of the keys.
        image_size: height and width of the input, in pixels.
        prefix_kinds: kinds of the model's prefix tokens, in their order.
        learned_queries: the queries are parameters that stand for no token (attention pooling).
        image: which of `n_images` (they differ only where routing depends on the image).

    Raises:
        UnplacedError: it is no attention between tokens.
    """
    n = PAYLOADS * n_images
    if len(query) % n or len(key) % n:
        raise UnplacedError("its first axis is not that of the images")
    lead = torch.broadcast_shapes(query.shape[1:-1], key.shape[1:-1])
    folded = max(len(query), len(key)) // n

    def of_image(side: Tensor) -> np.ndarray:
        side = side.unflatten(0, (PAYLOADS, n_images, -1))[:, image]
        return side.expand(PAYLOADS, folded, *lead, side.shape[-1]).cpu().numpy()

    q, k = of_image(query), of_image(key)
    merged = _factors(q, k)
    sizes = (*merged, *lead)
    q, k = (side.reshape(PAYLOADS, *sizes, side.shape[-1]) for side in (q, k))
    windows, heads = [], []
    for axis, size in enumerate(sizes):
        moves = any(not _constant(side, axis + 1) for side in (q, k))
        (windows if moves or size == 1 else heads).append(axis)
    axes = Axes(merged, sizes, tuple(windows), tuple(heads))
    queries, keys = _side(q, axes), _side(k, axes)
    _check_tokens(queries, keys)

    if axes.n_windows > 1 and _shared(queries) and queries.there.shape == keys.there.shape:
        queries = keys  # global queries (GC-ViT): a row goes where its window's token is
    # Weights that were formed step by step do not tell; but who attends is no token that is seen.
    learned_queries |= bool(queries.prefix.all() and not keys.prefix.any())
    learned = ("query",) * queries.there.shape[1]
    prefix_of_queries = learned if learned_queries else prefix_kinds
    query_layout, query_tokens, grid = _lay_out(queries, image_size, prefix_of_queries)
    key_layout, key_tokens, _ = _lay_out(keys, image_size, prefix_kinds, grid)
    if axes.n_windows > 1:
        seen = query_tokens[query_tokens >= 0]
        if len(np.unique(seen)) != len(seen):
            raise UnplacedError("a query belongs to several windows")
    if (key_tokens < 0).any():
        key_tokens = np.where(key_tokens < 0, key_layout.n_tokens, key_tokens)
        key_layout = TokenLayout(
            (*key_layout.kinds, PADDING), key_layout.grid, key_layout.patch_px, key_layout.scattered
        )
    layout = AttentionLayout(query_layout, key_layout, query_tokens, key_tokens)
    return Geometry(axes, layout, _kind(layout, learned_queries=learned_queries))


def place_rows(
    output: Places,
    image_size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
) -> Rows:
    """Which rows of a module's output, of one image, are which tokens.

    Raises:
        UnplacedError: they are no tokens of the image.
    """
    along = output.along
    if output.dim() < 3 or along is None or along.outer > 1:
        raise UnplacedError(f"an output of {tuple(output.shape)} has no rows")
    image_axis = output.dim() + along.axis
    by_payload = output.main.movedim(image_axis, 0)
    merged = len(by_payload) // PAYLOADS
    places = by_payload.unflatten(0, (PAYLOADS, merged)).cpu().numpy()
    still = [axis for axis in range(2, places.ndim) if _constant(places, axis)]
    if not still:
        raise UnplacedError("no axis of the output is that of the channels")
    axis = max(still, key=lambda axis: places.shape[axis])
    rows = np.moveaxis(places, axis, -1)[..., 0].reshape(PAYLOADS, 1, -1)
    side = _side(rows[:, :, None], Axes((1,), (1, 1), (0,), (1,)))
    layout, tokens, _ = _lay_out(side, image_size, prefix_kinds)
    return Rows(image_axis, merged, axis, layout, np.argsort(tokens[0]))


def _factors(*sides: np.ndarray) -> tuple[int, ...]:
    """Windows and heads that share the first axis after the payloads, outermost first.

    Heads stand in the places of their window: (windows, heads) where places come in runs,
    (heads, windows) where they come again.
    """
    n = sides[0].shape[1]
    for n_heads in (n_heads for n_heads in range(n, 1, -1) if n % n_heads == 0):
        for factors, axis in (((n // n_heads, n_heads), 2), ((n_heads, n // n_heads), 1)):
            apart = (side.reshape(PAYLOADS, *factors, *side.shape[2:]) for side in sides)
            if all(_constant(side, axis) for side in apart):
                return factors
    return (n,)


def _constant(side: np.ndarray, axis: int) -> bool:
    first = np.take(side, [0], axis=axis)
    return bool(np.abs(side - first).max() < PRECISION_PX)


def _side(side: np.ndarray, axes: Axes) -> _Side:
    order = (0, *(axis + 1 for axis in (*axes.windows, *axes.heads)), side.ndim - 1)
    side = side.transpose(order).reshape(PAYLOADS, axes.n_windows, axes.n_heads, -1)[:, :, 0]
    there = np.abs(side[0]) > FAINT
    presence = np.where(there, side[0], 1)
    place = np.stack([side[1] / presence, side[2] / presence], axis=-1)
    return _Side(place, there, ~there & (np.abs(side[3]) > FAINT))


def _shared(side: _Side) -> bool:
    """Whether all windows have the same tokens."""
    return bool(side.there.all() and np.ptp(side.place, axis=0).max() < PRECISION_PX)


def _check_tokens(queries: _Side, keys: _Side) -> None:
    """Raise unless rows and columns of the map are different tokens."""
    one_place = [
        side.there.shape[1] > 1
        and bool(side.there.all())
        and np.ptp(side.place, axis=1).max() < PRECISION_PX
        for side in (queries, keys)
    ]
    if all(one_place):
        if len(queries.place) > 1 and not _shared(queries):
            raise UnplacedError(
                "outlook attention: weights are made from the query alone, not by comparing tokens"
            )
        raise UnplacedError("channel attention: its rows and columns are channels, not tokens")
    if one_place[0]:
        raise UnplacedError("factorised attention: its rows are channels, not tokens")
    if one_place[1]:
        raise UnplacedError("its keys are channels, not tokens")


@dataclass(frozen=True)
class _Grid:
    """Patches by rank of row and column; or, on no grid, one after the other."""

    rows: Float[np.ndarray, " row"]
    columns: Float[np.ndarray, " column"]

    @classmethod
    def of(cls, side: _Side) -> "_Grid":
        places = side.place[side.there]
        return cls(_different(places[:, 0]), _different(places[:, 1]))

    @property
    def size(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    def cells(self, side: _Side) -> np.ndarray | None:
        """The cell of each token that is in the image; None where one is in no cell."""
        places = side.place[side.there]
        found = []
        for lines, values in zip((self.rows, self.columns), places.T, strict=True):
            if not len(lines):
                return None
            nearest = np.abs(lines[None] - values[:, None]).argmin(axis=1)
            if np.abs(lines[nearest] - values).max(initial=0) > PRECISION_PX:
                return None
            found.append(nearest)
        return found[0] * len(self.columns) + found[1]


def _different(values: np.ndarray) -> np.ndarray:
    ordered = np.unique(values)
    return ordered[np.r_[True, np.diff(ordered) > PRECISION_PX]] if len(ordered) else ordered


def _lay_out(
    side: _Side,
    image_size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
    other: _Grid | None = None,
) -> tuple[TokenLayout, np.ndarray, _Grid]:
    """The tokens of a side, and which of them stands at each place of each window.

    What lies on `other`, the grid of the other side, is taken to be of that grid: routing may
    leave out patches.
    """
    n_prefix = int(side.prefix.sum(axis=1).max(initial=0))
    if n_prefix == len(prefix_kinds):
        kinds = prefix_kinds
    else:
        kinds = ("class",) if n_prefix == 1 else ("prefix",) * n_prefix
    grid = other if other is not None and other.cells(side) is not None else _Grid.of(side)
    cells, size, scattered = grid.cells(side), grid.size, None
    patch_px = (1.0, 1.0)
    if cells is None:
        cells, size = np.zeros(0, int), (0, 0)
    elif grid is not other and len(np.unique(cells)) < prod(size):
        found, cells = np.unique(cells, return_inverse=True)
        of_row, of_column = divmod(found, size[1])
        centres = np.stack([grid.rows[of_row], grid.columns[of_column]], axis=1)
        scattered = tuple((float(row), float(column)) for row, column in centres)
        patch_px = ((image_size[0] * image_size[1] / len(found)) ** 0.5,) * 2
        size = (len(found), 1)
        grid = _Grid(grid.rows[:0], grid.columns[:0])  # what lies there too, lies on no grid either
    else:
        patch_px = (image_size[0] / size[0], image_size[1] / size[1])
    tokens = np.full(side.there.shape, -1)
    tokens[side.there] = n_prefix + cells.reshape(-1)
    for window, is_prefix in enumerate(side.prefix):
        tokens[window, is_prefix] = np.arange(is_prefix.sum())
        known = tokens[window][tokens[window] >= 0]
        if len(np.unique(known)) != len(known):
            raise UnplacedError("several of its tokens lie in one place")
    names = (*kinds, *[PATCH] * prod(size))
    if tokens.shape == (1, len(names)) and (np.diff(tokens[0][side.there[0]]) > 0).all():
        # One window, patches row by row: the model's own order, wherever its prefix tokens stand.
        names = tuple(np.array(names, dtype=object)[tokens[0]].tolist())
        tokens = np.arange(len(names))[None]
    return TokenLayout(names, size, patch_px, scattered), tokens, grid


def _kind(layout: AttentionLayout, *, learned_queries: bool) -> str:
    """The attention in words, from its layout alone."""
    if learned_queries:
        return "pooling"
    if not layout.queries.n_patches:
        return "class attention" if layout.keys.n_patches else "between prefix tokens"
    kind = "global"
    if layout.n_windows > 1:
        kind = _window_kind(layout)
    if layout.same_grid:
        return kind
    finer_queries = layout.queries.n_patches > layout.keys.n_patches
    pooled = "pooled keys" if finer_queries else "pooled queries"
    return pooled if kind == "global" else f"{kind}, {pooled}"


def _window_kind(layout: AttentionLayout) -> str:
    keys = layout.keys
    n_real = keys.n_tokens - (PADDING in keys.kinds)
    real = [window[(window < n_real) & (window >= 0)] for window in layout.key_tokens]
    if np.bincount(np.concatenate(real)).max() > 1:
        return SHARED_KEYS
    first_patch = keys.kinds.index(PATCH)
    lines = [divmod(window[window >= first_patch] - first_patch, keys.grid[1]) for window in real]
    if layout.same_grid and keys.scattered is None:
        for across, name in ((1, "horizontal stripes"), (0, "vertical stripes")):
            whole = all(len(np.unique(cells[across])) == keys.grid[across] for cells in lines)
            if whole and keys.grid[1 - across] > 1:
                return name
    gaps = [
        np.diff(np.unique(line))
        for window in real
        for line in divmod(window[window >= first_patch] - first_patch, keys.grid[1])
    ]
    gaps = [gap for gap in gaps if len(gap)]
    if gaps and all(gap.min() > 1 for gap in gaps):
        return "dilated windows"
    return SHIFTED if any(gap.max() > 1 for gap in gaps) else "windows"
