"""TokenCut: the object that the features show, without a label."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.layers import Layer
from ...models.layout import TokenLayout
from .base import Answer, Option, Question, explanation

KEYS, QUERIES, VALUES, TOKENS = "keys", "queries", "values", "tokens"

_AT_ONCE = 2**24
"""Numbers in the graphs of a few images: 128 MiB."""

_GAP = 1e-9
"""Below this, two eigenvalues (of 0…2) are the same to float64 at some hundred patches."""


def _has_grid(tokens: TokenLayout) -> bool:
    return min(tokens.grid) > 0 and tokens.n_patches > 2 and tokens.scattered is None


def _last(checkpoint: Checkpoint) -> Layer | None:
    """The last layer in which patches attend."""
    fit = [layer for layer in checkpoint.layers if _has_grid(layer.layout.queries)]
    return fit[-1] if fit else None


def _why_not(checkpoint: Checkpoint) -> str:
    return "" if _last(checkpoint) else "in none of its layers do patches on a grid attend."


@explanation(
    long_name="TokenCut",
    signed=True,
    of_target=False,
    why_not=_why_not,
    compare=Option(
        "what of each patch is compared: its key, query or value (heads joined), or the output of "
        "the layer's block",
        choices=(KEYS, QUERIES, VALUES, TOKENS),
    ),
    layer=Option("index of the layer; none: the last in which patches attend", least=0),
    tau=Option("cosine from which two patches are joined", least=-1, most=1),
    epsilon=Option("weight of an edge between patches that are not", least=1e-12, most=0.1),
)
def token_cut(
    question: Question,
    *,
    compare: str = KEYS,
    layer: int | None = None,
    tau: float = 0.2,
    epsilon: float = 1e-5,
) -> Answer:
    """The normalised cut of the image's patches in two: the second smallest eigenvector y of
    (D − E) y = λ D y, where E is 1 between patches whose features have a cosine of at least τ,
    else ε, and D its row sums. Patches above the mean of y are one side; the side of the largest
    |y| is the foreground. Signed: y less its mean, positive in the foreground, with yᵀ D y = 1; the
    size means how clearly a patch is on its side. The same whatever the target. `object_mask` gives
    the largest connected part of the foreground. Wang et al., "Self-Supervised Transformers for
    Unsupervised Object Discovery using Normalized Cut" (2022), equations 2 to 5. Keys are as the
    attention has them, rotated where the model rotates them (RoPE); where it forms its weights step
    by step they are not seen, and the block's output is taken.
    """
    found = patch_features(question.checkpoint, question.batch, compare, layer)
    rows, columns = found.grid
    n_images, n = len(question.batch), rows * columns
    at_once = max(1, _AT_ONCE // n**2)
    vectors, undetermined = [], 0
    for start in range(0, n_images, at_once):
        part = found.values[start : start + at_once].cpu().double()
        vector, tied = second_eigenvector(part, tau, epsilon)
        vectors.append(vector)
        undetermined += int(tied.sum())
        question.tell(min(n_images, start + at_once) / n_images)
    values = oriented(torch.cat(vectors).numpy()).reshape(n_images, rows, columns)
    notes = list(found.notes)
    if undetermined:
        notes.append(
            "For some images the graph has no single best cut (patches all alike, or several "
            f"equal parts): their maps are arbitrary. Another tau than {tau:g} may tell parts."
        )
    return Answer(values, where=found.where, notes=tuple(notes))


def object_mask(
    values: Float[np.ndarray, "image row column"],
) -> Bool[np.ndarray, "image row column"]:
    """The largest connected part of each image's foreground (where the map is positive), patches
    that share an edge being connected; of equal parts the first from the upper left."""
    from scipy import ndimage

    masks = np.zeros(values.shape, bool)
    for image, map_of in enumerate(values):
        labels, n = cast(tuple[np.ndarray, int], ndimage.label(map_of > 0))
        if n:
            sizes = np.bincount(labels.ravel())[1:]
            masks[image] = labels == 1 + int(sizes.argmax())
    return masks


def second_eigenvector(
    features: Float[Tensor, "image patch channel"], tau: float, epsilon: float
) -> tuple[Float[Tensor, "image patch"], Bool[Tensor, " image"]]:
    """y of the second smallest λ, with yᵀ D y = 1, and whether the third λ is the same."""
    unit = torch.nn.functional.normalize(features, dim=-1)
    alike = unit @ unit.transpose(1, 2)
    joined = (alike >= tau).to(features)
    edges = joined + epsilon * (1 - joined)
    root = edges.sum(-1).sqrt()  # of D
    # With z = √D y the problem is that of a symmetric matrix: I − E / √(D Dᵀ).
    eigenvalues, eigenvectors = torch.linalg.eigh(
        torch.eye(edges.shape[-1]).to(edges) - edges / (root[:, :, None] * root[:, None])
    )
    tied = eigenvalues[:, 2] - eigenvalues[:, 1] < _GAP
    return eigenvectors[:, :, 1] / root, tied


def oriented(vectors: Float[np.ndarray, "image patch"]) -> Float[np.ndarray, "image patch"]:
    """Vectors less their mean, turned so that the side of the largest |value| is positive."""
    largest = np.abs(vectors).argmax(1)[:, None]
    centred = vectors - vectors.mean(1, keepdims=True)
    return centred * np.where(np.take_along_axis(centred, largest, 1) < 0, -1, 1)


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """A vector for each patch of each image."""

    values: Float[Tensor, "image patch channel"]
    grid: tuple[int, int]
    where: str
    notes: tuple[str, ...] = ()


def patch_features(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    features: str = KEYS,
    layer: int | None = None,
) -> PatchFeatures:
    """The keys, queries or values of a layer's patches, heads joined, or its block's output.

    Raises:
        HeadscopeError: there is no such layer, or its patches lie on no grid.
    """
    of = _layer(checkpoint, layer)
    seen: list[LayerAttention] = []
    blocks: list[Tensor] = []

    def on_layer(attention: LayerAttention) -> None:
        if attention.layer == of.index:
            seen.append(attention)

    def on_block(_module: nn.Module, _args: object, output: object) -> None:
        blocks.append(next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)))

    with checkpoint.lock:
        handle = checkpoint.model.get_submodule(of.block).register_forward_hook(on_block)
        try:
            watch(checkpoint, batch, on_layer)
        finally:
            handle.remove()
    tokens, by_head = _of_heads(seen[0], features)
    if by_head is not None and _has_grid(tokens):
        values = by_head.transpose(1, 2).flatten(2)[:, _patches(tokens, by_head)]
        return PatchFeatures(values, tokens.grid, f"{features} of {of.module}")
    if of.rows is None or not _has_grid(of.rows.layout):
        raise HeadscopeError(
            f"The {features} of layer {of.index} of {checkpoint.name} cannot be told patch by "
            "patch; choose another layer, or other features."
        )
    run = of.sites[0].call // of.n_calls  # a module may run several times in a pass
    output = of.rows.take(blocks[min(run, len(blocks) - 1)])
    notes = ()
    if features != TOKENS:
        notes = (f"The {features} of {of.module} are not seen; its block's output was taken.",)
    tokens = of.rows.layout
    values = output[:, _patches(tokens, output)]
    return PatchFeatures(values, tokens.grid, f"output of {of.block}", notes)


def _layer(checkpoint: Checkpoint, layer: int | None) -> Layer:
    last = _last(checkpoint)
    if layer is None and last is not None:
        return last
    if layer is None or not 0 <= layer < checkpoint.n_layers:
        raise HeadscopeError(
            f"There is no layer {layer} in {checkpoint.name} whose patches could be told apart; "
            f"its layers are 0 to {checkpoint.n_layers - 1}."
        )
    of = checkpoint.layers[layer]
    if not _has_grid(of.layout.queries):
        raise HeadscopeError(
            f"In layer {layer} of {checkpoint.name} ({of.kind}) no patches on a grid attend; "
            "choose another one."
        )
    return of


def _of_heads(attention: LayerAttention, features: str) -> tuple[TokenLayout, Tensor | None]:
    """Whose features they are, and the features as `image head token channel`, where there are."""
    if features == TOKENS:
        return attention.queries, None
    if features == VALUES:
        return attention.keys, attention.value
    operands = attention.operands
    tokens = attention.queries if features == QUERIES else attention.keys
    return tokens, None if operands is None else operands[features == KEYS]


def _patches(tokens: TokenLayout, like: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(tokens.is_patch)).to(like.device)
