"""What a number about a layer's hidden state is (no head in it), and the registry of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ...models.layers import Layer
from ...models.layout import TokenLayout
from ...models.registry import Registry


@dataclass(frozen=True, eq=False)
class HiddenState:
    """What the block of a layer gave: the residual stream after it."""

    layer: Layer
    tokens: TokenLayout
    """What the rows are."""
    values: Float[Tensor, "image token channel"]


Compute = Callable[[HiddenState], Tensor]


@dataclass(frozen=True)
class HiddenMetric:
    """A number, or a row of numbers, for each layer, image by image, from its hidden state."""

    name: str
    dims: tuple[str, ...]
    """Dimensions beyond image and layer, by their names in `dims`."""
    long_name: str
    units: str
    description: str
    """Formula, range, how to read it, source."""
    compute: Compute
    """`HiddenState` to a tensor `image *dims`."""
    signed: bool = False
    """Whether 0 is the middle, and the sign says which way."""
    costly: bool = False
    """Takes long beside a forward pass: computed only where it is asked for by name."""


_METRICS = Registry[HiddenMetric]("metrics of hidden states", folder=__package__)


def hidden_metric(
    *,
    long_name: str,
    units: str,
    dims: tuple[str, ...] = (),
    signed: bool = False,
    costly: bool = False,
) -> Callable[[Compute], Compute]:
    """Register a function as the metric of its name; its docstring is the description.

    It has the shape that `analysis.about` reads: formula, `Range:`, `Reading:`, `Source:`.

    Layers whose block gives no tokens (pooling) are NaN, and the function is not asked.
    """

    def register(function: Compute) -> Compute:
        name, description = function.__name__, " ".join((function.__doc__ or "").split())
        metric = HiddenMetric(
            name, dims, long_name, units, description, function, signed=signed, costly=costly
        )
        _METRICS.add(name, metric, file=function.__module__)
        return function

    return register


def hidden_metrics() -> Mapping[str, HiddenMetric]:
    """Every registered metric by name."""
    return _METRICS.all
