"""The score of many variants of each image, a few rows at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import Question

ROWS = 32
"""Variants in one forward pass."""

Variant = Callable[
    [Int[Tensor, " row"], Int[Tensor, " row"]], Float[Tensor, "row channel height width"]
]
"""Makes variants: which image each is of, and which of the image's variants it is."""


def score_variants(
    question: Question, variant: Variant, n_variants: int
) -> Float[Tensor, "image variant"]:
    """The score of `n_variants` of each image, in float64; the question is told how far it is."""
    n_images, device = len(question.batch), question.batch.device
    scores = torch.empty(n_images * n_variants, dtype=torch.float64)
    for rows in torch.arange(len(scores), device=device).split(ROWS):
        # Variant by variant, so that a mask that is shared among images is made once.
        images, variants = rows % n_images, rows // n_images
        output = question.checkpoint.run(variant(images, variants))
        scores[rows.cpu()] = question.target.score(output, images).cpu().double()
        question.tell((int(rows[-1]) + 1) / len(scores))
    return scores.view(n_variants, n_images).T
