"""On how few keys attention is concentrated."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from .base import attention_metric
from .dims import TOP_SHARES
from .patches import maps_of, once_per_layer
from .queries import mean_over_queries, n_reachable


@attention_metric(long_name="Gini coefficient of attention", units="share")
def gini(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """Σₖ (2k − n − 1) A₍ₖ₎ / n over the n keys that a query may attend to, A₍₁₎ the least of them,
    mean over patch queries (over all queries where none is a patch).

    Range: 0 (all keys alike) to 1 − 1/n (one key only).
    Reading: on how few keys attention is concentrated: twice the area between the Lorenz curve and
    the diagonal. Keys that a mask or another window keeps away do not count.
    Source: Gini, "Variabilità e mutabilità" (1912).
    """
    return mean_over_queries(layer, _over_sorted(layer)[..., -1])


@attention_metric(long_name="Attention of the strongest keys", units="share", dims=("top",))
def top_mass(layer: LayerAttention) -> Float[Tensor, "image head top"]:
    """Share of a query's attention on the 1, 5 or 10 % of its keys that have most of it, mean over
    patch queries (over all queries where none is a patch).

    Range: 0.01, 0.05 and 0.1 (uniform attention) to 1 (those keys have all).
    Reading: the fraction p of n keys is rarely a whole number: of the next key the part that is
    missing counts (p·n of the largest for p·n < 1), as on the Lorenz curve drawn with straight
    lines. So it is p·n of the largest value where there are fewer keys than 1/p. Keys that a mask
    or another window keeps away do not count.
    Source: the Lorenz curve: Lorenz, "Methods of Measuring the Concentration of Wealth" (1905).
    """
    of_top = _over_sorted(layer)
    return torch.stack(
        [mean_over_queries(layer, of_top[..., index]) for index in range(len(TOP_SHARES))], dim=-1
    )


@once_per_layer
def _over_sorted(layer: LayerAttention) -> Float[Tensor, "image window head query column"]:
    """Mass of the top shares, then the Gini coefficient, of every query: one sort for both."""
    ordered, counts = _sorted(maps_of(layer)), n_reachable(layer)
    n_keys = ordered.shape[-1]
    few = counts.unique()
    factors = torch.stack([_factors(int(n), n_keys) for n in few]).to(ordered)
    if len(few) == 1:
        # The top shares are about a few keys only.
        first = [int(column.nonzero()[0]) for column in factors[0]]
        return torch.stack(
            [
                (ordered[..., start:] * column[start:]).sum(-1)
                for start, column in zip(first, factors[0], strict=True)
            ],
            dim=-1,
        )
    # Masks leave some queries more keys than others.
    of_count = factors[torch.searchsorted(few, counts)]
    return torch.einsum("iwhqk,iwqck->iwhqc", ordered, of_count)


def _factors(n: int, n_keys: int) -> Float[Tensor, "column key"]:
    """What each of the sorted weights counts, the smallest first; n of them are reachable."""
    rank = np.arange(n_keys) - (n_keys - n) + 1  # 1 … n
    from_top = n - rank  # keys above it
    tops = [np.clip(share * n - from_top, 0, 1) for share in TOP_SHARES]
    columns = np.stack([*tops, (2 * rank - n - 1) / max(n, 1)])
    return torch.from_numpy(np.where(rank > 0, columns, 0))


def _sorted(weights: Float[Tensor, "*lead key"]) -> Float[Tensor, "*lead key"]:
    if weights.device.type != "cpu":
        return weights.sort(dim=-1).values
    # NumPy sorts rows 25 times as fast: it needs no indices.
    return torch.from_numpy(np.sort(weights.numpy(), axis=-1))
