"""How many of its patches a decision needs: dropped in the order of any map.

After Pan et al., "IA-RED²: Interpretability-Aware Redundancy Reduction for Vision Transformers"
(2021), who train a policy to drop patches stage by stage. Here nothing is trained: the order is
that of a map that is given, and patches go before the first block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..models.ablations.reference import digests_of
from ..models.checkpoint import Checkpoint, Images
from ..models.dropping import keeping, why_not_dropped
from ..models.errors import HeadscopeError
from .explain.explain import Explanation
from .explain.perturbing import (
    CellGrid,
    cell_grid,
    cell_scores,
    cover,
    filling,
    first_cells,
    patch_grid,
    ranking,
)
from .explain.target import Classes, Features, Target, target_of
from .importance.intervals import Interval, t_interval

ORDERS = ("map", "random", "inverse")
"""What is kept longest: what the map says most of, patches by lot, what it says least of."""

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)

How = Literal["dropped", "covered"]
Curve = Literal["score", "probability", "seconds", "same_decision"]


@dataclass(frozen=True, eq=False)
class Redundancy:
    """What becomes of each image's decision as patches go, image by image."""

    how: How
    """Dropped: the tokens do not run at all. Covered: their pixels are, and all tokens run."""
    why: str
    """Why patches were covered and not dropped; empty where they were dropped or it was asked."""
    grid: CellGrid
    """What is dropped: patches, or cells of them."""
    target: str
    """What the score is, in words."""
    shares: Float[np.ndarray, " share"]
    """Of the cells, as asked for."""
    kept: Int[np.ndarray, " share"]
    """Cells that were kept, at least one."""
    score: Float[np.ndarray, "image order share"]
    """Of the target; orders are `ORDERS`."""
    probability: Float[np.ndarray, "image order share"] | None
    """Of the target's class; None where it is no class."""
    same_decision: Bool[np.ndarray, "image order share"] | None
    """Whether the likeliest class is that of the whole image; None for a model without classes."""
    seconds: Float[np.ndarray, "image order share"]
    """Wall time of an image's pass: that of its batch, divided by the images in it."""
    smallest: Int[np.ndarray, "image order"] | None
    """Cells of the smallest set that was found to keep the decision; None without classes. Sets are
    the first k of the order, so no other choice of cells was tried. Searched between the least of
    `kept` with which the decision held and the next below, by halving: with one cell less it is
    lost (or none are left). Where a decision comes and goes, a smaller k may hold it too."""
    smallest_cells: Bool[np.ndarray, "image order row column"] | None
    """The set itself."""

    def mean(self, of: Curve, confidence: float = 0.95) -> Interval:
        """The mean over images of one of the curves, `order share`, with Student's interval."""
        values = {
            "score": self.score,
            "probability": self.probability,
            "seconds": self.seconds,
            "same_decision": self.same_decision,
        }[of]
        if values is None:
            raise HeadscopeError(f"There is no {of} of a target that is no class; choose score.")
        return t_interval(values.astype(np.float64), confidence)


def redundancy(
    checkpoint: Checkpoint,
    images: Images,
    given: Explanation | Float[np.ndarray, "image row column"],
    *,
    target: Classes = None,
    against: Classes = None,
    features: Features | None = None,
    shares: tuple[float, ...] = SHARES,
    how: How | None = None,
    fill: str = "mean",
    batch_size: int = 16,
    repeats: int = 1,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Redundancy:
    """Drop patches in the order of a map, by lot, and against it: score, decision and time.

    Args:
        checkpoint: from `load`.
        images: one or several, or a batch ready for the model.
        given: an explanation of these images, or any map of each; brought to cells by area means.
        target: class by index or label, or one for each image; None: those of the explanation, or
            each image's prediction.
        against: a class to tell it from, for the score.
        features: in the place of classes, a vector that the output is to be like.
        shares: of the patches that are kept, each above 0 and at most 1.
        how: `"dropped"`, `"covered"`; None: dropped where the model can.
        fill: what covers (`perturbing.filling`).
        batch_size: images in one pass.
        repeats: passes of each, of which the quickest gives the time.
        seed: of the random order, which each image draws by what is in it, and of ties.
        progress: told the share that is done; whatever it raises stops the work.

    Raises:
        HeadscopeError: there are other maps than images, or patches cannot be dropped as asked.
    """
    _check(shares, how, repeats)
    batch = checkpoint.batch(images)
    values = given.values if isinstance(given, Explanation) else np.asarray(given)
    if values.ndim != 3 or len(values) != len(batch):
        raise HeadscopeError(
            f"There are {len(batch)} images and a map of shape {values.shape}; expected one map "
            "(image, row, column) for each."
        )
    reason = "" if how == "covered" else why_not_dropped(checkpoint)
    if reason and how == "dropped":
        raise HeadscopeError(
            f'Patches of {checkpoint.name} cannot be dropped: {reason} Choose "covered".'
        )
    drops = how != "covered" and not reason
    grid = patch_grid(checkpoint) if drops else cell_grid(checkpoint)
    if drops and grid.shape != checkpoint.layout.grid:
        raise AssertionError(f"{grid.shape} cells for {checkpoint.layout.grid} patches")
    output = torch.cat([checkpoint.run(part) for part in batch.split(batch_size)])
    if target is None and features is None and isinstance(given, Explanation):
        target = None if given.classes is None else torch.from_numpy(given.classes)
    aim = target_of(checkpoint, output, target, against=against, features=features)
    filled = None if drops else filling(checkpoint, batch, fill, seed=seed)
    passes = _Passes(checkpoint, batch, filled, grid, aim, batch_size, repeats)
    orders = _orders(cell_scores(values, grid), digests_of(batch), seed)
    kept = np.maximum(1, np.round(np.array(shares) * grid.n_cells)).astype(int)

    decided = output.argmax(-1).cpu().numpy() if checkpoint.has_classes else None
    shape = (len(batch), len(ORDERS), len(kept))
    score, seconds = np.empty(shape), np.empty(shape)
    probability = None if aim.classes is None else np.empty(shape)
    same = None if decided is None else np.empty(shape, bool)
    steps = np.ndindex(len(ORDERS), len(kept))
    for step, (order, place) in enumerate(steps):
        ran = passes.run(orders[order], np.full(len(batch), kept[place]))
        where = (slice(None), order, place)
        score[where], seconds[where] = ran.score, ran.seconds
        if probability is not None:
            probability[where] = ran.probability
        if same is not None and decided is not None:
            same[where] = ran.decision == decided
        if progress is not None:  # the search takes about as much again
            progress((step + 1) / (len(ORDERS) * len(kept)) * (1 if decided is None else 0.6))
    smallest = cells = None
    if same is not None and decided is not None:
        found = []
        for order, ordered in enumerate(orders):
            found.append(_smallest(passes, ordered, decided, kept, same[:, order]))
            if progress is not None:
                progress(0.6 + 0.4 * (order + 1) / len(ORDERS))
        smallest = np.stack(found, 1)
        cells = np.stack(
            [first_cells(orders[i], smallest[:, i], grid).numpy() for i in range(len(ORDERS))], 1
        )
    return Redundancy(
        how="dropped" if drops else "covered",
        why=reason,
        grid=grid,
        target=aim.words,
        shares=np.array(shares),
        kept=kept,
        score=score,
        probability=probability,
        same_decision=same,
        seconds=seconds,
        smallest=smallest,
        smallest_cells=cells,
    )


@dataclass(frozen=True, eq=False)
class _Ran:
    score: Float[np.ndarray, " image"]
    probability: Float[np.ndarray, " image"] | None
    decision: Int[np.ndarray, " image"]
    seconds: Float[np.ndarray, " image"]


@dataclass(frozen=True, eq=False)
class _Passes:
    """Runs images with some of their cells."""

    checkpoint: Checkpoint
    batch: Tensor
    filled: Tensor | None
    """What covers; None: cells are dropped."""
    grid: CellGrid
    target: Target
    batch_size: int
    repeats: int

    def run(
        self,
        order: Int[np.ndarray, "image cell"],
        kept: Int[np.ndarray, " image"],
        images: Int[np.ndarray, " some"] | None = None,
    ) -> _Ran:
        """The first `kept` cells of each image's order; of some of the images, where given."""
        which = np.arange(len(self.batch)) if images is None else images
        output: list[Tensor] = []
        seconds = np.empty(len(which))
        # Images that keep as many run together: rows of a batch have one length.
        sizes = kept[which] if self.filled is None else np.zeros(len(which), int)
        places: list[np.ndarray] = []
        for size in np.unique(sizes):
            same = np.flatnonzero(sizes == size)
            for start in range(0, len(same), self.batch_size):
                part = same[start : start + self.batch_size]
                result, took = self._pass(order, kept, which[part])
                output.append(result)
                seconds[part] = took / len(part)
                places.append(part)
        back = np.argsort(np.concatenate(places))
        rows = torch.cat(output)[torch.from_numpy(back).to(output[0].device)]
        of = torch.from_numpy(which).to(rows.device)
        score = self.target.score(rows, of).cpu().double().numpy()
        probability = None
        if self.target.classes is not None:
            every = rows.double().softmax(-1)
            probability = every.gather(-1, self.target.classes[of][:, None])[:, 0].cpu().numpy()
        return _Ran(score, probability, rows.argmax(-1).cpu().numpy(), seconds)

    def _pass(self, order: np.ndarray, kept: np.ndarray, which: np.ndarray) -> tuple[Tensor, float]:
        images = torch.from_numpy(which).to(self.batch.device)
        batch, n, took = self.batch[images], int(kept[which[0]]), []
        if self.filled is not None:
            covered = ~first_cells(order[which], kept[which], self.grid)
            batch = cover(batch, covered, self.filled[images], self.grid)
        result = batch
        for _ in range(self.repeats):
            start = perf_counter()
            if self.filled is None and n < self.grid.n_cells:
                with keeping(self.checkpoint, np.sort(order[which, :n], 1)):
                    result = self.checkpoint.run(batch)
            else:
                result = self.checkpoint.run(batch)
            if result.is_cuda:
                torch.cuda.synchronize(result.device)
            took.append(perf_counter() - start)
        return result, min(took)


def _smallest(
    passes: _Passes,
    order: Int[np.ndarray, "image cell"],
    decided: Int[np.ndarray, " image"],
    kept: Int[np.ndarray, " share"],
    same: Bool[np.ndarray, "image share"],
) -> Int[np.ndarray, " image"]:
    """Halving between what holds the decision and the next tried below that does not."""
    n_cells = passes.grid.n_cells
    holds = np.where(same, kept, n_cells).min(1)  # all of them hold it
    loses = np.where(kept < holds[:, None], kept, 0).max(1)
    while (open_ := np.flatnonzero(holds - loses > 1)).size:
        middle = (holds + loses) // 2
        held = passes.run(order, middle, open_).decision == decided[open_]
        holds[open_[held]] = middle[open_[held]]
        loses[open_[~held]] = middle[open_[~held]]
    return holds


def _orders(
    scores: Float[np.ndarray, "image row column"], digests: tuple[str, ...], seed: int
) -> tuple[Int[np.ndarray, "image cell"], ...]:
    """One for each of `ORDERS`; by lot, images differ, and one is the same in any batch."""
    n_cells = scores[0].size
    drawn = [
        np.random.default_rng([seed, int(digest[:16], 16)]).permutation(n_cells)
        for digest in digests
    ]
    by_map = ranking(scores, seed=seed)
    return by_map, np.stack(drawn), by_map[:, ::-1].copy()


def _check(shares: tuple[float, ...], how: str | None, repeats: int) -> None:
    if not shares or not all(0 < share <= 1 for share in shares):
        raise HeadscopeError(f"Shares to keep are above 0 and at most 1, not {shares}.")
    if how not in (None, "dropped", "covered"):
        raise HeadscopeError(f'Patches are "dropped" or "covered", not {how!r}.')
    if repeats < 1:
        raise HeadscopeError(f"It takes at least one pass to know the time, not {repeats}.")
