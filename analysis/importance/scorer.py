"""Importance of some heads on some images, as a race asks for it: what is decided is skipped."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...models.ablations import ablation
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.replay import Replay
from .metrics import ImportanceMetric, importance_metrics
from .scores import head_importance

FIRST = ("js_divergence", "feature_cosine")
"""What importance is where nothing else was asked for: the first that applies. The divergence sees
changes among all classes and is never negative: a race by it takes the fewest images."""


def first_metric(checkpoint: Checkpoint) -> ImportanceMetric:
    """The change of the prediction, or of the features where there are no classes."""
    known = importance_metrics(checkpoint)
    return next(known[name] for name in FIRST if name in known)


def heads_there(checkpoint: Checkpoint) -> Bool[np.ndarray, "layer head"]:
    """Which places of `layer, head` hold a head."""
    return np.arange(max(checkpoint.n_heads)) < np.array(checkpoint.n_heads)[:, None]


def head_scores(
    checkpoint: Checkpoint,
    batch: Float[Tensor, "image channel height width"],
    heads: Bool[np.ndarray, "layer head"],
    metric: ImportanceMetric,
    *,
    mode: str = "zero",
    target: int | None = None,
) -> Float[np.ndarray, "image layer head"]:
    """Scores of the chosen heads, each left out in turn; NaN for the others.

    The target is one class, or each image's own prediction with all heads.

    Raises:
        HeadscopeError: the ablation compares with other images, or the metric needs labels.
    """
    if ablation(mode).needs or metric.needs_labels:
        raise HeadscopeError(
            f"{metric.name!r} by {mode!r} ablation needs more than the images at hand; use zero, "
            "and a metric without labels."
        )
    replay = Replay(checkpoint, batch)
    targets = torch.full((len(batch),), -1, device=replay.output.device)
    if checkpoint.has_classes:
        own = replay.output.argmax(-1)
        targets = own if target is None else torch.full_like(own, target)
    scores = np.full((len(batch), *heads.shape), np.nan)
    for layer, found in head_importance(replay, targets, mode, [metric], heads=heads):
        scores[:, layer, : checkpoint.n_heads[layer]] = found[metric.name].numpy()
    return scores
