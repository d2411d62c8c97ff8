"""Methods beside each other: a table of scores with intervals over images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import xarray as xr
from jaxtyping import Float

from ...models.errors import HeadscopeError
from ..importance.intervals import Interval, bootstrap_interval
from .agreement import MapAgreement, map_agreement
from .cells import Maps
from .curves import Curves
from .randomisation import Randomisation
from .scores import COSTLY, Score

Row = dict[str, Any]

DECIMALS = 3
"""Of numbers in the Markdown table."""


@final
@dataclass(frozen=True, eq=False)
class FaithfulnessTable:
    """method × score, for each image."""

    methods: tuple[str, ...]
    """Methods as they were named, then the baselines."""
    baselines: tuple[str, ...]
    """Those of them that know nothing of the model."""
    scores: tuple[Score, ...]
    values: Float[np.ndarray, "method score image"]
    """NaN where a score was not computed for an image, or is not defined."""
    long_names: Mapping[str, str]
    model: str
    target: str
    quantity: str
    """What deletion, insertion, ROAD and infidelity read: "probability" or "score"."""
    reasons: Mapping[str, str]
    """Methods that do not fit the model, each with a sentence why."""
    notes: tuple[str, ...]
    """What a reader must know: scores on fewer images, methods that ignore the weights."""
    maps: Mapping[str, Maps]
    """Of each method, averaged over the cells of one grid; of slow ones for fewer images."""
    curves: Mapping[str, Curves]
    """Of each method, if curves were asked for."""
    randomisations: Mapping[str, Randomisation]
    """Of each method, if it was asked for."""
    confidence: float = 0.95

    def interval(self) -> Interval:
        """Mean over images with its bootstrap interval, `method, score`."""
        return bootstrap_interval(np.moveaxis(self.values, -1, 0), self.confidence)

    def against(self, baseline: str) -> Interval:
        """Each method less a baseline, image by image, `method, score`: is it clearly better?

        Raises:
            HeadscopeError: the baseline is not in the table.
        """
        if baseline not in self.methods:
            raise HeadscopeError(
                f"There is no {baseline!r} in the table; there are: {', '.join(self.methods)}."
            )
        paired = self.values - self.values[self.methods.index(baseline)]
        return bootstrap_interval(np.moveaxis(paired, -1, 0), self.confidence)

    def agreement(self) -> MapAgreement:
        """Rank correlation between the maps of all methods, on the images that all have."""
        shared = min(len(maps) for maps in self.maps.values())
        return map_agreement({name: maps[:shared] for name, maps in self.maps.items()})

    @property
    def data(self) -> xr.Dataset:
        """All numbers with their axes; `value` holds the raw ones."""
        interval = self.interval()
        means = {
            name: (("explanation", "score"), getattr(interval, name))
            for name in ("mean", "low", "high", "n_images")
        }
        return xr.Dataset(
            {"value": (("explanation", "score", "image"), self.values), **means},
            coords={
                "explanation": list(self.methods),
                "score": [score.name for score in self.scores],
                "units": ("score", [score.units for score in self.scores]),
                "better": ("score", [score.better for score in self.scores]),
                "is_baseline": ("explanation", [name in self.baselines for name in self.methods]),
            },
            attrs={
                "model": self.model,
                "target": self.target,
                "quantity": self.quantity,
                "confidence": self.confidence,
                "interval": interval.method,
                "reasons": dict(self.reasons),
                "notes": list(self.notes),
            },
        )

    def rows(self) -> list[Row]:
        """One row for each method and score, for a CSV file; methods without fit say why."""
        interval = self.interval()
        rows: list[Row] = [
            {
                "method": method,
                "baseline": method in self.baselines,
                "score": score.name,
                "mean": float(interval.mean[i, j]),
                "low": float(interval.low[i, j]),
                "high": float(interval.high[i, j]),
                "n_images": int(interval.n_images[i, j]),
                "units": score.units,
                "better": score.better,
                "reason": "",
            }
            for i, method in enumerate(self.methods)
            for j, score in enumerate(self.scores)
        ]
        empty = dict.fromkeys(rows[0]) if rows else {}
        return [
            *rows,
            *(empty | {"method": name, "reason": why} for name, why in self.reasons.items()),
        ]

    def markdown(self) -> str:
        """For a README: mean ± half the interval's width; the best method of each score is bold.

        The best has the best mean among methods with the most images, baselines left out. Nothing
        is bold where a score is a check to pass: sensitivity, random weights, seeds.
        """
        interval = self.interval()
        half = (interval.high - interval.low) / 2
        arrow = {"higher": "↑", "lower": "↓"}
        head = ["method", *(f"{score.long_name} {arrow[score.better]}" for score in self.scores)]
        best = self._best(interval)
        lines = [_line(head), _line(["---"] * len(head))]
        for i, method in enumerate(self.methods):
            name = self.long_names.get(method, method)
            cells = [f"*{name}* (baseline)" if method in self.baselines else name]
            for j in range(len(self.scores)):
                text = _number(interval.mean[i, j], half[i, j])
                cells.append(f"**{text}**" if i in best[j] else text)
            lines.append(_line(cells))
        told = [
            *(
                f"{self.long_names.get(n, n)} was left out: {why}"
                for n, why in self.reasons.items()
            ),
            *self.notes,
        ]
        return "\n".join([*lines, *(f"\n{sentence}" for sentence in told)])

    def _best(self, interval: Interval) -> list[set[int]]:
        """Indices of the best methods for each score, as they are written."""
        rivals = [i for i, name in enumerate(self.methods) if name not in self.baselines]
        found: list[set[int]] = []
        for j, score in enumerate(self.scores):
            sign = 1 if score.better == "higher" else -1
            most = max((interval.n_images[i, j] for i in rivals), default=0)
            means = {
                i: sign * round(float(interval.mean[i, j]), DECIMALS)
                for i in rivals
                if interval.n_images[i, j] == most > 0 and score.kind not in COSTLY
            }
            best = max(means.values(), default=None)
            found.append({i for i, mean in means.items() if mean == best})
        return found


def _number(mean: float, half: float) -> str:
    if not np.isfinite(mean):
        return "–"
    spread = f" ± {half:.{DECIMALS}f}" if np.isfinite(half) else ""
    return f"{mean:.{DECIMALS}f}{spread}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
