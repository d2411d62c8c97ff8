"""What a sink does in its head: nothing, or the same for every query; and who looks at the image.

Fesser, Jacobs, Fel, Keller & Kakade, "A Unifying View of Attention Sinks" (arXiv 2606.08105): the
same column of attention comes from two mechanisms. A head that has nothing to add routes its
queries to a token whose value is next to nothing (adaptive no-op); or the sink's value is what
every query is to get (broadcast), and outputs are of low rank. They measure values after the output
projection against the mean of the others, and sinks by 90 % of queries that give at least half; we
measure the head's own values, so that it works in any family, against the median of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models.layers import LayerAttention
from ...models.sinks import ROBUST_Z, KeyAttention, patch_keys

NONE, NO_OP, BROADCAST, MIXED = "none", "no-op", "broadcast", "mixed"
MECHANISMS: Mapping[str, str] = MappingProxyType(
    {
        NONE: "The head has no sink.",
        NO_OP: "The sink's value is next to nothing: a query that looks there adds nothing.",
        BROADCAST: "The sink's value is not small, and the head gives all queries much the same.",
        MIXED: "There is a sink, and it is neither plainly the one nor the other.",
    }
)
NO_OP_THEIRS, BROADCAST_THEIRS, RANK_THEIRS = 0.2, 0.5, 2 / 3
"""Of the paper's code: value ratios of no-op (at most) and broadcast (at least), and the share of
the output's energy along one direction (stable rank at most 1.5)."""
RANK_AT_MOST = 0.9
"""The share of energy that is asked of a broadcast is not more, however alike other heads' outputs
are from query to query."""


@dataclass(frozen=True, eq=False)
class HeadNumbers:
    """What a layer's sinks look like, image by image and head by head, as `image head`.

    NaN where a head has no sink, but for rank and shares.
    """

    value_ratio: Tensor
    """‖v_s‖ of the strongest sink over the median ‖v_j‖ of the keys that are no sinks."""
    value_limit: Tensor
    """Below which ratio a value is small: what is an outlier among the other keys' ‖v_j‖ (3.5
    robust standard deviations of their logarithm), but between 0.2 and 0.5."""
    output_ratio: Tensor
    """Median ‖o_i‖ of the head's output over queries, over the median ‖v_j‖ of keys that are no
    sinks: near 0 where the head adds next to nothing."""
    rank_one: Tensor
    """σ₁² / Σ σ² of the head's output `query channel`: the share of its energy that lies along one
    direction; 1 over the stable rank."""
    image_share: Tensor
    """Attention to patches, mean over queries."""
    non_sink_share: Tensor
    """Of the attention to patches, the share that goes to those that are no sinks: the visual
    non-sink ratio of Kang et al. (2025), equation 6, over all queries."""


def head_numbers(
    layer: LayerAttention, keys: KeyAttention, sinks: Bool[Tensor, "image head key"]
) -> HeadNumbers:
    """The numbers of a layer whose windows do not depend on the image."""
    wide = torch.promote_types(layer.value.dtype, torch.float32)
    norms = layer.value.to(wide).norm(dim=-1)
    reached = ~keys.received.isnan()
    ordinary = torch.where(reached & ~sinks, norms, torch.nan)
    median = ordinary.nanmedian(-1).values
    logs = (ordinary / median[..., None]).clamp_min(torch.finfo(wide).tiny).log()
    spread = 1.4826 * logs.abs().nanmedian(-1).values
    limit = (-ROBUST_Z * spread).exp().nan_to_num(0).clamp(NO_OP_THEIRS, BROADCAST_THEIRS)

    there = sinks.any(-1)
    strongest = torch.where(sinks, keys.lift, -1).argmax(-1, keepdim=True)
    of_sink = norms.gather(-1, strongest)[..., 0]
    # Where the other keys' values are 0, so may the sink's be: it adds nothing either.
    ratio = torch.where(of_sink > 0, of_sink / median, 0)
    output = layer.head_output.to(wide)
    energy = output.double().square().sum((-2, -1))
    gram = output.double().transpose(-1, -2) @ output.double()
    first = torch.linalg.eigvalsh(gram)[..., -1]

    mass = (keys.received * keys.n_queries).nan_to_num()
    to_patches = mass * patch_keys(layer.layout, mass.device)
    image = to_patches.sum(-1)
    nan = torch.tensor(torch.nan, dtype=wide, device=norms.device)
    return HeadNumbers(
        torch.where(there, ratio, nan),
        torch.where(there, limit, nan),
        torch.where(there, output.norm(dim=-1).quantile(0.5, dim=-1) / median, nan),
        first / energy,
        image / mass.sum(-1),
        (to_patches * ~sinks).sum(-1) / image,
    )


def rank_limit(rank_one: Float[np.ndarray, " head"]) -> float:
    """Above which share along one direction an output is of low rank: the median of the heads and
    images without a sink, but between two thirds and 0.9.
    """
    found = rank_one[np.isfinite(rank_one)]
    usual = float(np.median(found)) if len(found) else RANK_THEIRS
    return min(max(usual, RANK_THEIRS), RANK_AT_MOST)


def mechanism(
    value_ratio: Float[np.ndarray, "*head"],
    value_limit: Float[np.ndarray, "*head"],
    rank_one: Float[np.ndarray, "*head"],
    limit: float,
) -> np.ndarray:
    """The mechanism of each head in each image, by name; `NONE` where the ratio is NaN."""
    found = np.full(value_ratio.shape, MIXED, dtype="<U9")
    found[(value_ratio >= BROADCAST_THEIRS) & (rank_one >= limit)] = BROADCAST
    found[value_ratio <= value_limit] = NO_OP
    found[np.isnan(value_ratio)] = NONE
    return found


def mechanism_of_heads(of_images: np.ndarray) -> np.ndarray:
    """The mechanism of each head over images (`image layer head`): none unless at least half of
    the images have a sink; else the one that most of these have, mixed where none has more than
    half of them.
    """
    with_sink = (of_images != NONE).sum(0)
    found = np.where(with_sink * 2 >= len(of_images), MIXED, NONE).astype("<U9")
    for name in (NO_OP, BROADCAST):
        found[(found != NONE) & ((of_images == name).sum(0) * 2 > with_sink)] = name
    return found
