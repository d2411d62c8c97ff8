"""Attention maps small enough to be looked at: all heads of one image, in bytes."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..models.capture import LayerAttention, watch
from ..models.checkpoint import Checkpoint
from ..models.layout import AttentionLayout

LEVELS = 255


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """Attention of one layer for one image, window by window.

    Each query's row is in 1/255 of its largest weight: a weight is `weights / 255 * row_max`, right
    to 1/510 of the row's largest.
    """

    layout: AttentionLayout
    """Which tokens the queries and keys of the windows are, in this image."""
    heads: tuple[int, ...]
    """Those whose maps are here, in the order of `weights`."""
    weights: UInt8[np.ndarray, "head window query key"]
    row_max: Float[np.ndarray, "head window query"]
    mean: Float[np.ndarray, "head key"]
    """Mean over all queries, of every head of the layer, by key token."""
    rows: dict[int, Float[np.ndarray, "head key"]] = field(default_factory=dict)
    """Of the query tokens that were asked for: attention in every head, by key token."""

    @property
    def n_bytes(self) -> int:
        rows = sum(rows.nbytes for rows in self.rows.values())
        return self.weights.nbytes + self.row_max.nbytes + self.mean.nbytes + rows

    def row(self, token: int) -> Float[np.ndarray, "head key"]:
        """Attention of one query token in all heads, by key token."""
        if token not in self.rows:
            window, query = np.nonzero(self.layout.query_tokens == token)
            scale = self.row_max[:, window, query, None] / LEVELS
            return _by_key(self.weights[:, window, query] * scale, self.layout, window)
        return self.rows[token]

    def dense(self, head: int) -> Float[np.ndarray, "query key"]:
        """The map of one head between all tokens."""
        at = self.heads.index(head)
        n_queries, n_keys = self.layout.queries.n_tokens, self.layout.keys.n_tokens
        weights = self.weights[at] * (self.row_max[at, ..., None] / LEVELS)
        # One row more, for padding.
        queries = self.layout.query_tokens % (n_queries + 1)
        places = queries[:, :, None] * n_keys + self.layout.key_tokens[:, None]
        flat = np.bincount(places.ravel(), weights.ravel(), minlength=(n_queries + 1) * n_keys)
        return flat.reshape(-1, n_keys)[:n_queries].astype(np.float32)


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Attention of one image, layer by layer; layers may differ in heads and tokens."""

    layers: tuple[LayerMaps, ...]

    @property
    def n_bytes(self) -> int:
        return sum(layer.n_bytes for layer in self.layers)

    @property
    def is_whole(self) -> bool:
        """Whether the maps of all heads are here."""
        return all(len(layer.heads) == len(layer.mean) for layer in self.layers)


def attention_maps(
    checkpoint: Checkpoint,
    crop: UInt8[np.ndarray, "row column 3"],
    heads: Iterable[tuple[int, int]] | None = None,
    queries: Sequence[int | None] = (),
) -> AttentionMaps:
    """The attention maps of one image, as `checkpoint.crop` gives it.

    Where heads are mixed after the softmax (talking heads), these are the maps before mixing.

    Args:
        checkpoint: from `load`.
        crop: the pixels that the model sees.
        heads: `(layer, head)` of those wanted; None: all.
        queries: for each layer a query token whose row is wanted in every head, or None.

    Raises:
        HeadscopeError: a head that the checkpoint does not have.
    """
    chosen = [range(n) for n in checkpoint.n_heads] if heads is None else None
    wanted: list[list[int]] = [list(each) for each in chosen or [()] * checkpoint.n_layers]
    for layer, head in heads or ():
        checkpoint.check_head(layer, head)
        wanted[layer].append(head)
    found: dict[int, LayerMaps] = {}

    def keep(seen: LayerAttention) -> None:
        layout, weights = seen.layout, seen.window_weights[0].transpose(0, 1)
        query = queries[seen.layer] if seen.layer < len(queries) else None
        rows = {}
        if query is not None:
            rows[query] = attention_rows(seen, query)
        found[seen.layer] = LayerMaps(
            layout,
            tuple(wanted[seen.layer]),
            *_in_bytes(weights[wanted[seen.layer]]),
            _mean(weights, layout),
            rows,
        )

    watch(checkpoint, checkpoint.prepare(crop[None]), keep)
    return AttentionMaps(tuple(found[layer] for layer in range(checkpoint.n_layers)))


class _Seen(Exception):  # noqa: N818 (the layer that was wanted has passed)
    pass


def head_maps(
    checkpoint: Checkpoint,
    crops: UInt8[np.ndarray, "image row column 3"],
    layer: int,
    head: int,
) -> tuple[LayerMaps, ...]:
    """The maps of one head for several images, in one pass that ends at its layer.

    Raises:
        HeadscopeError: the checkpoint does not have the head.
    """
    checkpoint.check_head(layer, head)
    found: list[LayerMaps] = []

    def keep(seen: LayerAttention) -> None:
        if seen.layer != layer:
            return
        for alike in seen.images:
            for weights in alike.window_weights:
                of_head = weights[:, head][None]
                in_bytes, mean = _in_bytes(of_head), _mean(of_head, alike.layout)
                found.append(LayerMaps(alike.layout, (head,), *in_bytes, mean))
        raise _Seen

    with suppress(_Seen):
        watch(checkpoint, checkpoint.prepare(crops), keep)
    return tuple(found)


def attention_rows(seen: LayerAttention, query: int | None = None) -> Float[np.ndarray, "head key"]:
    """Attention of one query token of the first image in every head, by key token; None: the mean
    over all queries."""
    layout, weights = seen.layout, seen.window_weights[0].transpose(0, 1)
    if query is None:
        return _mean(weights, layout)
    window, at = np.nonzero(layout.query_tokens == query)
    return _by_key(_numbers(weights[:, window, at]), layout, window)


def map_bytes(checkpoint: Checkpoint) -> int:
    """About how large the maps of all heads of one image are."""
    return sum(
        layer.n_heads * layer.layout.query_tokens.size * layer.layout.key_tokens.shape[1]
        for layer in checkpoint.layers
    )


def _mean(
    weights: Float[Tensor, "head window query key"], layout: AttentionLayout
) -> Float[np.ndarray, "head key"]:
    there = layout.query_tokens >= 0
    mask = torch.from_numpy(there).to(weights.device, weights.dtype)
    by_window = _numbers(torch.einsum("hwqk,wq->hwk", weights, mask))
    return _by_key(by_window, layout, np.arange(len(there))) / there.sum()


def _by_key(
    weights: Float[np.ndarray, "head row key"],
    layout: AttentionLayout,
    windows: Int[np.ndarray, " row"],
) -> Float[np.ndarray, "head key"]:
    """Rows of windows by key token, added up."""
    rows = np.zeros((len(weights), layout.keys.n_tokens), np.float32)
    keys = layout.key_tokens[windows].ravel()
    for row, of_head in zip(rows, weights.reshape(len(weights), -1), strict=True):
        row += np.bincount(keys, of_head, minlength=len(row))
    return rows


def _in_bytes(weights: Float[Tensor, "*lead key"]) -> tuple[np.ndarray, np.ndarray]:
    if not len(weights):
        return np.zeros(weights.shape, np.uint8), np.zeros(weights.shape[:-1], np.float32)
    largest = weights.amax(-1)
    scaled = weights / largest.clamp_min(torch.finfo(weights.dtype).tiny).unsqueeze(-1) * LEVELS
    return scaled.round().to(torch.uint8).cpu().numpy(), _numbers(largest)


def _numbers(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
