"""SmoothGrad."""

from typing import cast

import torch

from ...models.checkpoint import Checkpoint
from .base import Answer, Option, Question, explanation
from .slopes import KINDS, ROWS, TIMES_INPUT, pixel_map, score_of


def _why_not(checkpoint: Checkpoint) -> str:
    if checkpoint.device.type in ("cpu", "cuda"):
        return ""
    return f"its noise cannot be seeded on {checkpoint.device.type}; load it on the CPU."


@explanation(
    long_name="SmoothGrad",
    signed=True,
    why_not=_why_not,
    samples=Option("noisy copies of each image", least=1, most=10_000),
    noise=Option(
        "standard deviation of the noise, as a share of the range of the image's values",
        least=0,
        most=10,
    ),
    kind=Option(
        "mean gradient × input with its sign, summed over channels, or the largest |mean gradient| "
        "among the channels, which is never negative",
        choices=KINDS,
    ),
)
def smooth_grad(
    question: Question, *, samples: int = 25, noise: float = 0.15, kind: str = TIMES_INPUT
) -> Answer:
    """The gradient, averaged over noisy copies of the image: Ĝ = 1/n Σ dS/dx (x + N(0, σ²)), with
    σ = noise · (max x − min x) of the image, by captum. What changes from one copy to the next
    cancels. "times-input": Σ over channels of x · Ĝ, signed, with 0 the mean colour; "magnitude":
    max over channels of |Ĝ|. Every image has the same noise, drawn by the seed, so its map does
    not depend on the others of the batch. Smilkov et al., "SmoothGrad: removing noise by adding
    noise" (2017), equation 2 in section 3; they show |Ĝ|.
    """
    from captum.attr import NoiseTunnel, Saliency

    n_images = len(question.batch)
    score = score_of(question, n_variants=n_images * samples)
    tunnel = NoiseTunnel(Saliency(score))
    slope = torch.empty_like(question.batch)
    device = question.batch.device
    with torch.inference_mode(mode=False), torch.enable_grad():
        for image in range(n_images):
            pixels = question.batch[image : image + 1].clone().requires_grad_()
            spread = float(pixels.detach().amax() - pixels.detach().amin())
            # captum draws from the process's generator, which is put back as it was.
            cuda = [device] if device.type == "cuda" else []
            with torch.random.fork_rng(devices=cuda):
                torch.manual_seed(question.seed)
                mean_slope = tunnel.attribute(
                    pixels,
                    nt_type="smoothgrad",
                    nt_samples=samples,
                    nt_samples_batch_size=ROWS,
                    stdevs=noise * spread,
                    additional_forward_args=(torch.tensor([image], device=device),),
                    abs=False,
                )
            slope[image] = cast(torch.Tensor, mean_slope)[0].detach()
    return Answer(pixel_map(slope, question.batch, kind), where="pixels")
