"""The relevance of pixels and patches for a score: one forward and one backward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..checkpoint import Checkpoint
from ..interception import without_fast_path
from ..layout import TokenLayout
from .ledger import BIASES, Ledger
from .rules import Rules, propagate

Score = Callable[[Float[Tensor, "image output"]], Float[Tensor, " image"]]
"""A differentiable number for each image from the model's output."""


@dataclass(frozen=True, eq=False)
class Relevance:
    """What each pixel is owed of its image's score, and what is owed to no pixel."""

    output: Float[Tensor, "image output"]
    score: Float[Tensor, " image"]
    pixels: Float[Tensor, "image channel row column"]
    """Of the normalised pixels: one of the mean colour is 0, and is owed nothing."""
    apart: Mapping[str, Float[Tensor, " image"]]
    """By name: biases, positions, prefix tokens, softmax. With all pixels they sum to the score."""
    embedding: Float[Tensor, "image row column"] | None
    """Of what the one convolution that reads the pixels makes of them, its bias included; None
    where several do, or a linear map."""
    embedded_by: str
    """Name of its weights."""
    without_rule: tuple[str, ...]
    """Functions of the model that no rule is about: their plain derivative was taken."""

    def gap(self) -> tuple[Float[Tensor, " image"], Float[Tensor, " image"]]:
        """Score − all that is owed: 0 up to rounding; and the size of what is summed."""
        parts = torch.stack(
            [
                self.pixels.sum((1, 2, 3), dtype=torch.float64),
                *self.apart.values(),
                -self.score.double(),
            ]
        )
        return -parts.sum(0), parts.abs().sum(0)

    def patches(
        self, layout: TokenLayout
    ) -> tuple[Float[Tensor, "image row column"], dict[str, Tensor], str]:
        """By patch: the map, what is owed to none of them, and where it was read.

        At the embedding, if that has the grid of `layout`; else the sum over the patch's pixels.
        """
        if self.embedding is not None and tuple(self.embedding.shape[1:]) == layout.grid:
            moved = self.embedding.sum((1, 2)) - self.pixels.sum((1, 2, 3), dtype=torch.float64)
            apart = dict(self.apart)
            apart[BIASES] = apart.get(BIASES, 0) - moved
            return self.embedding, apart, self.embedded_by
        by_pixel = self.pixels.sum(1, dtype=torch.float64)
        rows, columns = (
            _cells(n_px, n, self.pixels.device)
            for n_px, n in zip(by_pixel.shape[1:], layout.grid, strict=True)
        )
        values = by_pixel.new_zeros(len(by_pixel), layout.grid[0], by_pixel.shape[2])
        values.index_add_(1, rows, by_pixel)
        patches = by_pixel.new_zeros(len(by_pixel), *layout.grid)
        return patches.index_add_(2, columns, values), dict(self.apart), "pixels"


def relevance_of(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    score: Score,
    rules: Rules | None = None,
) -> Relevance:
    """Relevance by the rules, of any score of the model's output.

    Weights of the model are given no gradient. The output is the model's own up to rounding.

    Raises:
        HeadscopeError: a batch that is no input of the checkpoint.
    """
    checkpoint.check_batch(batch)
    rules = rules or Rules()
    found = _one_pass(checkpoint, batch, score, rules)
    gap, size = found.gap()
    # Ten times what rounding was seen to lose in any family: 4e-6 of what is owed in float32.
    limit = 0.1 * torch.finfo(batch.dtype).eps ** 0.5
    if bool((gap.abs() > limit * size).any()) and bool(gap.sum().abs() <= limit * size.sum()):
        # Images lie along another axis than we thought: told one from another by their own passes.
        return _one_pass(checkpoint, batch, score, rules, by_image=True)
    return found


def _one_pass(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel row column"],
    score: Score,
    rules: Rules,
    *,
    by_image: bool = False,
) -> Relevance:
    """One forward pass, and one backward pass for all images or for each."""
    ledger = Ledger(len(batch))
    # A caller may be in inference mode, whose tensors cannot take part in a backward pass.
    with (
        checkpoint.lock,
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        without_fast_path(),
    ):
        pixels = batch.detach().clone().requires_grad_()
        given = pixels * 1  # models may write into their input
        with propagate(rules, ledger, of_pixels=given) as mode:
            output = checkpoint.readout(checkpoint.model(given))
            scores = score(output)
        embedding = mode.embedding
        at = [pixels] if embedding is None else [pixels, embedding[1]]
        slopes = [torch.zeros_like(of) for of in at]
        for image in range(len(batch)) if by_image else (None,):
            ledger.only = image
            of = scores.sum() if image is None else scores[image]
            found = torch.autograd.grad(of, at, allow_unused=True, retain_graph=by_image)
            for slope, more in zip(slopes, found, strict=True):
                if more is not None:
                    slope += more
    owed = [slope * of.detach() for slope, of in zip(slopes, at, strict=True)]
    names = {id(weight): name for name, weight in checkpoint.model.named_parameters()}
    return Relevance(
        output.detach(),
        scores.detach(),
        owed[0],
        {name: amount for name, amount in ledger.accounts.items() if bool((amount != 0).any())},
        None if embedding is None else owed[1].sum(1, dtype=torch.float64),
        "" if embedding is None else names.get(id(embedding[0]), "").removesuffix(".weight"),
        tuple(mode.without_rule),
    )


def _cells(n_px: int, n_cells: int, device: torch.device) -> Int[Tensor, " pixel"]:
    """The cell of each pixel along one axis."""
    centres = torch.arange(n_px, dtype=torch.float64, device=device) + 0.5
    return (centres * n_cells / n_px).long().clamp(max=n_cells - 1)
