"""What rankings, curves, synergy and Shapley values found, as rows for a table or a CSV file."""

from collections.abc import Iterator
from typing import Any

from .curves import RemovalCurve, RemovalCurves
from .headset import JointEffect
from .joint import Head
from .ranking import Ranking
from .shapley import Shapley
from .synergy import Synergy

Row = dict[str, Any]


def ranking_rows(ranking: Ranking) -> list[Row]:
    """One row for each head, the most important first."""
    return [
        {
            "rank": rank + 1,
            **_columns(head),
            "mean": float(ranking.mean[rank]),
            "low": float(ranking.low[rank]),
            "high": float(ranking.high[rank]),
            "n_images": ranking.n_images[rank],
            "ablations_disagree": head in ranking.flagged,
            "place": ranking.places[rank] if ranking.places else "",
            "quantity": ranking.label,
            "units": ranking.units,
            "interval": ranking.interval,
        }
        for rank, head in enumerate(ranking.heads)
    ]


def curve_rows(curves: RemovalCurves) -> list[Row]:
    """One row for each curve and step; the random band's quantiles are curves of their own."""
    rows = [row for curve in curves.curves for row in _steps(curve)]
    if (band := curves.band) is not None:
        lines = zip(band.quantiles, band.band, strict=True)
        rows += [
            {
                "curve": f"random orders, quantile {quantile:g}",
                "n_removed": int(n),
                "value": float(value),
                "standard_error": None,
                "layer": None,
                "head": None,
            }
            for quantile, line in lines
            for n, value in zip(band.n_removed, line, strict=True)
        ]
    units = {"quantity": curves.value.name, "units": curves.value.units, "ablation": curves.mode}
    return [row | units for row in rows]


def _steps(curve: RemovalCurve) -> Iterator[Row]:
    for n, value, error in zip(curve.n_removed, curve.mean, curve.standard_error, strict=True):
        layer, head = (None, None) if n == 0 else curve.order[n - 1]
        yield {
            "curve": curve.name,
            "n_removed": int(n),
            "value": float(value),
            "standard_error": float(error),
            # The head that went last; where steps are left out, others went with it.
            "layer": layer,
            "head": head,
        }


def area_rows(curves: RemovalCurves) -> list[Row]:
    """One row for each curve, random orders included: the area under it, and over which range."""
    random = () if curves.band is None else curves.band.curves
    return [
        {
            "curve": curve.name,
            "n_removed_max": int(curve.n_removed[-1]),
            "area": curve.area,
            "quantity": curves.value.name,
            "units": curves.value.units,
            "ablation": curves.mode,
        }
        for curve in (*curves.curves, *random)
    ]


def synergy_rows(synergy: Synergy) -> list[Row]:
    """One row for each pair, the largest absolute synergy first."""
    mean, error, together = synergy.mean, synergy.standard_error, synergy.together.mean(0)
    alone, heads = synergy.alone.mean(0), synergy.heads
    rows: list[Row] = [
        {
            **_columns(heads[i], "_a"),
            **_columns(heads[j], "_b"),
            "same_layer": bool(synergy.same_layer[i, j]),
            "synergy": float(mean[i, j]),
            "standard_error": float(error[i, j]),
            "effect_together": float(together[i, j]),
            "effect_a": float(alone[i]),
            "effect_b": float(alone[j]),
            "quantity": synergy.value.name,
            "units": synergy.value.units,
            "ablation": synergy.mode,
        }
        for i in range(len(heads))
        for j in range(i + 1, len(heads))
    ]
    return sorted(rows, key=lambda row: -abs(row["synergy"]))


def shapley_rows(shapley: Shapley) -> list[Row]:
    """One row for each head, the largest value first."""
    found = zip(shapley.heads, shapley.values, shapley.standard_error, strict=True)
    rows: list[Row] = [
        {
            **_columns(head),
            "shapley": float(value),
            "standard_error": float(error),
            "quantity": shapley.value.name,
            "units": shapley.value.units,
            "ablation": shapley.mode,
        }
        for head, value, error in found
    ]
    return sorted(rows, key=lambda row: -row["shapley"])


def effect_rows(effect: JointEffect, images: list[str] | None = None) -> list[Row]:
    """One row for each image: what removing the set as one did to it."""
    names = list(range(len(effect.clean))) if images is None else images
    return [
        {
            "image": name,
            "head_set": effect.name,
            "clean": float(clean),
            "removed": float(removed),
            "effect": float(clean - removed),
            "quantity": effect.value.name,
            "units": effect.value.units,
        }
        for name, clean, removed in zip(names, effect.clean, effect.removed, strict=True)
    ]


def _columns(head: Head, suffix: str = "") -> Row:
    return {f"layer{suffix}": head[0], f"head{suffix}": head[1]}
