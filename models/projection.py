"""From head outputs to the output of an attention module: the part of each head in that map."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .geometry import Geometry

NEAR = 8
"""How many linear maps after an attention may pass before the one that takes its output."""


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear map that takes a layer's head outputs, and nothing done to them before it.

    Its bias belongs to no head and is left out.
    """

    weight: Float[Tensor, "output input ..."]
    """The model's own; a convolution of 1×1 has two more axes."""
    channels: Int[np.ndarray, "head channel"]
    """Which input each channel of each head is."""

    @property
    def of_head(self) -> Float[Tensor, "head output channel"]:
        """W_O of each head: it takes `head_output` to what the head writes."""
        index = torch.from_numpy(self.channels).to(self.weight.device)
        return self.weight.flatten(1)[:, index].transpose(0, 1)

    def norms(
        self, value: Float[Tensor, "image window head key channel"]
    ) -> Float[Tensor, "image window head key"]:
        """‖v W_O‖ of the values: how long what each key would write is."""
        factor = self._factor.to(value.device, torch.promote_types(value.dtype, torch.float32))
        return (value.to(factor.dtype) @ factor.transpose(-2, -1)).norm(dim=-1)

    def part(self, heads: slice) -> "Projection":
        """Of some of the heads."""
        return Projection(self.weight, self.channels[heads])

    @cached_property
    def _factor(self) -> Float[Tensor, "head channel channel"]:
        """R of W_O = QR: as long as with W_O itself, in as many channels as a head has."""
        weight = self.of_head
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
        return torch.linalg.qr(weight, mode="r").R


@dataclass(frozen=True)
class LinearMaps:
    """The linear maps of a forward pass, in the order in which they ran."""

    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Input, channels last, and weight."""

    @contextmanager
    def record(self) -> Iterator[None]:
        """Keep those of the forward pass in this context; enter it before what intercepts."""
        with _Mode(self.seen):
            yield

    def now(self, output: Float[Tensor, "*lead query channel"]) -> "AtMap":
        """What an attention gives, between those maps that ran before it and those after."""
        return AtMap(output, len(self.seen))

    def taking(self, geometry: Geometry | None, calls: Sequence["AtMap"]) -> Projection | None:
        """The map whose input is what the calls of a layer give, in any order of rows and channels.

        Some rows may be missing (those of padding). None where something else is done to them
        first.
        """
        if geometry is None:
            return None
        folded = [geometry.axes.fold(call.output)[:1] for call in calls]
        heads = torch.cat(folded, dim=2).transpose(2, 3).flatten(0, 2)
        n_channels, after = heads.shape[1:].numel(), max(call.n_before for call in calls)
        for given, weight in self.seen[after : after + NEAR]:
            if given.shape[-1] == n_channels and given[..., 0].numel() <= len(heads):
                order = _channels(_array(given.reshape(-1, n_channels)), _array(heads.flatten(1)))
                if order is not None:
                    return Projection(weight, order.reshape(tuple(heads.shape[1:])))
        return None


@dataclass(frozen=True)
class AtMap:
    """What an attention gave, and how many linear maps ran before it."""

    output: Float[Tensor, "*lead query channel"]
    n_before: int


class _Mode(TorchFunctionMode):
    def __init__(self, seen: list[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear and len(args) > 1:
            self._seen.append((args[0], args[1]))
        elif func is functional.conv2d and len(args) > 1 and _is_pointwise(args[0], args[1]):
            self._seen.append((args[0].movedim(1, -1), args[1]))
        return func(*args, **(kwargs or {}))


def _is_pointwise(given: Tensor, weight: Tensor) -> bool:
    return given.dim() == 4 and weight.shape[1:] == (given.shape[1], 1, 1)


def _array(rows: Tensor) -> Float[np.ndarray, "row channel"]:
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return rows.cpu().numpy() + 0.0  # no −0


def _channels(
    given: Float[np.ndarray, "row channel"], heads: Float[np.ndarray, "head_row channel"]
) -> Int[np.ndarray, " channel"] | None:
    """Of each channel of the heads, which channel of the given rows it is; None if they differ.

    Copies are equal to the bit, and so are their sorted rows. Channels that are alike in all rows
    (those of a dead value) keep their order.
    """
    places: dict[bytes, list[int]] = {}
    for place, row in enumerate(np.sort(heads, axis=1)):
        places.setdefault(row.tobytes(), []).append(place)
    found = [places.get(row.tobytes()) for row in np.sort(given, axis=1)]
    if any(place is None for place in found):
        return None
    alike = _one_each(found)
    if not alike:
        return None
    rows = np.array([row for row, _ in alike]), np.array([place for _, place in alike])
    a, b = given[rows[0]], heads[rows[1]]
    order = np.empty(a.shape[1], int)
    order[np.lexsort(b)] = np.lexsort(a)
    return order if np.array_equal(a[:, order], b) else None


def _one_each(found: Iterable[list[int] | None]) -> list[tuple[int, int]]:
    """Rows that are one row only, or any of several that are alike if there is none."""
    pairs = [(row, places) for row, places in enumerate(found) if places]
    unique = [(row, places[0]) for row, places in pairs if len(places) == 1]
    return unique or [(row, places[0]) for row, places in pairs[:1]]
