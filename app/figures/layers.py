"""Who attends to whom in each layer, as the browser takes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...models.layout import TokenLayout


@dataclass(frozen=True)
class LayerSides:
    """The tokens on both sides of a layer, and its kind of attention in words."""

    queries: "TokenLayout"
    keys: "TokenLayout"
    attention: str


def payload(layers: Iterable[LayerSides]) -> dict[str, Any]:
    """Token layouts, each once, and for every layer which two of them it is between."""
    tokens: list[TokenLayout] = []

    def place(layout: "TokenLayout") -> int:
        if layout not in tokens:
            tokens.append(layout)
        return tokens.index(layout)

    sides = [
        {
            "queries": place(layer.queries),
            "keys": place(layer.keys),
            "attention": layer.attention,
        }
        for layer in layers
    ]
    return {"tokens": [_tokens(layout) for layout in tokens], "layers": sides}


def _tokens(layout: "TokenLayout") -> dict[str, Any]:
    return {
        "kinds": [[kind, len(list(same))] for kind, same in groupby(layout.kinds)],
        "grid": list(layout.grid),
        "patch_px": [float(side) for side in layout.patch_px],
        "scattered": None
        if layout.scattered is None
        else [[float(row), float(column)] for row, column in layout.scattered],
    }


def n_queries(layers: Sequence[LayerSides]) -> tuple[int, ...]:
    """Query tokens of each layer."""
    return tuple(layer.queries.n_tokens for layer in layers)
