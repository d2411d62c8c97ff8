"""Models that are one column of attention from all tokens to all tokens, and what goes up it.

Relevance of tokens is carried from the row that the output reads down to the input: at each layer
a token keeps what it has (the residual) and gives to others what it took from them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.layers import Layer
from ...models.layout import PATCH, TokenLayout
from .dependence import dependence

POOLED = "pooled"
"""The kind of the token that stands for the query of a pooling at the end."""


@dataclass(frozen=True, eq=False)
class TokenColumn:
    """The tokens of a column and the layers that they pass."""

    tokens: TokenLayout
    """All that there are in any layer, in the order that maps have here."""
    steps: tuple[tuple[int, ...], ...]
    """Layers, first to last; those that stand side by side in one block are one step."""
    queries: tuple[Int[np.ndarray, " query"], ...]
    """By layer, which tokens its queries are; the others only pass."""
    keys: tuple[Int[np.ndarray, " key"], ...]
    readers: Float[np.ndarray, " token"]
    """The part that each token has in what the output reads; they sum to 1."""

    @property
    def n_patches(self) -> int:
        return self.tokens.n_patches

    @property
    def words(self) -> str:
        """Whose row is read."""
        kinds = [
            kind
            for kind in self.tokens.present_kinds
            if self.readers[self.tokens.tokens(kind)].any()
        ]
        if kinds == ["class"]:
            return "row of the class token"
        return f"mean row of {' and '.join(kinds)} tokens"

    def row_read(self, like: Tensor, n_images: int) -> Float[Tensor, "image token"]:
        """The row from which relevance starts: the class token's, say."""
        return torch.from_numpy(self.readers).to(like).expand(n_images, -1)


def why_no_column(checkpoint: Checkpoint) -> str:
    """Why a model is no column of attention between all tokens, in a sentence; empty where it is.

    Convolutions before the column (a stem) do no harm: its tokens are then what the stem gives.
    """
    found = _column(checkpoint)
    return found if isinstance(found, str) else ""


def column_of(checkpoint: Checkpoint) -> TokenColumn:
    """The column that a model is.

    Raises:
        HeadscopeError: it is none.
    """
    found = _column(checkpoint)
    if isinstance(found, str):
        raise HeadscopeError(f"{checkpoint.name} is no column of attention: {found}")
    return found


def carry_down(
    column: TokenColumn,
    maps: Mapping[int, Float[Tensor, "image query key"]],
    *,
    row_sums: bool,
    first: int = 0,
) -> Float[Tensor, "image token"]:
    """The read row of Â_L … Â_first, the product over the layers' maps with the residual added.

    Args:
        column: of the checkpoint.
        maps: of each layer, its heads made one; on the layer's own queries and keys.
        row_sums: Â is I + A with rows divided by their sums (rollout), else I + A (relevance).
            Layers side by side count by their mean in the one, by their sum in the other.
        first: layers before it are left out.
    """
    some = next(iter(maps.values()))
    row = column.row_read(some, len(some))
    for step in reversed(column.steps):
        layers = [layer for layer in step if layer >= first]
        if layers:
            row = _one_step(column, row, maps, layers, row_sums=row_sums)
    return row


def _one_step(
    column: TokenColumn,
    row: Float[Tensor, "image token"],
    maps: Mapping[int, Float[Tensor, "image query key"]],
    layers: Sequence[int],
    *,
    row_sums: bool,
) -> Float[Tensor, "image token"]:
    added, stays, sums = torch.zeros_like(row), torch.ones_like(row), torch.zeros_like(row)
    share = 1 / len(layers) if row_sums else 1.0
    for layer in layers:
        queries = torch.from_numpy(column.queries[layer]).to(row.device)
        if column.tokens.kinds[int(queries[0])] == POOLED:
            stays[:, queries] = 0  # a learned query has no residual
        if row_sums:
            sums = sums.index_add(1, queries, share * maps[layer].sum(-1))
    if row_sums:
        row = row / (stays + sums).clamp_min(torch.finfo(row.dtype).tiny)
    for layer in layers:
        queries, keys = (
            torch.from_numpy(side[layer]).to(row.device) for side in (column.queries, column.keys)
        )
        given = torch.einsum("iq,iqk->ik", row[:, queries], maps[layer])
        added = added.index_add(1, keys, share * given)
    return row * stays + added


def share_among_heads(
    column: TokenColumn, maps: Mapping[int, Float[Tensor, "image head query key"]]
) -> dict[int, Float[Tensor, "image head token"]]:
    """What each head has in the read row of Π (I + Σ_h A_h) − I.

    The product is a sum over paths from an input token up to the row, each through a head of some
    of the layers; each path is shared equally by the heads that it passes. (That is their
    Aumann-Shapley value: with t A in the place of A a path of k heads goes as tᵏ, and
    ∫₀¹ k tᵏ⁻¹ / k dt gives each its kth part. The integrand is a polynomial, so the quadrature is
    exact.) The parts sum to the whole.
    """
    some = next(iter(maps.values()))
    nodes, weights = np.polynomial.legendre.leggauss((len(column.steps) + 1) // 2)
    sums = {layer: weights.sum(1) for layer, weights in maps.items()}
    parts: dict[int, Tensor] = {}
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        row = column.row_read(some, len(some))
        below: dict[int, Tensor] = {}  # what heads above have given, on its way to the input
        for step in reversed(column.steps):
            new: dict[int, Tensor] = {}
            for layer in step:
                queries = torch.from_numpy(column.queries[layer]).to(row.device)
                # No einsum: it would copy the maps to put their axes in order.
                given = (row[:, None, None, queries] @ maps[layer])[:, :, 0]
                new[layer] = _spread(given, column.keys[layer], row.shape[-1])
            rows = torch.cat([row[:, None], *below.values()], dim=1)
            rows = rows + node * _given(column, rows, {layer: sums[layer] for layer in step})
            row, rest = rows[:, 0], rows[:, 1:]
            sizes = [part.shape[1] for part in below.values()]
            below = dict(zip(below, rest.split(sizes, dim=1), strict=True)) if sizes else {}
            below |= new
        for layer, part in below.items():
            parts[layer] = parts.get(layer, 0) + float(weight) * part
    return parts


def _given(
    column: TokenColumn,
    rows: Float[Tensor, "image row token"],
    maps: Mapping[int, Float[Tensor, "image query key"]],
) -> Float[Tensor, "image row token"]:
    total = torch.zeros_like(rows)
    for layer, weights in maps.items():
        queries = torch.from_numpy(column.queries[layer]).to(rows.device)
        total = total + _spread(rows[..., queries] @ weights, column.keys[layer], rows.shape[-1])
    return total


def _spread(
    given: Float[Tensor, "image row key"], keys: Int[np.ndarray, " key"], n_tokens: int
) -> Float[Tensor, "image row token"]:
    spread = given.new_zeros(*given.shape[:-1], n_tokens)
    spread[..., torch.from_numpy(keys).to(given.device)] = given
    return spread


def _column(checkpoint: Checkpoint) -> TokenColumn | str:
    for obstacle in (_unread, _windows, _grids, _convolutions):
        reason = obstacle(checkpoint)
        if reason:
            return reason
    layers = checkpoint.layers
    pooling = [layer.index for layer in layers if layer.kind == "pooling"]
    if pooling not in ([], [len(layers) - 1]):
        return "it pools before its last layer."
    sides = [
        side
        for layer in layers
        for side in ([layer.layout.keys] if pooling == [layer.index] else _sides(layer))
    ]
    tokens = max(sides, key=lambda side: side.n_tokens)
    if pooling:
        n_queries = layers[-1].layout.queries.n_tokens
        tokens = TokenLayout((*tokens.kinds, *[POOLED] * n_queries), tokens.grid, tokens.patch_px)
    try:
        queries = tuple(
            tokens.tokens(POOLED)
            if pooling == [layer.index]
            else _which(layer.layout.queries, tokens)
            for layer in layers
        )
        keys = tuple(_which(layer.layout.keys, tokens) for layer in layers)
    except LookupError:
        return "its layers do not have the same tokens."
    read = _kinds_read(checkpoint, tokens)
    readers = np.array([kind in read for kind in tokens.kinds], dtype=float)
    return TokenColumn(tokens, _steps(checkpoint), queries, keys, readers / readers.sum())


def _unread(checkpoint: Checkpoint) -> str:
    refused = checkpoint.report.refused
    if not refused:
        return ""
    return (
        f"the attention of {refused[0].module} cannot be read ({refused[0].reason}), and a product "
        "over the other layers would leave it out."
    )


def _windows(checkpoint: Checkpoint) -> str:
    for layer in checkpoint.layers:
        if layer.layout.n_windows > 1 or layer.routed or not layer.layout.is_dense:
            return (
                f"in layer {layer.index} ({layer.module}) attention is not from all tokens to all: "
                f"{layer.kind}."
                if layer.layout.n_windows > 1 or layer.routed
                else f"in layer {layer.index} ({layer.module}) tokens are filled up or reordered."
            )
    return ""


def _grids(checkpoint: Checkpoint) -> str:
    sides = [side for layer in checkpoint.layers for side in _sides(layer) if side.n_patches]
    if not sides:
        return "its attention has no patches."
    grids = list(dict.fromkeys(side.grid for side in sides))
    if len(grids) == 1 and all(side.scattered is None for side in sides):
        return ""
    named = ", ".join(f"{rows}×{columns}" for rows, columns in grids)
    return f"its layers are on different grids ({named}), so that their maps have no product."


def _convolutions(checkpoint: Checkpoint) -> str:
    for layer in checkpoint.layers:
        block = checkpoint.model.get_submodule(layer.block)
        for name, module in block.named_modules(prefix=layer.block):
            if (
                isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                and max(module.kernel_size) > 1
            ):
                return f"a convolution ({name}) mixes patches beside its attention."
    return ""


def _sides(layer: Layer) -> list[TokenLayout]:
    return [layer.layout.queries, layer.layout.keys]


def _which(side: TokenLayout, tokens: TokenLayout) -> Int[np.ndarray, " token"]:
    """Of each token of a layer's side, its index among all: the nth of its kind is the nth."""
    of_kind = {kind: iter(tokens.tokens(kind)) for kind in tokens.present_kinds}
    try:
        return np.array([next(of_kind[kind]) for kind in side.kinds], dtype=int)
    except StopIteration:
        raise LookupError from None


def _kinds_read(checkpoint: Checkpoint, tokens: TokenLayout) -> frozenset[str]:
    """Kinds of the tokens on which the output depends when the last block is done."""
    if POOLED in tokens.kinds:
        return frozenset([POOLED])
    last = dependence(checkpoint).made[-1]
    read = frozenset() if last is None else last.kinds & frozenset(tokens.kinds)
    return read or frozenset(["class" if "class" in tokens.kinds else PATCH])


def _steps(checkpoint: Checkpoint) -> tuple[tuple[int, ...], ...]:
    """Layers of one block of the family's column stand side by side in it."""
    name_of: Callable[[nn.Module], str] = {
        module: name for name, module in checkpoint.model.named_modules()
    }.__getitem__
    names = [name_of(block) for block in checkpoint.family.blocks(checkpoint.model) or ()]
    steps: dict[str, list[int]] = {}
    for layer in checkpoint.layers:
        within = [name for name in names if layer.module.startswith(f"{name}.")]
        steps.setdefault(within[0] if within else str(layer.index), []).append(layer.index)
    return tuple(map(tuple, steps.values()))


def check_first(checkpoint: Checkpoint, start: int) -> None:
    """Raise a HeadscopeError unless there is such a layer to start a product from."""
    checkpoint.check_head(start, 0)
