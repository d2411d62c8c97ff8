"""A game with a known answer: on `known`, the logit of class 0 is linear in the patches."""

import numpy as np
import torch

import headscope as hs
from headscope.analysis.explain.base import Answer, Method, Question
from headscope.analysis.explain.target import Target

GRID, PATCH_PX, SINK_PATCH = 4, 8, 5


def target(batch: torch.Tensor, index: int = 0) -> Target:
    return Target("logit of a class", classes=torch.full((len(batch),), index))


def noise(n_images: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (n_images, 3, GRID * PATCH_PX, GRID * PATCH_PX)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def contributions(batch: torch.Tensor) -> np.ndarray:
    """What each patch adds to the logit of class 0; covered, its content is 0.

    Head 2 attends to all 17 tokens alike and counts twice; head 3 to the sink, and counts −½.
    """
    content = batch.reshape(-1, 3, GRID, PATCH_PX, GRID, PATCH_PX).mean((1, 3, 5))
    weights = torch.full((GRID * GRID,), 2 / 17, dtype=torch.float64)
    weights[SINK_PATCH] -= 0.5
    return (content * weights.view(GRID, GRID)).numpy()


def gradient_times_input(
    checkpoint: hs.Checkpoint, batch: torch.Tensor, images: np.ndarray
) -> np.ndarray:
    """A plain method, written here: derivative of the logit of class 0, times the pixel."""
    batch = batch.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = checkpoint.readout(checkpoint.model(batch))[:, 0].sum()
        (slope,) = torch.autograd.grad(score, batch)
    return (slope * batch).sum(1).detach().double().numpy()


def tiny(name: str, *, slow: bool = False, why: str = "") -> Method:
    """A method for these tests alone; nothing of it is left in the registry."""

    def compute(question: Question) -> Answer:
        question.tell(0.5)
        drawn = np.random.default_rng(question.seed).random((len(question.batch), 4, 4))
        return Answer(drawn)

    return Method(
        name,
        f"Tiny {name}",
        "",
        compute,
        {},
        signed=True,
        of_target=True,
        slow=slow,
        why_not=lambda _: why,
    )
