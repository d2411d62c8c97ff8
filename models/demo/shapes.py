"""Outlines and fill patterns of the demo scenes, as functions of pixel coordinates.

An outline is the signed distance in px, negative inside, of points around the object's centre; a
pattern is the share, 0 to 1, of the second colour there. The distances of heart and star follow
I. Quilez, "2D distance functions" (https://iquilezles.org/articles/distfunctions2d).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.floating[Any]]
"""One value per pixel of an object's box."""


@dataclass(frozen=True, slots=True, eq=False)
class Fill:
    """What a pattern is drawn from."""

    x: Field
    """Px to the right of the centre, in the object's own rotated frame."""
    y: Field
    """Px below the centre, in the same frame."""
    period: float
    """Px after which the pattern repeats."""
    noise: NDArray[np.uint8]
    """`cell, cell`: zeros and ones."""


def _disc(x: Field, y: Field, r: float) -> Field:
    return np.hypot(x, y) - 0.94 * r


def _square(x: Field, y: Field, r: float) -> Field:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82 * r


def _triangle(x: Field, y: Field, r: float) -> Field:
    half_width, slope = np.float32(np.sqrt(3) / 2), np.float32(0.5)
    return np.maximum(y - 0.58 * r, half_width * np.abs(x) - slope * y - 0.54 * r)


def _cross(x: Field, y: Field, r: float) -> Field:
    x, y = np.abs(x), np.abs(y)
    arm, reach = 0.36 * r, 0.98 * r
    return np.minimum(np.maximum(x - arm, y - reach), np.maximum(x - reach, y - arm))


def _heart(x: Field, y: Field, r: float) -> Field:
    size = 1.62 * r
    x, y = np.abs(x) / size, 0.56 - y / size
    upper = np.hypot(x - 0.25, y - 0.75) - np.float32(np.sqrt(2) / 4)
    diagonal = 0.5 * np.maximum(x + y, 0)
    lower = np.minimum(np.hypot(x, y - 1), np.hypot(x - diagonal, y - diagonal)) * np.sign(x - y)
    return np.where(x + y > 1, upper, lower) * size


def _moon(x: Field, y: Field, r: float) -> Field:
    x = x - 0.16 * r
    return np.maximum(np.hypot(x, y) - r, 0.74 * r - np.hypot(x - 0.62 * r, y))


def _star(x: Field, y: Field, r: float) -> Field:
    c1, s1 = np.float32(np.cos(np.pi / 5)), np.float32(np.sin(np.pi / 5))
    x, y = np.abs(x), -y
    fold = 2 * np.maximum(c1 * x - s1 * y, 0)
    x, y = x - fold * c1, y + fold * s1
    fold = 2 * np.maximum(-c1 * x - s1 * y, 0)
    x, y = np.abs(x + fold * c1), y + fold * s1 - r
    inner = 0.46
    edge_x, edge_y = inner * s1, inner * c1 - 1
    along = np.clip((x * edge_x + y * edge_y) / (edge_x**2 + edge_y**2), 0, r)
    return np.hypot(x - edge_x * along, y - edge_y * along) * np.sign(y * edge_x - x * edge_y)


def _stripes(fill: Fill) -> Field:
    return _soft(np.sin(2 * np.pi / fill.period * fill.y), fill.period)


def _checks(fill: Fill) -> Field:
    pitch = 1.5 * fill.period
    wave = np.sin(2 * np.pi / pitch * fill.x) * np.sin(2 * np.pi / pitch * fill.y)
    return _soft(wave, 0.6 * pitch)


def _dots(fill: Fill) -> Field:
    pitch = 1.1 * fill.period
    wave = np.cos(2 * np.pi / pitch * fill.x) + np.cos(2 * np.pi / pitch * fill.y)
    return _soft(0.7 * (wave - 0.8), pitch)


def _rings(fill: Fill) -> Field:
    return _soft(np.cos(2 * np.pi / fill.period * np.hypot(fill.x, fill.y)), fill.period)


def _speckles(fill: Fill) -> Field:
    cell, n_cells = 0.4 * fill.period, len(fill.noise)
    column = np.floor(fill.x / cell).astype(np.int16) % n_cells
    row = np.floor(fill.y / cell).astype(np.int16) % n_cells
    return fill.noise[row, column].astype(np.float32)


def _halves(fill: Fill) -> Field:
    return np.clip(0.5 + fill.y, 0, 1)


def _plain(fill: Fill) -> Field:
    return np.zeros_like(fill.x)


def _soft(wave: Field, period: float) -> Field:
    """A wave turned into two colours whose border is about 1 px wide."""
    return np.clip(0.5 + wave * (period / (2 * np.pi)), 0, 1)


OUTLINES: Mapping[str, Callable[[Field, Field, float], Field]] = MappingProxyType(
    {
        "disc": _disc,
        "square": _square,
        "triangle": _triangle,
        "cross": _cross,
        "heart": _heart,
        "moon": _moon,
        "star": _star,
    }
)
"""Signed distance in px by shape name: `(x, y, radius) -> distance`."""

PATTERNS: Mapping[str, Callable[[Fill], Field]] = MappingProxyType(
    {
        "striped": _stripes,
        "dotted": _dots,
        "checked": _checks,
        "ringed": _rings,
        "speckled": _speckles,
        "halved": _halves,
        "plain": _plain,
    }
)
"""Share of the second colour by pattern name."""
