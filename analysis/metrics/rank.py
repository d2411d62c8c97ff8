"""How many different rows a head's map really has."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layers import dense_maps, to_windows
from ...models.layout import PADDING
from .base import attention_metric
from .patches import maps_of, once_per_layer
from .queries import tokens_of

CHECKS = 3, 5, 8, 12, 16, 20
"""Steps of Lanczos after which it is looked whether they are enough: as a rule three are, attention
has one large singular value."""
STEPS = 24
"""Steps at most."""
CLOSE = 1e-4
"""Bound of the relative error of σ₁² at which it stops; the error itself is about its square."""


@attention_metric(long_name="Stable rank of the map", units="rank")
def stable_rank(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """‖A‖²_F / σ₁², with σ₁ the largest singular value of the map between all tokens.

    Range: 1 (all rows are multiples of one: a uniform head, a sink, attention collapse) to the
    number of tokens (every query looks at a key of its own).
    Reading: how many different rows a head's map really has. Between windows there is no attention:
    the whole map is theirs side by side. σ₁ by Lanczos' iteration, to about 1e-6; padding is left
    out.
    Source: Rudelson & Vershynin, "Sampling from Large Matrices" (2007).
    """
    weights = _between_tokens(layer)
    return weights.square().sum((1, 3, 4)) / _largest_squared(layer, weights)


@attention_metric(long_name="Effective rank of the map", units="rank", costly=True)
def effective_rank(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """exp(−Σₖ pₖ ln pₖ) with pₖ = σₖ / Σ σ, σ the singular values of the map between all tokens.

    Range: 1 (one direction only) to the number of tokens (all as strong).
    Reading: it counts weak directions that the stable rank leaves out. Padding is left out. It
    takes all singular values, about as long as a forward pass: ask for it by name.
    Source: Roy & Vetterli, "The Effective Rank" (2007).
    """
    weights = _between_tokens(layer)
    if _share_keys(layer):
        weights = dense_maps(weights, layer.layout)[:, None]
    values = torch.linalg.svdvals(weights).transpose(1, 2).flatten(2)
    share = values / values.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1).exp()


@once_per_layer
def _between_tokens(layer: LayerAttention) -> Float[Tensor, "image window head query key"]:
    """The maps without rows and columns of padding."""
    weights, tokens = maps_of(layer), tokens_of(layer)
    if bool(tokens.query.all() & tokens.key.all()):
        return weights
    both = tokens.query[:, :, None] & tokens.key[:, None, :]
    return weights * both[:, None]


def _largest_squared(
    layer: LayerAttention, weights: Float[Tensor, "image window head query key"]
) -> Float[Tensor, "image head"]:
    """σ₁² of each map: that of the window that has the largest, unless windows share keys."""
    if not _share_keys(layer):

        def applied(of_key: Float[Tensor, "image window head key"]) -> Tensor:
            return (weights * of_key[..., None, :]).sum(-1)

        def transposed(of_query: Float[Tensor, "image window head query"]) -> Tensor:
            return (of_query[..., None, :] @ weights)[..., 0, :]

        ones = weights.new_ones(weights.shape[:-1])
        return _lanczos(lambda vector: transposed(applied(vector)), transposed(ones)).amax(1)

    tokens = layer.layout.key_tokens
    index = torch.from_numpy(tokens.reshape(-1)).to(weights.device)

    def squared(of_key: Float[Tensor, "image head key"]) -> Float[Tensor, "image head key"]:
        of_window = to_windows(of_key[..., None], tokens)[..., 0]
        return gathered((weights * of_window[..., None, :]).sum(-1))

    def gathered(of_query: Float[Tensor, "image window head query"]) -> Tensor:
        flat = (of_query[..., None, :] @ weights)[..., 0, :].transpose(1, 2).flatten(2)
        return flat.new_zeros(*flat.shape[:2], layer.keys.n_tokens).index_add_(2, index, flat)

    return _lanczos(squared, gathered(weights.new_ones(weights.shape[:-1])))


def _share_keys(layer: LayerAttention) -> bool:
    """Whether a key belongs to several windows: then their maps do not stand side by side."""
    keys = layer.layout.key_tokens
    keys = keys[keys < layer.keys.n_tokens - (PADDING in layer.keys.kinds)]
    return len(np.unique(keys)) < len(keys)


def _lanczos(
    squared: Callable[[Tensor], Tensor], start: Float[Tensor, "*lead key"]
) -> Float[Tensor, "*lead"]:
    """The largest eigenvalue of AᵀA, from Aᵀ1, which a map of no negative weight cannot miss."""
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    vector = _normed(start)[0]
    n_steps = min(STEPS, start.shape[-1])
    for step in range(1, n_steps + 1):
        basis.append(vector)
        image = squared(vector)
        diagonal.append((image * vector).sum(-1))
        # Against all, and twice: rounding brings old directions back.
        known = torch.stack(basis, dim=-2)
        for _ in range(2):
            image = image - ((image[..., None, :] * known).sum(-1)[..., None] * known).sum(-2)
        vector, length = _normed(image)
        if step in CHECKS or step == n_steps:
            values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
            bound = length * vectors[..., -1, -1].abs()
            if step == n_steps or bool((bound <= CLOSE * values[..., -1]).all()):
                return values[..., -1]
        beside.append(length)
    raise AssertionError("the last step returns")


def _tridiagonal(diagonal: list[Tensor], beside: list[Tensor]) -> Float[Tensor, "*lead n n"]:
    matrix = torch.diag_embed(torch.stack(diagonal, dim=-1))
    if beside:
        off = torch.diag_embed(torch.stack(beside, dim=-1), offset=1)
        matrix = matrix + off + off.transpose(-2, -1)
    return matrix


def _normed(vector: Float[Tensor, "*lead key"]) -> tuple[Tensor, Tensor]:
    """At length 1, and the length; 0 where nothing is left, so that later steps add nothing."""
    length = vector.norm(dim=-1)
    left = length > 10 * torch.finfo(vector.dtype).eps
    length = torch.where(left, length, 0)
    return torch.where(left[..., None], vector / length[..., None], 0), length
