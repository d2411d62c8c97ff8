"""Shapley values of heads: what each is worth among all the company it may keep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from ...models.errors import HeadscopeError
from .joint import Head
from .removal import OnProgress, Removal, standard_error
from .values import Value

COALITIONS_AT_ONCE = 16
"""Coalitions between two looks at the truncation limit."""


@dataclass(frozen=True)
class Shapley:
    """What each head is worth: its share of the value that the heads make together.

    φ(i) = mean over all orders of v(P ∪ {i}) − v(P), with P the heads that stand before i in the
    order and v(P) the value read of the output, mean over images, with the heads *not* in P
    ablated. In the value's units; of a probability from −1 to 1.

    Σ φ(i) = v(all heads) − v(no heads), always. A head that does nothing in any company has 0.
    Heads that can stand in for each other share evenly, where leaving out one of them shows
    nothing. Negative: on average, the head speaks against the value.

    Estimated from random orders: Castro, Gómez & Tejada, "Polynomial Calculation of the Shapley
    Value Based on Sampling" (2009); for the parts of a network, Ghorbani & Zou, "Neuron Shapley"
    (2020). Unlike there all heads get as many orders, as no bandit stops early.
    """

    heads: tuple[Head, ...]
    value: Value
    mode: str
    """The ablation."""
    per_image: Float[np.ndarray, "image head"]
    """φ of each image: the mean over orders of its marginal values."""
    samples: Float[np.ndarray, "sample head"]
    """Marginal values, mean over images: one row an order, or a pair of opposite orders."""
    whole: float
    """v(all heads) − v(no heads), mean over images."""
    n_orders: int
    n_truncated: int
    """Orders that were cut short."""

    @property
    def values(self) -> Float[np.ndarray, " head"]:
        """φ, mean over images."""
        return self.samples.mean(0)

    @property
    def standard_error(self) -> Float[np.ndarray, " head"]:
        """Of φ, over the sampled orders, with the images as they are; NaN for one sample.

        Right on average over runs. But where a head matters in few orders and much (single images
        above all), a few dozen orders may miss those, and the error with them: two standard errors
        then cover less than the usual 95 %. More orders and more images mend it.
        """
        return standard_error(self.samples)

    @property
    def residual(self) -> float:
        """Σ φ − (v(all heads) − v(no heads)): rounding, unless orders were truncated."""
        return float(self.values.sum() - self.whole)


def shapley_values(
    removal: Removal,
    heads: Sequence[Head] | None = None,
    *,
    n_orders: int = 32,
    antithetic: bool = True,
    seed: int = 0,
    truncate: float | None = None,
    progress: OnProgress | None = None,
) -> Shapley:
    """Shapley values of heads by sampling orders, the same for the same seed.

    Args:
        removal: what is measured, on which images.
        heads: the players; None: all heads. The others stay in the model throughout.
        n_orders: sampled orders; each takes as many evaluations as there are heads.
        antithetic: every second order is the one before it reversed: where early and late places
            differ, the two errors cancel. Pairs are then the samples of the standard error.
            Mitchell et al., "Sampling Permutations for Shapley Value Estimation" (2022).
        seed: of the orders.
        truncate: heads are taken away from the whole one by one; once v is this near to
            v(no heads), those that are left get 0 for this order, after Ghorbani & Zou (2020), who
            compare with a fixed value. The sum is then off by at most this much (`residual`).
            None: never.
        progress: told after each order.

    Raises:
        HeadscopeError: no head, one that is not there or comes twice, too few orders, or a limit
            below 0.
    """
    heads = removal.heads if heads is None else tuple(heads)
    if not heads or len(set(heads)) < len(heads):
        raise HeadscopeError(
            f"Shapley values are of different heads, got {len(heads)} of which {len(set(heads))} "
            "differ; give at least one, each once."
        )
    step = 2 if antithetic else 1
    if n_orders < step or n_orders % step:
        raise HeadscopeError(
            f"{n_orders} orders cannot be sampled"
            + (
                " in opposite pairs; give an even number of at least 2."
                if antithetic
                else "; give at least 1."
            )
        )
    if truncate is not None and not truncate >= 0:
        raise HeadscopeError(f"A truncation limit is 0 or more, got {truncate}.")
    none = removal([heads])[0]
    marginals = np.zeros((n_orders // step, len(heads), removal.n_images))
    n_truncated = 0
    for index, order in enumerate(_orders(len(heads), n_orders, antithetic=antithetic, seed=seed)):
        found, truncated = _marginals(removal, heads, order, none, truncate)
        marginals[index // step] += found / step
        n_truncated += truncated
        if progress is not None:
            progress(index + 1, n_orders)
    whole = float((removal.clean - none).mean())
    return Shapley(
        heads,
        removal.value,
        removal.mode,
        marginals.mean(0).T,
        marginals.mean(2),
        whole,
        n_orders,
        n_truncated,
    )


def _orders(
    n_heads: int, n_orders: int, *, antithetic: bool, seed: int
) -> Iterator[Int[np.ndarray, " head"]]:
    generator = np.random.default_rng(seed)
    for _ in range(n_orders // 2 if antithetic else n_orders):
        order = generator.permutation(n_heads)
        yield order
        if antithetic:
            yield order[::-1]


def _marginals(
    removal: Removal,
    heads: Sequence[Head],
    order: Int[np.ndarray, " head"],
    none: Float[np.ndarray, " image"],
    truncate: float | None,
) -> tuple[Float[np.ndarray, "head image"], bool]:
    """Marginal values along one order of joining, from the whole down, and whether it was cut."""
    leaving = order[::-1]
    at_once = len(heads) if truncate is None else COALITIONS_AT_ONCE
    marginals = np.zeros((len(heads), removal.n_images))
    before = removal.clean
    for start in range(0, len(heads), at_once):
        places = range(start, min(start + at_once, len(heads)))
        # The last coalition, without any head, is the same in every order and known.
        sets = [[heads[i] for i in leaving[: place + 1]] for place in places]
        left = removal([s for s in sets if len(s) < len(heads)])
        left = np.concatenate([left, none[None]]) if len(left) < len(sets) else left
        for place, value in zip(places, left, strict=True):
            if truncate is not None and abs((before - none).mean()) <= truncate:
                return marginals, True
            marginals[leaving[place]] = before - value
            before = value
    return marginals, False
