"""Intervals of every number of every head, and what the parts of heads cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..atlas import GROUPS, HeadMetric


def flat(
    values: Float[np.ndarray, "layer head"] | Int[np.ndarray, "layer head"], n_heads: Sequence[int]
) -> np.ndarray:
    """Of the heads that there are, layer after layer."""
    return np.concatenate([values[layer, :count] for layer, count in enumerate(n_heads)])


def whisker(
    low: Float[np.ndarray, "layer head"],
    high: Float[np.ndarray, "layer head"],
    n_images: Int[np.ndarray, "layer head"],
    n_heads: Sequence[int],
) -> dict[str, Any]:
    """An interval of each head: NaN where there is none; the images that it rests on."""
    counts = flat(n_images, n_heads)
    return {
        "low": flat(low, n_heads),
        "high": flat(high, n_heads),
        "n": int(counts.max()) if counts.size else 0,
    }


def families(
    metrics: Sequence[HeadMetric], parts: Sequence[dict[str, Any]]
) -> dict[str, dict[str, str]]:
    """Of each metric that an ablation measures: key of each ablation's numbers, by its name.

    Keys are `name:ablation` where there are several ablations, else the name alone.
    """
    names = [str(part["name"]) for part in parts]
    found: dict[str, dict[str, str]] = {}
    for metric in metrics:
        if metric.group == GROUPS[-1]:
            continue
        base, _, mode = metric.key.partition(":")
        if not mode and len(names) != 1:
            continue
        found.setdefault(base, {})[mode or names[0]] = metric.key
    return found
