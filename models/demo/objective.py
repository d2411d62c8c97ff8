"""What the demo checkpoints are trained for: the scene's label, and per patch what is drawn there.

Labels alone say too little about where to look, so a linear head that is thrown away
after training also tells, from every patch token, the shape and pattern it lies on, whether that is
the target of which class, and on which side of the star it lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, unfold

from .scenes import CLASS_NAMES, KINDS, SIZE, Scene

PATCH = 8
"""Patch size, px."""

GRID = SIZE // PATCH
"""Patches per row and per column."""

IGNORE = -100
"""Target of a patch that is asked nothing."""

_PATTERNS = (*(pattern for pattern, _ in KINDS), "plain")
_SHAPES = (*(shape for _, shape in KINDS), "star")
_ANSWERS = (len(_SHAPES) + 1, len(_PATTERNS) + 1, len(CLASS_NAMES) + 1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Scenes as the network is trained on them."""

    images: Tensor
    """`image, RGB, height, width`, scaled to [-1, 1]."""
    labels: Tensor
    """`image`."""
    answers: Tensor
    """`image, patch, question`: shape, pattern, class and side; `IGNORE` where not asked."""


def batch(scenes: Sequence[Scene]) -> Batch:
    """Scenes stacked, with each patch's answers taken from the masks."""
    pixels = torch.from_numpy(np.stack([scene.image for scene in scenes]))
    return Batch(
        pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1),
        torch.tensor([scene.label for scene in scenes]),
        torch.from_numpy(np.stack([patch_answers(scene) for scene in scenes])),
    )


def patch_answers(scene: Scene) -> NDArray[np.int64]:
    """`patch, question`: what each patch shows; the last answer of a question is "none of them".

    A patch belongs to an object that covers at least 3/10 of it, is background below 1/20, and is
    asked nothing but its side in between. Sides are asked further than half a patch from the star.
    """
    masks = np.stack([thing.mask for thing in scene.objects])
    share = masks.reshape(-1, GRID, PATCH, GRID, PATCH).mean((2, 4)).reshape(len(masks), -1)
    best, most = share.argmax(0), share.max(0)
    table = np.array(
        [
            (
                _SHAPES.index(thing.shape),
                _PATTERNS.index(thing.pattern),
                scene.label if thing.role == "target" else len(CLASS_NAMES),
            )
            for thing in scene.objects
        ]
    )
    answers = np.empty((GRID * GRID, len(_ANSWERS)), np.int64)
    answers[:, :3] = table[best]
    answers[most < 0.3, :3] = IGNORE
    answers[most < 0.05, :3] = [n - 1 for n in _ANSWERS[:3]]
    offset = np.tile((np.arange(GRID) + 0.5) * PATCH - scene.star.centre[0], GRID)
    answers[:, 3] = np.where(np.abs(offset) > PATCH / 2, offset > 0, IGNORE)
    return answers


class KeepPatches(nn.Module):
    """Stands where timm drops patches: passes on the prefix tokens and the chosen patches only."""

    def __init__(self, n_prefix: int) -> None:
        super().__init__()
        self.n_prefix = n_prefix
        self.kept: Tensor | None = None
        """`image, patch`: indices of the patches that go on; None for all."""

    def forward(self, tokens: Tensor) -> Tensor:
        if self.kept is None:
            return tokens
        prefix, patches = tokens[:, : self.n_prefix], tokens[:, self.n_prefix :]
        return torch.cat([prefix, select(patches, self.kept)], 1)


def select(values: Tensor, kept: Tensor) -> Tensor:
    """`image, kept patch, …` out of `image, patch, …`."""
    return values[torch.arange(len(values))[:, None], kept]


class LabelFitting(nn.Module):
    """The supervised loss: the label's cross-entropy plus the mean one of the patch questions."""

    def __init__(self, network: VisionTransformer) -> None:
        super().__init__()
        self.network = network
        self.questions = nn.Linear(network.embed_dim, sum(_ANSWERS))
        self.gate = KeepPatches(network.num_prefix_tokens)
        network.add_module("patch_drop", self.gate)

    def forward(
        self, data: Batch, keep: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss and shares of right answers; `keep` patches are seen, those with objects first."""
        answers, kept = data.answers, None
        if keep < GRID * GRID:
            shown = answers[..., 0] != _ANSWERS[0] - 1
            order = torch.rand(shown.shape, generator=generator) + shown
            kept = order.topk(keep, 1).indices
            answers = select(answers, kept)
        self.gate.kept = kept
        tokens = self.network.forward_features(data.images)
        logits = self.network.forward_head(tokens).float()
        replies = self.questions(tokens[:, self.network.num_prefix_tokens :]).float()
        loss = cross_entropy(logits, data.labels)
        rights = {"label": _right(logits, data.labels)}
        names = ("shape", "pattern", "class", "side")
        for name, reply, answer in zip(
            names, replies.split(_ANSWERS, -1), answers.unbind(-1), strict=True
        ):
            loss = loss + cross_entropy(reply.flatten(0, 1), answer.flatten())
            asked = (answer != IGNORE) & ((answer != reply.shape[-1] - 1) | (name == "side"))
            rights[name] = _right(reply[asked], answer[asked])
        return loss, rights


def _right(logits: Tensor, answers: Tensor) -> float:
    return float((logits.argmax(-1) == answers).float().mean())


class MaskedModelling(nn.Module):
    """A masked autoencoder (He et al., CVPR 2022): hidden patches' pixels from the seen ones.

    The decoder, two narrow blocks, is thrown away afterwards. Pixels are scaled to mean 0 and
    variance 1 per patch, as in the paper.
    """

    def __init__(self, network: VisionTransformer, width: int = 64) -> None:
        super().__init__()
        self.network = network
        self.gate = KeepPatches(network.num_prefix_tokens)
        network.add_module("patch_drop", self.gate)
        self.enter = nn.Linear(network.embed_dim, width)
        self.hidden = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, GRID * GRID, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerEncoder(
            layer, 2, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.pixels = nn.Linear(width, 3 * PATCH * PATCH)

    def forward(
        self, data: Batch, keep: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error over the hidden patches; `keep` random patches are seen."""
        order = torch.rand(len(data.images), GRID * GRID, generator=generator).argsort(1)
        kept, unseen = order[:, :keep], order[:, keep:]
        self.gate.kept = kept
        tokens = self.enter(self.network.forward_features(data.images))
        tokens = tokens[:, self.network.num_prefix_tokens :].float()
        rows = torch.arange(len(order))[:, None]
        canvas = self.hidden.expand(len(order), GRID * GRID, -1).clone()
        canvas[rows, kept] = tokens
        wanted = unfold(data.images, PATCH, stride=PATCH).transpose(1, 2)[rows, unseen]
        variance, mean = torch.var_mean(wanted, -1, keepdim=True)
        wanted = (wanted - mean) / (variance + 1e-4).sqrt()
        drawn = self.pixels(self.decoder(canvas + self.places)[rows, unseen]).float()
        loss = mse_loss(drawn, wanted)
        return loss, {"explained": 1 - loss.item()}
