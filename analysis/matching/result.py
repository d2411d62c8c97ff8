"""Which head is which: pairs, what moved, what appeared, what died."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

Head = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """A head of the first checkpoint and the head of the second that does the same."""

    first: Head
    """Layer and head."""
    second: Head
    score: float
    criteria: Mapping[str, float]
    """By criterion; NaN where it has no number."""
    shift: float
    """Relative depth of the second minus that of the first, −1…1: 0 is the same depth."""
    moved: bool
    """In another layer than the one at the same relative depth."""


@dataclass(frozen=True, eq=False)
class HeadMatching:
    """Heads of two checkpoints, matched by what they do on the same images."""

    first: str
    second: str
    """Names of the checkpoints."""
    n_images: int
    """That both studies share and that heads were compared on."""
    n_layers: tuple[int, int]
    heads_a: Int[np.ndarray, "a 2"]
    heads_b: Int[np.ndarray, "b 2"]
    """Layer and head."""
    score: Float[np.ndarray, "a b"]
    """Mean of the criteria that are there, weighted; 0…1."""
    criteria: Mapping[str, Float[np.ndarray, "a b"]]
    """Each by itself, 0…1."""
    weights: Mapping[str, float]
    told_by: Mapping[str, tuple[str, ...]]
    """What each criterion was told by."""
    left_out: Mapping[str, str]
    """Criteria that were asked for and are not there, and why."""
    assigned: Int[np.ndarray, "pair 2"]
    """Rows of `heads_a` and `heads_b` that the optimal assignment pairs, whatever their score."""
    threshold: float
    """Pairs with a lower score are no match."""
    null: Float[np.ndarray, " pair"]
    """Scores of the null: heads assigned to *other* heads of their own checkpoint."""
    quantile: float
    """Of `null`, that the threshold is; NaN where the threshold was given."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The matches, the best first."""
        found = [self._pair(a, b) for a, b in self.assigned if self.score[a, b] >= self.threshold]
        return tuple(sorted(found, key=lambda pair: (-pair.score, pair.first)))

    @property
    def moved(self) -> tuple[Pair, ...]:
        """Matches in another layer."""
        return tuple(pair for pair in self.pairs if pair.moved)

    @property
    def died(self) -> tuple[Head, ...]:
        """Heads of the first that nothing in the second matches."""
        return self._alone(self.heads_a, {pair.first for pair in self.pairs})

    @property
    def appeared(self) -> tuple[Head, ...]:
        """Heads of the second that nothing in the first matches."""
        return self._alone(self.heads_b, {pair.second for pair in self.pairs})

    @property
    def partner(self) -> dict[Head, Head]:
        """Of each matched head of the first its head in the second."""
        return {pair.first: pair.second for pair in self.pairs}

    def closest(self, head: Head, *, of_second: bool = False) -> tuple[Head, float]:
        """The head of the other checkpoint with the highest score, whoever it is assigned to.

        NaN as the score where there is none.
        """
        own, other = (self.heads_b, self.heads_a) if of_second else (self.heads_a, self.heads_b)
        scores = self.score.T if of_second else self.score
        row = np.nan_to_num(scores[np.flatnonzero((own == head).all(1))[0]], nan=-1.0)
        best = int(row.argmax())
        return _head(other[best]), float(row[best]) if row[best] >= 0 else float("nan")

    def describe(self) -> str:
        """The matching in a few sentences."""
        n = len(self.pairs)
        by = ", ".join(f"{name} ({'; '.join(self.told_by[name])})" for name in self.criteria)
        null = (
            f"the {self.quantile:.0%} quantile of the scores that heads reach when they are "
            "assigned to other heads of their own checkpoint"
            if self.quantile == self.quantile
            else "as given"
        )
        lines = [
            f"{self.first} ({len(self.heads_a)} heads) and {self.second} ({len(self.heads_b)} "
            f"heads) on {self.n_images} image{'s' * (self.n_images != 1)}: {n} matched, "
            f"{len(self.moved)} of them moved to another depth, {len(self.died)} in the first only "
            f"(died), {len(self.appeared)} in the second only (appeared).",
            f"Score: mean of {by}. A match has at least {self.threshold:.3f}, {null}.",
        ]
        lines += [f"Left out: {name}, as {reason}." for name, reason in self.left_out.items()]
        return " ".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """A table: matches, best first, then what died and what appeared, with the closest head."""
        found = [
            {
                "fate": "moved" if pair.moved else "matched",
                **_names("a", pair.first),
                **_names("b", pair.second),
                "score": pair.score,
                **pair.criteria,
                "shift": pair.shift,
            }
            for pair in self.pairs
        ]
        nothing = dict.fromkeys(self.criteria, np.nan)
        for fate, heads, of_second in (
            ("died", self.died, False),
            ("appeared", self.appeared, True),
        ):
            for head in heads:
                other, score = self.closest(head, of_second=of_second)
                first, second = (other, head) if of_second else (head, other)
                a, b = _names("a", first), _names("b", second)
                for name in a if of_second else b:
                    (a if of_second else b)[name] = np.nan
                found.append({"fate": fate, **a, **b, "score": score, **nothing, "shift": np.nan})
        return found

    def _pair(self, a: int, b: int) -> Pair:
        first, second = _head(self.heads_a[a]), _head(self.heads_b[b])
        depths = [
            at / (n - 1) if n > 1 else 0.0
            for at, n in zip((first[0], second[0]), self.n_layers, strict=True)
        ]
        shift = depths[1] - depths[0]
        # Half a step of the shallower: with as many layers, any other layer; else the nearest
        # depth that there is counts as the same.
        half = 0.5 / max(1, min(self.n_layers) - 1)
        criteria = {name: float(values[a, b]) for name, values in self.criteria.items()}
        return Pair(
            first, second, float(self.score[a, b]), criteria, shift, abs(shift) > half + 1e-9
        )

    def _alone(self, heads: np.ndarray, matched: set[Head]) -> tuple[Head, ...]:
        return tuple(head for head in map(_head, heads) if head not in matched)


def _head(row: np.ndarray) -> Head:
    return int(row[0]), int(row[1])


def _names(side: str, head: Head) -> dict[str, Any]:
    return {f"layer_{side}": head[0], f"head_{side}": head[1]}
