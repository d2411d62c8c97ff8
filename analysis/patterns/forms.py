"""Attention maps of any grid in one common form, so that heads and checkpoints share one space.

Every entry is the square root of a share: the squared distance of two maps is then (twice) the
squared Hellinger distance of the distributions, in which small shares count too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .cells import overlap
from .pairs import Pairs
from .statistics import Sums

NEAR = 2
"""Offsets up to so many patches have a cell of their own: neighbours are neighbours on any grid."""
FAR = 3
"""Cells, on each side, for the offsets beyond: thirds of what is left of the layer's reach."""
SIDE = 2 * (NEAR + FAR) + 1
"""Rows and columns of a map in the offset form."""
REGIONS = 4
"""Rows and columns of regions in the raw form."""
VALUES = ("class", "register", "other", "self", "top")
"""Numbers beside the map: shares of attention for the class and distillation tokens, registers and
other tokens without a place, for the query's own patch, and for the patch that gets most."""


@dataclass(frozen=True)
class Form:
    """A common form of attention maps."""

    name: str
    channels: tuple[str, ...]
    side: int
    """Rows and columns of each channel."""
    compute: Callable[[Pairs, Sums], Float[Tensor, "image head channel row column"]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return len(self.channels), self.side, self.side

    @property
    def n_entries(self) -> int:
        """Numbers of a map, with `VALUES`."""
        return len(self.channels) * self.side**2 + len(VALUES)


def offset_cells(reach: int) -> Float[np.ndarray, "offset cell"]:
    """Which part of each offset −reach … reach lies in which cell of an axis; rows sum to 1.

    Offsets of up to `NEAR` patches have a cell each. The others lie side by side from `NEAR` to the
    reach, in `FAR` cells of equal length: in units of the extent, not of patches.
    """
    cells = np.zeros((2 * reach + 1, SIDE))
    middle = NEAR + FAR
    for offset in range(reach + 1):
        if offset <= NEAR:
            part = np.zeros(NEAR + FAR + 1)
            part[offset] = 1
        else:
            part = np.append(np.zeros(NEAR + 1), overlap(offset - NEAR - 1, reach - NEAR, FAR))
        cells[reach + offset, middle:] = part
        cells[reach - offset, : middle + 1] = part[::-1]
    return cells


def _offset_form(pairs: Pairs, sums: Sums) -> Float[Tensor, "image head channel row column"]:
    """Where patches look from where they are, and which places get attention whatever the query.

    The first channel is the mean attention by offset (key − query), per pair of patches and not
    summed, so that border and number of neighbours do not matter; scaled to sum to the share that
    patches give to patches. The second is the attention that each place of the image receives,
    a sum over its patches: relative offsets alone cannot see a fixed sink.
    """
    rows, columns = (offset_cells(reach) for reach in pairs.reach)
    dtype, device = sums.offset.dtype, sums.offset.device
    cells = [torch.from_numpy(cells).to(device, dtype) for cells in (rows, columns)]
    by_offset = sums.offset.unflatten(-1, (len(rows), len(columns)))
    given = torch.einsum("ihrc,ra,cb->ihab", by_offset, *cells)
    there = torch.einsum("rc,ra,cb->ab", pairs.by_offset.to(device, dtype), *cells)
    mean = torch.where(there > 0, given / there.clamp_min(1e-9), 0.0)
    total = mean.sum((-2, -1), keepdim=True)
    patch = sums.patch[..., None, None]
    offset = torch.where(total > 0, mean / total.clamp_min(1e-30) * patch, 0.0)
    received = (sums.key @ pairs.key_places(SIDE).to(device, dtype)).unflatten(-1, (SIDE, SIDE))
    return torch.stack([offset, received], dim=2)


def _raw_form(pairs: Pairs, sums: Sums) -> Float[Tensor, "image head channel row column"]:
    """Which region of the image attends to which: `REGIONS`² rows and columns, in reading order.

    An absolute form, after the raw maps of Li et al. (TVCG 2023), pooled so that grids of any size
    have as many numbers.
    """
    weights = sums.weights
    n = REGIONS**2
    if not pairs.layout.queries.n_patches or not pairs.n_keys:
        return weights.new_zeros(*weights.shape[:1], weights.shape[2], 1, n, n)
    queries, keys = (
        (places[patch] * is_patch[..., None]).to(weights)
        for places, patch, is_patch in (
            (pairs.query_places(REGIONS), pairs.query_patch, pairs.query),
            (pairs.key_places(REGIONS), pairs.key_patch, pairs.key),
        )
    )
    of_queries = torch.einsum("iwhqk,wqa->iwhak", weights, queries)
    pooled = torch.einsum("iwhak,wkc->ihac", of_queries, keys)
    return pooled[:, :, None] / pairs.n_queries


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        form.name: form
        for form in (
            Form("offset", ("by offset", "received"), SIDE, _offset_form),
            Form("raw", ("region to region",), REGIONS**2, _raw_form),
        )
    }
)
"""By name."""
