"""Which calls of attention make up a layer."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .geometry import Axes, Geometry, Rows, UnplacedError, place_attention
from .interception import Site
from .layout import AttentionLayout, TokenLayout
from .tracing import Trace

GIVEN = "global, as given"
"""The kind of an attention whose tokens were said, not traced."""


@dataclass(frozen=True)
class Group:
    """Calls of one run of a module that are one layer, or are refused for one reason."""

    sites: tuple[Site, ...]
    geometry: Geometry | None
    """Of each call; None where it was refused."""
    refusal: str
    n_calls: int
    """Calls of the module in each of its runs: other layers may have some of them."""


def group_calls(
    shapes: Mapping[Site, tuple[int, ...]],
    runs: Mapping[str, Sized],
    traced: Trace,
    size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
    layout: TokenLayout | None,
) -> list[Group]:
    """The calls of each layer, in the order in which they run.

    A module may compute head after head: its calls are one layer, if they have the same windows.
    Where they have not (the two groups of heads of CSWin), it is a layer for each kind of windows.

    Args:
        shapes: of the weights of each call.
        runs: of each module.
        traced: the places of queries and keys.
        size: height and width of the input, in pixels.
        prefix_kinds: kinds of the model's prefix tokens, in their order.
        layout: the tokens of attentions whose own cannot be traced.
    """
    groups: list[Group] = []
    for sites in _of_each_run(shapes, runs):
        of_run: list[tuple[list[Site], Geometry | UnplacedError]] = []
        for site in sites:
            found = _placed(site, shapes[site], traced, size, prefix_kinds, layout)
            same = next((group for group, other in of_run if _equal(found, other)), None)
            if same is None:
                of_run.append(([site], found))
            else:
                same.append(site)
        for group, found in of_run:
            geometry = found if isinstance(found, Geometry) else None
            refusal = "" if geometry is not None else str(found)
            groups.append(Group(tuple(group), geometry, refusal, len(sites)))
    return groups


def given_attention(shape: tuple[int, ...], tokens: TokenLayout) -> Geometry:
    """The geometry of an attention from all tokens to all that were said to be its own.

    Args:
        shape: of its weights for one image, `lead query key`: every leading axis has heads.
        tokens: its tokens.

    Raises:
        UnplacedError: it is between other numbers of tokens.
    """
    *lead, n_queries, n_keys = shape
    if (n_queries, n_keys) != (tokens.n_tokens,) * 2:
        raise UnplacedError(
            f"its map is {n_queries}×{n_keys}, and the layout that was given has "
            f"{tokens.n_tokens} tokens"
        )
    axes = Axes((lead[0],), tuple(lead), (), tuple(range(len(lead))))
    return Geometry(axes, AttentionLayout.of_all(tokens), GIVEN)


def given_rows(output: Tensor, tokens: TokenLayout) -> Rows | None:
    """The rows of an output for one image, `image token channel`; None where it is none."""
    if output.dim() != 3 or output.shape[1] != tokens.n_tokens:
        return None
    return Rows(0, 1, 3, tokens, np.arange(tokens.n_tokens))


def _of_each_run(calls: Iterable[Site], runs: Mapping[str, Sized]) -> list[list[Site]]:
    by_run: dict[tuple[str, int], list[Site]] = {}
    several = Counter(site.module for site in calls)
    for site in calls:
        each = max(1, several[site.module] // len(runs[site.module]))
        by_run.setdefault((site.module, site.call // each), []).append(site)
    return list(by_run.values())


def _placed(
    site: Site,
    shape: tuple[int, ...],
    traced: Trace,
    size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
    layout: TokenLayout | None,
) -> Geometry | UnplacedError:
    """The geometry of one call, or why there is none."""
    try:
        if site not in traced.attention:
            raise UnplacedError("its weights do not depend on the image")
        places = traced.attention[site]
        if not places.images_first:
            raise UnplacedError("the images are not on the first axis of its queries and keys")
        return place_attention(
            places.query, places.key, size, prefix_kinds, learned_queries=places.learned_queries
        )
    except UnplacedError as refusal:
        if layout is None:
            return refusal
    try:
        return given_attention(shape, layout)
    except UnplacedError as refusal:
        return refusal


def _equal(a: Geometry | UnplacedError, b: Geometry | UnplacedError) -> bool:
    if isinstance(a, UnplacedError) or isinstance(b, UnplacedError):
        return type(a) is type(b) and str(a) == str(b)
    x, y = a.layout, b.layout
    return (
        (a.axes, a.kind, x.queries, x.keys) == (b.axes, b.kind, y.queries, y.keys)
        and np.array_equal(x.query_tokens, y.query_tokens)
        and np.array_equal(x.key_tokens, y.key_tokens)
    )
