"""Integrated Gradients."""

import numpy as np
import torch

from .base import Answer, Option, Question, explanation
from .perturbing import filling
from .slopes import ROWS, score_of

BASELINES = ("black", "mean", "blur")


@explanation(
    long_name="Integrated Gradients",
    signed=True,
    steps=Option("points on the way from the baseline to the image", least=1, most=10_000),
    baseline=Option(
        "where the way begins: a black image, the mean colour (0 of the model's input), or the "
        "image blurred",
        choices=BASELINES,
    ),
)
def integrated_gradients(question: Question, *, steps: int = 32, baseline: str = "black") -> Answer:
    """What each pixel adds on the straight way from a baseline b to the image x:
    Σ over channels of (x − b) · ∫₀¹ dS/dx (b + α (x − b)) dα, the integral by Gauss-Legendre
    quadrature, by captum. Signed; complete: the values sum to S(x) − S(b), and what they miss of
    it (too few steps) is the residual. A pixel that is as in the baseline gets 0, black in black
    as well. Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (2017),
    equation 1; the residual is their completeness, proposition 1.
    """
    from captum.attr import IntegratedGradients

    n_images = len(question.batch)
    places = torch.arange(n_images, device=question.batch.device)
    score = score_of(question, n_variants=n_images * steps)
    with torch.inference_mode(mode=False), torch.enable_grad():
        pixels = question.batch.clone()
        base = filling(question.checkpoint, pixels, baseline)
        found = [
            # A few images at a time, as captum takes one step of all of them at least.
            IntegratedGradients(score).attribute(
                pixels[part],
                base[part],
                n_steps=steps,
                internal_batch_size=ROWS,
                additional_forward_args=(part,),
            )
            for part in places.split(ROWS)
        ]
    values = torch.cat(found).detach().cpu().double().sum(1).numpy()
    start = question.target.score(question.checkpoint.run(base)).cpu().double().numpy()
    whole = question.target.score(question.output).cpu().double().numpy() - start
    residual = whole - values.sum((1, 2))
    note = (
        f"The values sum to the score less that of the {baseline} baseline; after {steps} steps "
        f"they miss {np.abs(residual).max():.2g} of it at most."
    )
    return Answer(values, residual=residual, where="pixels", notes=(note,))
