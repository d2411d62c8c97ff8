"""One attention layer: which calls of the model it is, and its maps by token."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .geometry import Axes, Rows
from .interception import AttentionCall, Site
from .layout import AttentionLayout, TokenLayout
from .projection import Projection

T = TypeVar("T")


@dataclass(frozen=True)
class Common:
    """What the layers of a checkpoint have between them, so that their numbers line up."""

    query_kinds: tuple[str, ...]
    """Kinds of the tokens that attend in any layer."""
    key_kinds: tuple[str, ...]
    """Kinds of the tokens that are attended to in any layer."""
    n_hops: int
    """Number of different hops in the layer that has most."""
    offset_reach: tuple[int, int]
    """How many rows and columns a query is at most away from a key that it may attend to, on the
    coarser of their grids, in the layer that reaches farthest: a whole grid but 1 where attention
    is global, and less in windows."""

    @classmethod
    def of(cls, layouts: Sequence[AttentionLayout], *, routed: bool = False) -> "Common":
        """`routed`: which keys a query meets depends on the image, so any may be met."""
        reaches = [layout.coarse_reach if routed else layout.offset_reach for layout in layouts]
        rows, columns = (max(each) for each in zip(*reaches, strict=True))
        sides = [layout.queries for layout in layouts], [layout.keys for layout in layouts]
        queries, keys = (
            tuple(dict.fromkeys(kind for tokens in side for kind in tokens.present_kinds))
            for side in sides
        )
        return cls(queries, keys, max(layout.n_hops for layout in layouts), (rows, columns))


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of a checkpoint: one attention module, or one of several runs of it."""

    index: int
    sites: tuple[Site, ...]
    """The calls that make it up: one, or one for each head or group of heads."""
    axes: Axes
    """Of each call."""
    layout: AttentionLayout
    kind: str
    """In words: `"global"`, `"shifted windows"`, `"class attention"`, …"""
    block: str
    """Name of the module around it, with its MLP: the one whose output is the layer's output."""
    rows: Rows | None
    """Which rows of that output are which tokens; None where it has none."""
    common: Common
    first_head: int = 0
    """Of a part of a layer: how many of the layer's heads come before it."""
    mixed: bool = False
    """The softmax is not what meets the values: heads are mixed after it (talking heads)."""
    routed: bool = False
    """Which keys a query meets depends on the image; `layout` is that of an example."""
    n_calls: int = 1
    """Calls of the module in each of its runs: other layers may have some of them."""
    projection: Projection | None = None
    """The linear map that takes the head outputs; None where something is done to them first."""

    @property
    def module(self) -> str:
        """Name of the attention module."""
        return self.sites[0].module

    @property
    def n_heads(self) -> int:
        return self.axes.n_heads * len(self.sites)

    def part(self, site: Site) -> "Layer":
        """What one of its calls computes, as a layer by itself."""
        heads = self.heads_of(site)
        projection = None if self.projection is None else self.projection.part(heads)
        return replace(self, sites=(site,), first_head=heads.start, projection=projection)

    def heads_of(self, site: Site) -> slice:
        """The heads that one of its calls computes."""
        first = self.sites.index(site) * self.axes.n_heads
        return slice(first, first + self.axes.n_heads)

    def raw_output(
        self,
        site: Site,
        heads: Float[Tensor, "image head query channel"],
        layouts: Sequence[AttentionLayout] | None = None,
    ) -> Float[Tensor, "*lead query channel"]:
        """Head outputs by token as the call at `site` gives them, on the model's own axes.

        `heads` are those of the whole layer; `layouts` those of the images, where they differ.
        """
        own = heads[:, self.heads_of(site)]
        if layouts is None:
            folded = to_windows(own, self.layout.query_tokens)
        else:
            folded = torch.cat(
                [
                    to_windows(image, layout.query_tokens)
                    for image, layout in zip(own.split(1), layouts, strict=True)
                ]
            )
        return self.axes.unfold(folded)


@dataclass(frozen=True, eq=False)
class Windows:
    """Attention as the model computes it: window by window.

    What a window was filled up with is the token `PADDING` among keys, and -1 among queries.
    """

    weights: Float[Tensor, "image window head query key"]
    query_tokens: Int[np.ndarray, "window query"]
    key_tokens: Int[np.ndarray, "window key"]


class LayerAttention:
    """Attention of one layer for a batch of images."""

    def __init__(
        self,
        of: Layer,
        calls: Sequence[AttentionCall],
        layouts: Sequence[AttentionLayout] | None = None,
    ) -> None:
        """`layouts` are those of the images, where they differ."""
        self.of = of
        self._calls = calls
        self._layouts = layouts
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made when it is first asked for; forgotten with the maps."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def layer(self) -> int:
        """Index of the layer."""
        return self.of.index

    @property
    def module(self) -> str:
        return self.of.module

    @property
    def layout(self) -> AttentionLayout:
        """Windows and tokens; where routing depends on the image, those of the first image."""
        return self._layouts[0] if self._layouts else self.of.layout

    @property
    def images(self) -> "list[LayerAttention]":
        """The same for each image by itself, where windows depend on the image; else all as one."""
        if self._layouts is None or len(self._layouts) == 1:
            return [self]
        layouts, n = self._layouts, len(self._layouts)
        return self.once(
            "images",
            lambda: [
                LayerAttention(self.of, [call.part(i, n) for call in self._calls], [layout])
                for i, layout in enumerate(layouts)
            ],
        )

    def reach(self) -> Bool[Tensor, "query key"]:
        """Which keys a query can attend to: those of its window that no mask forbids."""
        reach = torch.from_numpy(self.layout.reach).to(self.window_weights.device)
        # A mask leaves e⁻¹⁰⁰ or nothing, in all heads; a key that is only little liked has more.
        return reach & (self.weights.amax((0, 1)) > 1e-20)

    @property
    def queries(self) -> TokenLayout:
        """The tokens that attend."""
        return self.of.layout.queries

    @property
    def keys(self) -> TokenLayout:
        """The tokens that are attended to."""
        return self.of.layout.keys

    @cached_property
    def window_weights(self) -> Float[Tensor, "image window head query key"]:
        """Attention after softmax as the model has it, window by window; rows sum to 1."""
        return self._fold(lambda call: call.unmixed if self.of.mixed else call.weights)

    def forget_maps(self) -> None:
        """Give back the memory of maps that were looked at, and of what was made `once` of them;
        asked for again, they are remade."""
        for holder, name in [
            (self, "window_weights"),
            *((call, "weights") for call in self._calls),
        ]:
            vars(holder).pop(name, None)
        self._made.clear()

    @property
    def windows(self) -> Windows:
        """Attention window by window, without the zeros between them."""
        return Windows(self.window_weights, self.layout.query_tokens, self.layout.key_tokens)

    @property
    def weights(self) -> Float[Tensor, "image head query key"]:
        """Attention maps after softmax between all tokens; rows sum to 1 over keys.

        Zero between tokens of different windows. Where the model mixes heads after the softmax
        (talking heads), these are the maps before mixing; `mixed_weights` are those after.
        """
        return self._per_layout(self.window_weights, dense_maps)

    @property
    def mixed_weights(self) -> Float[Tensor, "image head query key"]:
        """What meets the values: `weights`, or what talking heads made of them."""
        return self._per_layout(self._fold(lambda call: call.weights), dense_maps)

    @property
    def window_mixed_weights(self) -> Float[Tensor, "image window head query key"]:
        """What meets the values, window by window: `window_weights`, or what talking heads made."""
        return self._fold(lambda call: call.weights) if self.of.mixed else self.window_weights

    @property
    def window_value(self) -> Float[Tensor, "image window head key channel"]:
        """Values as the model has them, window by window."""
        return self._fold(lambda call: call.value)

    @cached_property
    def value(self) -> Float[Tensor, "image head key channel"]:
        return self._per_layout(
            self._fold(lambda call: call.value),
            lambda folded, layout: to_tokens(folded, layout.key_tokens, layout.keys.n_tokens),
        )

    @property
    def operands(
        self,
    ) -> "tuple[Float[Tensor, 'image head query c'], Float[Tensor, 'image head key c']] | None":
        """Queries and keys as they meet, after what the model does to them (rotation, norms).

        None where the model forms its weights step by step.
        """
        if any(call.operands is None for call in self._calls):
            return None
        query, key = (self._fold(lambda call, i=i: cast(Any, call.operands)[i]) for i in (0, 1))
        return (
            self._per_layout(
                query, lambda f, layout: to_tokens(f, layout.query_tokens, layout.queries.n_tokens)
            ),
            self._per_layout(
                key, lambda f, layout: to_tokens(f, layout.key_tokens, layout.keys.n_tokens)
            ),
        )

    @cached_property
    def head_output(self) -> Float[Tensor, "image head query channel"]:
        """`weights @ value` as the model itself computed it, before the output projection."""
        return self._per_layout(
            self._fold(lambda call: call.output),
            lambda folded, layout: to_tokens(folded, layout.query_tokens, layout.queries.n_tokens),
        )

    def with_window_weights(
        self, weights: Float[Tensor, "image window head query key"]
    ) -> "LayerAttention":
        """The same layer with other maps, for whatever reads maps; the rest stays as it is."""
        calls = []
        for call in self._calls:
            # Maps before and after talking heads alike: whoever changed them did so once.
            maps = self.of.axes.unfold(weights[:, :, self.of.heads_of(call.site)])
            calls.append(call.with_maps(maps))
        return LayerAttention(self.of, calls, self._layouts)

    def _fold(self, part: Callable[[AttentionCall], Tensor | None]) -> Tensor:
        folded = [self.of.axes.fold(cast(Tensor, part(call))) for call in self._calls]
        return folded[0] if len(folded) == 1 else torch.cat(folded, dim=2)

    def _per_layout(
        self, folded: Float[Tensor, "i w h r c"], place: Callable[[Tensor, AttentionLayout], Tensor]
    ) -> Float[Tensor, "i h n m"]:
        if self._layouts is None:
            return place(folded, self.of.layout)
        images = zip(folded.split(1), self._layouts, strict=True)
        return torch.cat([place(image, layout) for image, layout in images])


def dense_maps(
    folded: Float[Tensor, "image window head query key"], layout: AttentionLayout
) -> Float[Tensor, "image head query key"]:
    """Maps between all tokens, of those within windows; what shares a token is added up."""
    if layout.is_dense:
        return folded[:, 0]
    n_queries, n_keys = layout.queries.n_tokens, layout.keys.n_tokens
    n_images, _, n_heads = folded.shape[:3]
    maps = folded.new_zeros(n_images, n_heads, n_queries * n_keys)
    index, there = _pairs(layout, folded.device)
    flat = folded.transpose(1, 2).flatten(2)
    maps.index_add_(2, index, flat if there is None else flat[..., there])
    return maps.unflatten(2, (n_queries, n_keys))


@lru_cache(maxsize=64)
def _pairs(layout: AttentionLayout, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where each weight of a window goes in a flat map, and which go anywhere."""
    queries, keys = layout.query_tokens[:, :, None], layout.key_tokens[:, None, :]
    index = np.where(queries < 0, -1, queries * layout.keys.n_tokens + keys).reshape(-1)
    # Kept for passes with derivatives, too, whoever asks first.
    with torch.inference_mode(mode=False):
        index = torch.from_numpy(index).to(device)
        there = index >= 0
        return (index, None) if bool(there.all()) else (index[there], there)


def to_tokens(
    folded: Float[Tensor, "image window head row channel"],
    tokens: Int[np.ndarray, "window row"],
    n_tokens: int,
) -> Float[Tensor, "image head token channel"]:
    """What stands in windows, by token; a token of several windows is the same in each."""
    if len(tokens) == 1 and np.array_equal(tokens[0], np.arange(n_tokens)):
        return folded[:, 0]
    n_images, _, n_heads, _, n_channels = folded.shape
    by_token = folded.new_zeros(n_images, n_heads, n_tokens + 1, n_channels)  # last: padding
    index = torch.from_numpy(np.where(tokens < 0, n_tokens, tokens).reshape(-1)).to(folded.device)
    by_token.index_copy_(2, index, folded.transpose(1, 2).flatten(2, 3))
    return by_token[:, :, :n_tokens]


def to_windows(
    by_token: Float[Tensor, "image head token channel"], tokens: Int[np.ndarray, "window row"]
) -> Float[Tensor, "image window head row channel"]:
    """What belongs to tokens, as windows have it; padding is 0."""
    n_tokens = by_token.shape[2]
    if len(tokens) == 1 and np.array_equal(tokens[0], np.arange(n_tokens)):
        return by_token[:, None]
    padded = torch.nn.functional.pad(by_token, (0, 0, 0, 1))
    index = torch.from_numpy(np.where(tokens < 0, n_tokens, tokens).reshape(-1)).to(padded.device)
    return padded[:, :, index].unflatten(2, tokens.shape).transpose(1, 2)
