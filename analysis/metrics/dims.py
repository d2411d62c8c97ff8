"""What a metric's numbers may run over beyond image, layer and head: dimensions by name.

A metric names its dimensions; each knows its coordinate values for a checkpoint, so that all layers
line up. Anybody may add one with `@dimension`, in the file of the metric that needs it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...models.layers import Common
from ...models.registry import Registry

TOP_SHARES = (0.01, 0.05, 0.1)
"""Shares of the keys that `top_mass` is about."""

Values = Callable[[Common], tuple[str, ...] | NDArray[np.generic]]


@dataclass(frozen=True)
class Dimension:
    """A dimension of metrics."""

    name: str
    long_name: str
    values: Values
    """Coordinate values, by what the layers of a checkpoint have between them."""

    def size(self, common: Common) -> int:
        """Number of values."""
        return len(self.values(common))


_DIMENSIONS = Registry[Dimension]("dimensions of metrics")


def dimension(*, long_name: str) -> Callable[[Values], Values]:
    """Register a function of `Common` to coordinate values as the dimension of its name."""

    def register(function: Values) -> Values:
        name = function.__name__
        _DIMENSIONS.add(name, Dimension(name, long_name, function))
        return function

    return register


def dimension_named(name: str) -> Dimension:
    """The dimension of a name.

    Raises:
        ValueError: there is none; whoever wrote the metric is to register it.
    """
    known = _DIMENSIONS.all
    if name not in known:
        raise ValueError(
            f"there is no dimension {name!r} for a metric, only {', '.join(known)}; register it "
            "with @dimension, in the file of the metric"
        )
    return known[name]


@dimension(long_name="Kind of token that attends")
def query_kind(common: Common) -> tuple[str, ...]:
    """Kinds of query, of all layers."""
    return common.query_kinds


@dimension(long_name="Kind of token that is attended to")
def key_kind(common: Common) -> tuple[str, ...]:
    """Kinds of key, of all layers."""
    return common.key_kinds


@dimension(long_name="Chebyshev distance, in patches")
def hop(common: Common) -> NDArray[np.generic]:
    """0 … the most hops of any layer."""
    return np.arange(common.n_hops)


@dimension(long_name="Rows from the query down to the key, in patches")
def row_offset(common: Common) -> NDArray[np.generic]:
    """−r … r, with r the most rows between a query and a key that it may attend to in any layer:
    rows − 1 of the grid with global attention, rows − 1 of a window, shifted or not. The patches
    are those of the layer (the coarser ones, where queries and keys differ). Offsets that the
    layer's own grid does not have are NaN around its middle, which is 0 in every layer.
    """
    return np.arange(-common.offset_reach[0], common.offset_reach[0] + 1)


@dimension(long_name="Columns from the query right to the key, in patches")
def column_offset(common: Common) -> NDArray[np.generic]:
    """As `row_offset`, from left (negative) to right."""
    return np.arange(-common.offset_reach[1], common.offset_reach[1] + 1)


@dimension(long_name="Share of the keys, those that take most attention")
def top(common: Common) -> NDArray[np.generic]:
    """1, 5 and 10 %."""
    del common
    return np.array(TOP_SHARES)
