"""What stands out in a map of relevance, as it would in a photograph."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...models.relevance import Rules, relevance_of
from .base import Answer, Option, Question, explanation

_PATCH = 7
"""Side of the patches that are compared, in cells of the working size."""
_STRIDE = 3
"""Cells between the patches that one is compared with: they overlap by half."""
_SCALES = (1.0, 0.8, 0.5, 0.3)
_FOCUS = 0.8
"""Of the largest saliency of a scale: what has more is attended to, and so is what lies near."""


@explanation(
    long_name="Salient relevance",
    signed=False,
    side=Option("Cells along the longer side of the map", least=16),
    neighbours=Option("How many of the most similar patches a patch is compared with", least=1),
)
def salient_relevance(question: Question, *, side: int = 56, neighbours: int = 64) -> Answer:
    """Where the layer-wise relevance of pixels (`attn-lrp`) is unlike that of the image elsewhere:
    context-aware saliency with the channels of relevance as colours. Of a patch i and its K most
    similar patches k at several scales S = 1 − exp(−1/K Σ_k d_colour / (1 + 3 d_position)), mean
    over the scales, times 1 − the distance to what stands out most (S above 0.8 of its largest).
    0…1, without sign: a spot of relevance stands out, and so does one that speaks against the
    target. Li et al. 2017, "Beyond saliency"; saliency of Goferman, Zelnik-Manor and Tal (2010),
    sections 3.1 to 3.3. We work on maps of 56 cells on the longer side where they have 250 (their
    patches are 7 × 7 cells, too), and measure colour in the largest distance of the image.
    """
    found = relevance_of(question.checkpoint, question.batch, question.target.score, Rules())
    height, width = found.pixels.shape[2:]
    shrink = min(1.0, side / max(height, width))
    size = (max(_PATCH, round(height * shrink)), max(_PATCH, round(width * shrink)))
    # Twice the precision: distances of like patches are differences of large sums.
    colours = functional.adaptive_avg_pool2d(found.pixels.double(), size)
    stands_out = [context_aware_saliency(image[None], neighbours) for image in colours]
    return Answer(torch.cat(stands_out).cpu().numpy(), where="pixels")


def context_aware_saliency(
    colours: Float[Tensor, "image channel row column"], neighbours: int
) -> Float[Tensor, "image row column"]:
    """How unlike its most similar patches each patch is, 0…1, whatever the scale of the colours."""
    size = (colours.shape[2], colours.shape[3])
    maps = []
    for scale in _SCALES:
        at = _resized(colours, scale)
        if at is None:
            continue
        others = [_resized(colours, scale * part) for part in (1.0, 0.5, 0.25)]
        saliency = _one_scale(at, [other for other in others if other is not None], neighbours)
        near = 1 - _distance_to_foci(saliency)
        maps.append(
            functional.interpolate(
                (saliency * near)[:, None], size, mode="bilinear", align_corners=False
            )[:, 0]
        )
    return torch.stack(maps).mean(0)


def _resized(colours: Tensor, scale: float) -> Tensor | None:
    """Averages over larger cells; None where no patch is left."""
    size = (round(colours.shape[2] * scale), round(colours.shape[3] * scale))
    return functional.adaptive_avg_pool2d(colours, size) if min(size) >= _PATCH else None


def _one_scale(
    at: Float[Tensor, "image channel row column"], others: list[Tensor], neighbours: int
) -> Float[Tensor, "image row column"]:
    margin = _PATCH // 2
    padded = functional.pad(at, (margin,) * 4, mode="replicate")
    patches = functional.unfold(padded, _PATCH).transpose(1, 2)
    places = _places(at, range(at.shape[2]), range(at.shape[3]))
    candidates, candidate_places = [], []
    for other in others:
        candidates.append(functional.unfold(other, _PATCH, stride=_STRIDE).transpose(1, 2))
        starts = [range(margin, n - margin, _STRIDE) for n in other.shape[2:]]
        candidate_places.append(_places(other, *starts))
    colour = torch.cdist(patches, torch.cat(candidates, dim=1))
    largest = colour.amax((1, 2), keepdim=True)
    # Of equal distances everywhere, 0 included, none stands out.
    colour = torch.where(largest > 0, colour / largest, 0)
    unlike = colour / (1 + 3 * torch.cdist(places, torch.cat(candidate_places)))
    nearest = unlike.topk(min(neighbours, unlike.shape[2]), dim=2, largest=False).values
    return (1 - torch.exp(-nearest.mean(2))).unflatten(1, at.shape[2:])


def _places(at: Tensor, rows: range, columns: range) -> Float[Tensor, "place 2"]:
    """Centres of cells, in the longer side of the image."""
    longer = max(at.shape[2:])
    axes = [torch.tensor([*axis], dtype=at.dtype, device=at.device) for axis in (rows, columns)]
    return (torch.cartesian_prod(*axes) + 0.5) / longer


def _distance_to_foci(
    saliency: Float[Tensor, "image row column"],
) -> Float[Tensor, "image row column"]:
    """From each cell to the nearest that stands out, in the longer side of the image."""
    places = _places(saliency[:, None], range(saliency.shape[1]), range(saliency.shape[2]))
    distances = []
    for image in saliency.flatten(1):
        foci = places[image >= _FOCUS * image.max()]
        distances.append(torch.cdist(places, foci).amin(1))
    return torch.stack(distances).reshape(saliency.shape).clamp(max=1)
