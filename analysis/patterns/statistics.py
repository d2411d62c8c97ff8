"""What a map is like, in numbers of which a pattern is named."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .pairs import Pairs

STATISTICS = {
    "class": "share of attention for class and distillation tokens",
    "register": "share of attention for registers",
    "other": "share of attention for other tokens without a place, padding included",
    "patch": "share of attention for patches",
    "self": "of what patches give to patches: share for the query's own patch",
    "left": "… for the left neighbour",
    "right": "… for the right neighbour",
    "above": "… for the neighbour above",
    "below": "… for the neighbour below",
    "near": "… for the eight patches around the query's own",
    "row": "… for the query's row",
    "column": "… for the query's column",
    "row_lift": "share for the query's row, over that of uniform attention",
    "column_lift": "share for the query's column, over that of uniform attention",
    "near_lift": "share for the query's patch and the eight around, over that of uniform attention",
    "reach": "mean distance in patches, over that of uniform attention",
    "spread": "effective number of patches that a query attends to, over those that it could",
    "received": "effective number of patches that get attention, over all",
    "dependence": "mutual information of query and key patch: 0 uniform attention, 1 one to one",
    "top": "of what patches get: share of the patch that gets most",
}
"""The numbers of a map, in their order, and what each is. Those of patches are undefined (NaN) for
a map that gives them less than `LEAST`."""
LEAST = 1e-4
"""Share of attention below which nothing is said about patches: it is rounding."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Attention of one layer, added up as the forms and statistics need it."""

    weights: Float[Tensor, "image window head query key"]
    """Of the queries that count; 0 for the others."""
    kinds: Float[Tensor, "image head kind"]
    """Share for the class, register and other tokens."""
    offset: Float[Tensor, "image head offset"]
    """Between patches, by offset, as a share of all attention."""
    key: Float[Tensor, "image head key_patch"]
    """Share that each key patch gets."""
    patch: Float[Tensor, "image head"]
    """Share that all key patches get."""


def sums_of(layer: LayerAttention, pairs: Pairs) -> Sums:
    """One layer's attention, added up; windows of several images are alike."""
    weights = layer.window_weights
    weights = weights.float() if weights.dtype in (torch.float16, torch.bfloat16) else weights
    device = weights.device
    weights = weights * pairs.counted.to(weights)[None, :, None, :, None]
    n_images, _, n_heads = weights.shape[:3]
    n_offsets = pairs.by_offset.numel()
    by_key = weights.sum(3) / pairs.n_queries
    kinds = torch.einsum("iwhk,wkn->ihn", by_key, pairs.kinds.to(weights))
    key = weights.new_zeros(n_images, n_heads, max(1, pairs.n_keys))
    flat = (by_key * pairs.key.to(weights)[None, :, None]).transpose(1, 2).flatten(2)
    key.index_add_(2, pairs.key_patch.reshape(-1).to(device), flat)
    offset = weights.new_zeros(n_images, n_heads, n_offsets + 1)
    between = weights.transpose(1, 2).flatten(2)
    offset.index_add_(2, pairs.offset.to(device), between)
    return Sums(weights, kinds, offset[..., :-1] / pairs.n_queries, key, key.sum(-1))


def statistics_of(pairs: Pairs, sums: Sums) -> Float[Tensor, "image head statistic"]:
    """`STATISTICS` of each map."""
    shares = [*sums.kinds.unbind(-1), sums.patch]
    if not float(pairs.by_offset.sum()):
        top = sums.key.amax(-1) / sums.patch
        received = _effective(sums.key / sums.patch[..., None]) / max(1, pairs.n_keys)
        of_keys = {"received": received, "top": top}
        undefined = torch.full_like(sums.patch, np.nan)
        rest = [of_keys.get(name, undefined) for name in list(STATISTICS)[4:]]
    else:
        rest = _between_patches(pairs, sums)
    patches = torch.stack(rest, -1)
    patches = patches.where((sums.patch >= LEAST)[..., None], torch.nan)
    return torch.cat([torch.stack(shares, -1), patches], -1)


def _between_patches(pairs: Pairs, sums: Sums) -> list[Float[Tensor, "image head"]]:
    rows, columns = pairs.reach
    uniform = pairs.even.to(sums.offset)
    shares = sums.offset.unflatten(-1, uniform.shape)
    shares = shares / shares.sum((-2, -1), keepdim=True)
    row, column = torch.meshgrid(
        torch.arange(-rows, rows + 1), torch.arange(-columns, columns + 1), indexing="ij"
    )
    row, column = row.to(uniform.device), column.to(uniform.device)
    away = torch.hypot(row.to(uniform), column.to(uniform))

    def where(mask: Tensor) -> tuple[Tensor, Tensor]:
        return (shares * mask).sum((-2, -1)), (uniform * mask).sum()

    def at(down: int, right: int) -> Tensor:
        return where((row == down) & (column == right))[0]

    own, around = (row == 0) & (column == 0), (row.abs() <= 1) & (column.abs() <= 1)
    near, of_near = where(around)
    (of_row, even_row), (of_column, even_column) = where(row == 0), where(column == 0)
    reach, even_reach = where(away)
    of_pairs = _Entropies.of(pairs, sums)
    return [
        where(own)[0],
        *(at(*place) for place in ((0, -1), (0, 1), (-1, 0), (1, 0))),
        near - where(own)[0],
        of_row,
        of_column,
        of_row / even_row,
        of_column / even_column,
        near / of_near,
        reach / even_reach.clamp_min(1e-9),
        torch.exp(of_pairs.given - of_pairs.met),
        torch.exp(of_pairs.key) / pairs.n_keys,
        of_pairs.dependence,
        (sums.key / sums.patch[..., None]).amax(-1),
    ]


@dataclass(frozen=True, eq=False)
class _Entropies:
    key: Float[Tensor, "image head"]
    """Of the key patches, whatever the query; nats."""
    given: Float[Tensor, "image head"]
    """Of the key patches of a query, mean over queries by what they give to patches."""
    dependence: Float[Tensor, "image head"]
    met: Float[Tensor, "image head"]
    """ln of the key patches that a query meets, mean over queries as for `given`."""

    @classmethod
    def of(cls, pairs: Pairs, sums: Sums) -> "_Entropies":
        both = pairs.met.to(sums.weights)
        total = sums.patch * pairs.n_queries
        joint = sums.weights * both[:, None] / total[:, None, :, None, None]
        of_query = joint.sum(-1)
        queries = torch.special.entr(of_query).sum((1, 3))
        given = torch.special.entr(joint).sum((1, 3, 4)) - queries
        keys = torch.special.entr(sums.key / sums.patch[..., None]).sum(-1)
        # Of windows themselves, who share no keys: not what a head does.
        n_met = both.sum(-1)
        log_met = (of_query * n_met.clamp_min(1).log()[:, None]).sum((1, 3))
        met = n_met[n_met > 0].double()
        by_key = both.sum(1).new_zeros(pairs.n_keys, dtype=torch.float64)
        even = (both.double() / both.sum(-1, keepdim=True).clamp_min(1)).sum(1).flatten()
        by_key.index_add_(0, pairs.key_patch.reshape(-1).to(by_key.device), even)
        of_windows = float(torch.special.entr(by_key / by_key.sum()).sum() - met.log().mean())
        most = np.log(max(2, min(pairs.n_keys, len(met)))) - of_windows
        dependence = ((keys - given - of_windows) / max(most, 1e-9)).clamp(0, 1)
        return cls(keys, given, dependence, log_met)


def _effective(shares: Float[Tensor, "*lead key"]) -> Float[Tensor, "*lead"]:
    return torch.exp(torch.special.entr(shares).sum(-1))
