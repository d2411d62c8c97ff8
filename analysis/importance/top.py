"""The most important heads of a checkpoint, from no more images than it takes to be sure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.ablations import ablation
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..sources import Image, Source, find_sources
from .evidence import draw_order, uncertainty
from .metrics import ImportanceMetric, importance_metrics
from .race import Bounds, Mask, Race, RaceResult, run_until
from .scorer import first_metric, head_scores, heads_there

OF_PROBABILITIES = ("js_divergence", "kl_divergence", "probability_drop", "flip")
"""Metrics that hardly move for images that the model is sure of: the others go first."""
AT_ONCE = 10
"""Images between two looks."""


@dataclass(frozen=True)
class TopHeads:
    """The heads with the largest mean score over a set of images."""

    result: RaceResult
    """Which they are, and how many images it took."""
    bounds: Bounds
    """Means over all images with intervals that hold for all heads and at any time together."""
    metric: ImportanceMetric
    mode: str
    """The ablation."""


def find_top_heads(
    checkpoint: Checkpoint,
    images: Iterable[Image],
    k: int = 10,
    *,
    metric: str | None = None,
    mode: str = "zero",
    target: int | str | None = None,
    confidence: float = 0.95,
    indifference: float = 0.0,
    seed: int = 0,
    batch_size: int = AT_ONCE,
    progress: Callable[[Race, str], None] | None = None,
    on_unreadable: Callable[[Image, HeadscopeError], None] | None = None,
) -> TopHeads:
    """Ablate heads on more and more images, until the k most important are known.

    Heads that are surely in or out are ablated no more (`race`). Images are drawn at random, for
    metrics of probabilities those first that the model is unsure of (`evidence.uncertainty`), which
    takes one forward pass of each image beforehand.

    Args:
        checkpoint: from `load`.
        images: paths or photographs, at least two.
        k: heads to find.
        metric: what to rank by; None: the Jensen-Shannon divergence, or the cosine of features.
        mode: the ablation; one that needs no other images.
        target: class that the metric is about; None: each image's own prediction.
        confidence: that all k are right, in large samples (`race`).
        indifference: heads that differ by no more may stand for each other; unit of the metric.
        seed: of the order of images.
        batch_size: images between two looks.
        progress: told after each look, with a few words; what it raises ends the search.
        on_unreadable: told of each image that cannot be read; None: the first one ends it.

    Raises:
        HeadscopeError: an image, the target, the metric or the ablation is not there or unfit.
    """
    chosen = _metric(checkpoint, metric)
    kind = ablation(mode)
    if kind.needs:
        raise HeadscopeError(
            f"The ablation {mode!r} compares with other images, which a search that stops early "
            "has not read; take zero, uniform or a cut."
        )
    if kind.converse:
        raise HeadscopeError(
            f"The ablation {mode!r} leaves one head alone, so that the smallest loss counts; a "
            "search is for the largest. Take zero, uniform or a cut."
        )
    kind.check_fits(checkpoint, range(checkpoint.n_layers))
    wanted = None if target is None else checkpoint.class_index(target)
    sources = find_sources(list(images), lambda _: None, on_unreadable)
    n_heads = sum(checkpoint.n_heads)
    if k >= n_heads:
        raise HeadscopeError(
            f"{checkpoint.name} has {n_heads} heads, so there is nothing to search among {k}; ask "
            "for fewer."
        )
    if len(sources) < 2:
        raise HeadscopeError("One image says nothing of others; give at least two to rank heads.")

    weights = None
    if chosen.name in OF_PROBABILITIES:
        logits = [
            checkpoint.run(_batch(checkpoint, sources[start : start + batch_size])).double().cpu()
            for start in range(0, len(sources), batch_size)
        ]
        weights = uncertainty(torch.cat(logits).numpy())
    # Where a metric says nothing about a layer, its heads are not in the race.
    present = heads_there(checkpoint)
    first = head_scores(
        checkpoint, _batch(checkpoint, sources[:1]), present, chosen, mode=mode, target=wanted
    )
    present &= np.isfinite(first[0])
    if k >= present.sum():
        raise HeadscopeError(
            f"{chosen.name} by {mode!r} ablation is defined for {int(present.sum())} heads of "
            f"{checkpoint.name}, so there is nothing to search among {k}; ask for fewer."
        )
    race = Race(
        present,
        draw_order(len(sources), weights, seed),
        k,
        confidence=confidence,
        indifference=indifference,
    )

    def score(index: Int[np.ndarray, " image"], active: Mask) -> Float[np.ndarray, "i l h"]:
        batch = _batch(checkpoint, [sources[i] for i in index.tolist()])
        return head_scores(checkpoint, batch, active, chosen, mode=mode, target=wanted)

    def look(race: Race) -> None:
        if progress is not None:
            known = int((race.inside | race.outside).sum())
            words = f"{known} of {int(race.present.sum())} heads decided"
            progress(race, words)

    result = run_until(score, race, batch=batch_size, on_batch=look)
    return TopHeads(result, race.bounds, chosen, mode)


def _metric(checkpoint: Checkpoint, name: str | None) -> ImportanceMetric:
    if name is None:
        return first_metric(checkpoint)
    there = importance_metrics(checkpoint)
    if name not in there:
        raise HeadscopeError(
            f"There is no importance metric {name!r} for {checkpoint.name}; there are: "
            f"{', '.join(there)}."
        )
    return there[name]


def _batch(checkpoint: Checkpoint, sources: list[Source]) -> Tensor:
    return checkpoint.prepare(
        np.stack([checkpoint.crop(source.photograph()) for source in sources])
    )
