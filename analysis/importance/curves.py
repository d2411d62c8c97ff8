"""Cumulative curves: what is left of the model as more and more heads are removed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from ...models.errors import HeadscopeError
from .headset import top_heads
from .joint import Head
from .removal import OnProgress, Removal, standard_error
from .values import Value


@dataclass(frozen=True)
class RemovalCurve:
    """A value of the output against the number of heads removed, in one order.

    v(k) is the mean over images with the first k heads of the order removed together; k = 0 is the
    clean model. Removing the most important heads first, a curve that falls at once says that the
    order found what the model rests on; removing the least important first, one that stays up says
    how many heads the model can spare. Read both against the random band.
    """

    name: str
    value: Value
    """What is on the y axis, with its units."""
    order: tuple[Head, ...]
    """Heads in the order of removal, as far as the curve goes."""
    n_removed: Int[np.ndarray, " step"]
    """Heads removed at each step, from 0 up."""
    per_image: Float[np.ndarray, "step image"]
    n_heads: int
    """Heads of the checkpoint."""

    @property
    def mean(self) -> Float[np.ndarray, " step"]:
        """Over images, in the value's units; for `accuracy` it is the accuracy."""
        return self.per_image.mean(1)

    @property
    def standard_error(self) -> Float[np.ndarray, " step"]:
        """Of the mean over images; NaN for one image."""
        return standard_error(self.per_image.T)

    @cached_property
    def area_per_image(self) -> Float[np.ndarray, " image"]:
        """The area under each image's curve; see `area`."""
        widths = np.diff(self.n_removed)[:, None]
        between = (self.per_image[1:] + self.per_image[:-1]) / 2
        return (between * widths).sum(0) / widths.sum()

    @property
    def area(self) -> float:
        """Area under the mean curve by the trapezoidal rule, over the range of k: the mean height
        of the curve, in the value's units. Small is good where the most important go first, large
        where the least important do. Areas compare only over the same range of k.
        """
        return float(self.area_per_image.mean())


@dataclass(frozen=True)
class RandomBand:
    """Curves of random orders, the null that an order must beat.

    The band holds the given quantiles of the orders' means at each step: it is about the orders,
    with the images as they are. An order inside it says no more about importance than a die.
    """

    curves: tuple[RemovalCurve, ...]
    quantiles: tuple[float, ...]
    """Of the orders, from 0 to 1, rising."""
    seed: int

    @property
    def n_removed(self) -> Int[np.ndarray, " step"]:
        return self.curves[0].n_removed

    @cached_property
    def means(self) -> Float[np.ndarray, "order step"]:
        """The mean over images of every order's curve."""
        return np.stack([curve.mean for curve in self.curves])

    @property
    def mean(self) -> Float[np.ndarray, " step"]:
        """Over orders and images."""
        return self.means.mean(0)

    @property
    def band(self) -> Float[np.ndarray, "quantile step"]:
        """The quantiles over orders at each step, in the value's units."""
        return np.quantile(self.means, self.quantiles, axis=0)

    @property
    def areas(self) -> Float[np.ndarray, " order"]:
        return np.array([curve.area for curve in self.curves])


@dataclass(frozen=True)
class RemovalCurves:
    """Curves that belong in one figure, and their random band."""

    value: Value
    mode: str
    """The ablation."""
    n_images: int
    n_heads: int
    curves: tuple[RemovalCurve, ...]
    band: RandomBand | None


def removal_curve(
    removal: Removal, order: Sequence[Head], *, name: str = "", steps: Iterable[int] | None = None
) -> RemovalCurve:
    """The curve of one order of heads.

    Args:
        removal: what is measured, on which images.
        order: heads, the first to be removed first; it may leave out heads.
        name: for the legend.
        steps: numbers of removed heads at which the curve is evaluated; None: every one. 0 and the
            end of the order are always there.

    Raises:
        HeadscopeError: a head that is not there or comes twice, or a step outside the order.
    """
    order = tuple(order)
    if len(set(order)) < len(order):
        twice = next(head for head in order if order.count(head) > 1)
        raise HeadscopeError(f"The order removes head {twice} more than once; name each once.")
    if not order:
        raise HeadscopeError("The order names no head; give at least one.")
    counts = sorted({0, len(order), *(range(len(order)) if steps is None else steps)})
    if counts[0] < 0 or counts[-1] > len(order):
        wrong = counts[0] if counts[0] < 0 else counts[-1]
        raise HeadscopeError(
            f"{wrong} heads cannot be removed from an order of {len(order)}; give steps from 0 to "
            f"{len(order)}."
        )
    per_image = removal([order[:count] for count in counts])
    return RemovalCurve(name, removal.value, order, np.array(counts), per_image, len(removal.heads))


def random_band(
    removal: Removal,
    heads: Sequence[Head] | None = None,
    *,
    n_orders: int = 20,
    seed: int = 0,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    steps: Iterable[int] | None = None,
    progress: OnProgress | None = None,
) -> RandomBand:
    """Curves of random orders of some heads (None: all), the same for the same seed.

    Raises:
        HeadscopeError: fewer than two orders, or a quantile outside 0 to 1.
    """
    if n_orders < 2:
        raise HeadscopeError(f"{n_orders} random orders make no band; ask for at least 2.")
    if not quantiles or not all(0 <= quantile <= 1 for quantile in quantiles):
        raise HeadscopeError(f"Quantiles go from 0 to 1, got {tuple(quantiles)}.")
    heads = removal.heads if heads is None else tuple(heads)
    steps = None if steps is None else tuple(steps)
    generator, curves = np.random.default_rng(seed), list[RemovalCurve]()
    for index in range(n_orders):
        order = [heads[position] for position in generator.permutation(len(heads))]
        curves.append(removal_curve(removal, order, name=f"random {index}", steps=steps))
        if progress is not None:
            progress(index + 1, n_orders)
    return RandomBand(tuple(curves), tuple(sorted(quantiles)), seed)


def greedy_curve(
    removal: Removal,
    *,
    objective: str = "least",
    n_steps: int | None = None,
    candidates: Sequence[Head] | None = None,
    progress: OnProgress | None = None,
) -> RemovalCurve:
    """Remove, at each step, the head whose removal costs least (or most), given those gone before.

    Every candidate is evaluated exactly at every step: n + (n − 1) + … head sets. The value is the
    mean over images; of equals, the first by layer and head goes. Greedy is no optimum: of all
    sets of k heads another may cost less. The order is chosen on the images that it is drawn for,
    so it looks better than it would on new ones.

    Args:
        removal: what is measured, on which images.
        objective: `"least"` or `"most"`.
        n_steps: heads to remove; None: all candidates.
        candidates: heads that may go; None: all.
        progress: told after each step.

    Raises:
        HeadscopeError: another objective, or more steps than candidates.
    """
    if objective not in ("least", "most"):
        raise HeadscopeError(f"There is no objective {objective!r}; there are: least, most.")
    remaining = sorted(removal.heads if candidates is None else set(candidates))
    n_steps = len(remaining) if n_steps is None else n_steps
    if not 1 <= n_steps <= len(remaining):
        raise HeadscopeError(
            f"{n_steps} steps cannot be taken with {len(remaining)} heads; take 1 to "
            f"{len(remaining)}."
        )
    order: list[Head] = []
    per_image = [removal.clean]
    for step in range(n_steps):
        left = removal([[*order, head] for head in remaining])
        means = left.mean(1)
        best = int(means.argmax() if objective == "least" else means.argmin())
        order.append(remaining.pop(best))
        per_image.append(left[best])
        if progress is not None:
            progress(step + 1, n_steps)
    return RemovalCurve(
        f"greedy, {objective} cost first",
        removal.value,
        tuple(order),
        np.arange(n_steps + 1),
        np.stack(per_image),
        len(removal.heads),
    )


def removal_curves(
    removal: Removal,
    scores: Float[np.ndarray, "layer head"],
    *,
    metric: str = "importance",
    n_random: int = 20,
    seed: int = 0,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    steps: Iterable[int] | None = None,
    greedy: Sequence[str] = (),
    n_greedy: int | None = None,
    progress: OnProgress | None = None,
) -> RemovalCurves:
    """The curves of a score, most and least important first, with random band and greedy.

    Scores that were computed on the same images flatter their own curve; take others where the
    order itself is on trial.

    Args:
        removal: what is measured, on which images.
        scores: importance, `layer head` or `image layer head` (its mean counts); NaN: left out.
        metric: what the scores are called, for the legend.
        n_random: random orders of the same heads; 0: no band.
        seed: of the random orders.
        quantiles: of the band.
        steps: numbers of removed heads at which the curves are evaluated; None: every one.
        greedy: `"least"`, `"most"`, both or none.
        n_greedy: heads that greedy removes; None: all.
        progress: told after each order and each greedy step.

    Raises:
        HeadscopeError: scores, steps, quantiles or objectives that cannot be used.
    """
    most, least = top_heads(scores), top_heads(scores, largest=False)
    steps = None if steps is None else tuple(steps)
    of_greedy = len(most) if n_greedy is None else n_greedy
    total = 2 + n_random + of_greedy * len(greedy)

    def tell(before: int) -> OnProgress:
        return lambda done, _: None if progress is None else progress(before + done, total)

    curves: list[RemovalCurve] = []
    for order, which in ((most, "most"), (least, "least")):
        name = f"{metric}, {which} important first"
        curves.append(removal_curve(removal, order, name=name, steps=steps))
        tell(0)(len(curves), total)
    band = None
    if n_random:
        band = random_band(
            removal,
            most,
            n_orders=n_random,
            seed=seed,
            quantiles=quantiles,
            steps=steps,
            progress=tell(2),
        )
    curves += [
        greedy_curve(
            removal,
            objective=objective,
            n_steps=of_greedy,
            candidates=most,
            progress=tell(2 + n_random + index * of_greedy),
        )
        for index, objective in enumerate(greedy)
    ]
    return RemovalCurves(
        removal.value, removal.mode, removal.n_images, len(removal.heads), tuple(curves), band
    )
