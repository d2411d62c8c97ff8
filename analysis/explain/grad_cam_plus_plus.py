"""Activations weighed by their derivatives, each patch's by its own part."""

import torch

from .base import Answer, Question, explanation
from .grad_cam import RELU
from .spots import LAYER, activations_and_slopes, notes_on, spot_of, why_no_spot


@explanation(
    long_name="Grad-CAM++",
    signed=True,
    why_not=why_no_spot,
    layer=LAYER,
    relu=RELU,
)
def grad_cam_plus_plus(
    question: Question, *, layer: int | None = None, relu: bool = False
) -> Answer:
    """Σ_c w_c F_c at each patch with w_c = Σ_p α_cp (∂S/∂F_cp)⁺ and α = g² / (2 g² + Σ_p F_cp g³),
    g = ∂S/∂F at the patch: so a class that is seen several times, or small, counts in each place.
    F is read where Grad-CAM reads it. Chattopadhay et al., "Grad-CAM++" (2018), equations 5 and 19,
    with exp S as the score of the class, whose factor is left out; the paper keeps positive values
    only (`relu`). α was derived for features that are 0 or more (behind a ReLU): with those of a
    transformer its denominator can come near 0, and some weights be very large.
    """
    spot = spot_of(question.checkpoint, layer)
    features, slope = (part.double() for part in activations_and_slopes(question, spot))
    below = 2 * slope**2 + features.sum((2, 3), keepdim=True) * slope**3
    alpha = torch.where(below == 0, 0, slope**2 / torch.where(below == 0, 1, below))
    weights = (alpha * slope.clamp_min(0)).sum((2, 3), keepdim=True)
    values = (weights * features).sum(1)
    return Answer(
        (values.clamp_min(0) if relu else values).cpu().numpy(),
        where=spot.module,
        notes=notes_on(question.checkpoint, spot),
    )
