"""How many different rows a head's map really has."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...models.capture import LayerAttention
from ...models.layers import dense_maps, to_windows
from .base import attention_metric
from .patches import maps_of, once_per_layer
from .queries import tokens_of

STEPS = 24
"""Of Lanczos at most: attention has one large singular value, and few steps find it."""
CLOSE = 1e-4
"""Bound of the relative error of σ₁² at which it stops; the error itself is about its square."""


@attention_metric(long_name="Stable rank of the map", units="rank")
def stable_rank(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """‖A‖²_F / σ₁², with σ₁ the largest singular value of the map between all tokens. 1: all rows
    are multiples of one (a uniform head, a sink, attention collapse); the number of tokens: every
    query looks at a key of its own. Between windows there is no attention: the whole map is theirs
    side by side. Rudelson & Vershynin (2007); σ₁ by Lanczos' iteration, to about 1e-6. Padding is
    left out.
    """
    weights = _between_tokens(layer)
    return weights.square().sum((1, 3, 4)) / _largest_squared(layer, weights)


@attention_metric(long_name="Effective rank of the map", units="rank", costly=True)
def effective_rank(layer: LayerAttention) -> Float[Tensor, "image head"]:
    """exp(−Σₖ pₖ ln pₖ) with pₖ = σₖ / Σ σ, σ the singular values of the map between all tokens. 1:
    one direction only; the number of tokens: all as strong. It counts weak directions that the
    stable rank leaves out. Roy & Vetterli (2007), "The effective rank". Padding is left out. It
    takes all singular values, about as long as a forward pass: ask for it by name.
    """
    weights = _between_tokens(layer)
    keys = layer.layout.key_tokens
    if len(set(keys.reshape(-1).tolist())) < keys.size:  # windows share keys: not side by side
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
    """σ₁² of each map: Lanczos on AᵀA, from Aᵀ1, which a map of no negative weight cannot miss."""
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    vector = _normed(_transposed(layer, weights, weights.new_ones(weights.shape[:-1])))[0]
    largest = vector.new_zeros(vector.shape[:2])
    for step in range(min(STEPS, layer.keys.n_tokens)):
        basis.append(vector)
        image = _transposed(layer, weights, _applied(layer, weights, vector))
        diagonal.append((image * vector).sum(-1))
        # Against all, and twice: rounding brings old directions back.
        known = torch.stack(basis, dim=-2)
        for _ in range(2):
            image = image - ((image[..., None, :] * known).sum(-1)[..., None] * known).sum(-2)
        vector, length = _normed(image)
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, beside))
        largest = values[..., -1]
        beside.append(length)
        bound = length * vectors[..., -1, -1].abs()
        if step and bool((bound <= CLOSE * largest).all()):
            break
    return largest


def _tridiagonal(diagonal: list[Tensor], beside: list[Tensor]) -> Float[Tensor, "*lead n n"]:
    matrix = torch.diag_embed(torch.stack(diagonal, dim=-1))
    if beside:
        off = torch.diag_embed(torch.stack(beside, dim=-1), offset=1)
        matrix = matrix + off + off.transpose(-2, -1)
    return matrix


def _normed(vector: Tensor) -> tuple[Tensor, Tensor]:
    """At length 1, and the length; 0 where nothing is left, so that later steps add nothing."""
    length = vector.norm(dim=-1)
    left = length > 10 * torch.finfo(vector.dtype).eps
    length = torch.where(left, length, 0)
    return torch.where(left[..., None], vector / length[..., None], 0), length


def _applied(
    layer: LayerAttention, weights: Tensor, of_key: Float[Tensor, "image head key"]
) -> Float[Tensor, "image window head query"]:
    of_window = to_windows(of_key[..., None], layer.layout.key_tokens)[..., 0]
    return (weights * of_window[..., None, :]).sum(-1)


def _transposed(
    layer: LayerAttention, weights: Tensor, of_query: Float[Tensor, "image window head query"]
) -> Float[Tensor, "image head key"]:
    of_window = (of_query[..., None, :] @ weights)[..., 0, :]
    tokens = layer.layout.key_tokens
    if len(tokens) == 1 and layer.layout.is_dense:
        return of_window[:, 0]
    flat = of_window.transpose(1, 2).flatten(2)
    index = torch.from_numpy(tokens.reshape(-1)).to(flat.device)
    return flat.new_zeros(*flat.shape[:2], layer.keys.n_tokens).index_add_(2, index, flat)
