"""Which heads carry a map, and what is left of it without them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from ...models.ablation import ablate
from ...models.ablations import HeadStatistics
from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from .explain import Explanation, explain
from .target import Classes, Features, target_of


def head_shares(explanation: Explanation) -> Float[np.ndarray, "image layer head"]:
    """Of each image's map, the share that each head has in it.

    Σ_p |m_h,p| / Σ_h Σ_p |m_h,p| over patches p, m_h being the map's part of head h: 0…1, and they
    sum to 1 for an image. In a map of 0 or more (relevance, LeGrad) it is the head's part of the
    sum; in a signed one, of all that speaks for and against. NaN where there is no such head, and
    where a map is 0 throughout.

    Raises:
        HeadscopeError: the method has no parts by head.
    """
    if explanation.heads is None:
        raise HeadscopeError(
            f"{explanation.method.long_name} gives no parts by head here; take relevance, LeGrad "
            "or Grad-CAM with by_head=True."
        )
    parts = np.abs(explanation.heads)
    there = ~np.isnan(parts).all((-1, -2))
    sums = np.where(there, np.nansum(parts, axis=(-1, -2)), np.nan)
    whole = np.nansum(sums, axis=(1, 2), keepdims=True)
    return np.divide(sums, whole, out=np.full_like(sums, np.nan), where=whole > 0)


@dataclass(frozen=True, eq=False)
class WithoutHeads:
    """A map of the whole model, and that of the model without some heads, for the same target."""

    heads: tuple[tuple[int, int], ...]
    """Layer and head of those taken away."""
    mode: str
    before: Explanation
    after: Explanation

    @property
    def difference(self) -> Float[np.ndarray, "image row column"]:
        """Before − after: what is lost with the heads; below 0 where the map gained."""
        return self.before.values - self.after.values

    @property
    def score_lost(self) -> Float[np.ndarray, " image"]:
        """The target's score before − after."""
        return self.before.score - self.after.score


def without_heads(
    checkpoint: Checkpoint,
    images: Images,
    heads: Iterable[tuple[int, int]],
    method: str = "relevance",
    *,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
    target: Classes = None,
    against: Classes = None,
    features: Features | None = None,
    batch_size: int = 16,
    seed: int = 0,
    **options: Any,
) -> WithoutHeads:
    """Explain the same images and target with and without some heads.

    The heads are ablated in every pass that the method makes, backward passes included: an ablated
    head has no derivative by its attention. The target is what it is for the whole model: its
    prediction, its runner-up, its features.

    Args:
        checkpoint: from `load`.
        images: one or several, or a batch ready for the model.
        heads: `(layer, head)` of those to take away.
        method: one of `explanations()`.
        mode: the ablation's name; `ablations` lists them.
        reference: from `hs.reference`, for modes that compare with other images.
        target, against, features, batch_size, seed, options: as of `explain`.

    Raises:
        HeadscopeError: as `explain` and `ablate`.
    """
    taken = tuple(heads)
    batch = checkpoint.batch(images)
    with torch.inference_mode(mode=False):
        output = torch.cat([checkpoint.run(part) for part in batch.split(batch_size)]).clone()
        aim = target_of(checkpoint, output, target, against=against, features=features)

    def map_now() -> Explanation:
        return explain(
            checkpoint, batch, method, target=aim, batch_size=batch_size, seed=seed, **options
        )

    before = map_now()
    with ablate(checkpoint, taken, mode=mode, reference=reference):
        after = map_now()
    return WithoutHeads(taken, mode, before, after)
