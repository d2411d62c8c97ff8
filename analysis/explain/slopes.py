"""Derivatives of the score by pixels, and the maps that are made of them."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.interception import without_fast_path
from .base import Question

ROWS = 16
"""Images in one forward and backward pass: what memory is bounded by."""

TIMES_INPUT, MAGNITUDE = "times-input", "magnitude"
KINDS = (TIMES_INPUT, MAGNITUDE)

Score = Callable[
    [Float[Tensor, "variant channel row column"], Int[Tensor, " variant"]],
    Float[Tensor, " variant"],
]
"""The score of variants of the images of a question; which image each is one of comes second."""


def score_of(question: Question, *, n_variants: int = 0) -> Score:
    """The question's score as a differentiable function of pixels.

    Holds the checkpoint's lock for the forward pass. With `n_variants`, how many will be asked for
    in all, it tells the question how far it is.
    """
    checkpoint, done = question.checkpoint, 0

    def score(variants: Tensor, images: Tensor) -> Tensor:
        nonlocal done
        with checkpoint.lock, without_fast_path():
            output = checkpoint.readout(checkpoint.model(variants))
        done += len(variants)
        if n_variants:
            question.tell(min(1.0, done / n_variants))
        return question.target.score(output, images)

    return score


def slopes(question: Question) -> Float[Tensor, "image channel row column"]:
    """The derivative of each image's score by its own pixels."""
    score = score_of(question, n_variants=len(question.batch))
    found = []
    places = torch.arange(len(question.batch), device=question.batch.device)
    with torch.inference_mode(mode=False), torch.enable_grad():
        for part in places.split(ROWS):
            pixels = question.batch[part].clone().requires_grad_()
            found.append(torch.autograd.grad(score(pixels, part).sum(), pixels)[0])
    return torch.cat(found)


def pixel_map(
    slope: Float[Tensor, "image channel row column"],
    pixels: Float[Tensor, "image channel row column"],
    kind: str,
) -> Float[np.ndarray, "image row column"]:
    """Σ over channels of slope · pixel, or the largest |slope| among the channels."""
    slope = slope.detach().cpu().double()
    if kind == MAGNITUDE:
        return slope.abs().amax(1).numpy()
    return (slope * pixels.detach().cpu().double()).sum(1).numpy()
