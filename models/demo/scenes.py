"""The scenes the demo checkpoints are trained on: patterned objects over photographs, masks known.

A scene holds one target (a shape with the fill pattern that belongs to it), one plain star, and one
to three distractors that share a shape or a pattern with the targets but never both. Its label says
which target it is and on which side of the star it lies, so no single place gives the answer.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .shapes import OUTLINES, PATTERNS, Fill

SIZE = 96
"""Height and width of a scene, px."""

KINDS = (
    ("striped", "disc"),
    ("dotted", "square"),
    ("checked", "triangle"),
    ("ringed", "cross"),
    ("speckled", "heart"),
    ("halved", "moon"),
)
"""Pattern and shape of each kind of target."""

SIDES = ("left", "right")
"""Side of the star on which the target lies, as seen in the image."""

CLASS_NAMES = tuple(
    f"{pattern} {shape}, {side} of the star" for pattern, shape in KINDS for side in SIDES
)
"""Label names; label = 2 * kind + side."""

HELD_OUT = range(1_000)
"""Seeds of the scenes that no checkpoint is trained on."""

FIRST_TRAINING_SEED = 1_000_000
"""Training draws its seeds from here upwards."""

MARGIN = 16
"""Smallest horizontal distance between the centres of target and star, px."""

_DISTRACTORS = tuple(
    (pattern, shape) for pattern, _ in KINDS for _, shape in KINDS if (pattern, shape) not in KINDS
)
_PHOTOGRAPHS = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "rocket")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OUTLINE = 1.3
_INK = np.array([22, 22, 28], np.float32)
_PAPER = np.array([248, 246, 240], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """One drawn object: what it is, where it is, and the pixels that show it."""

    role: Literal["target", "star", "distractor"]
    pattern: str
    shape: str
    centre: tuple[float, float]
    """x and y, px from the left and top edges."""
    radius: float
    """Radius of the circle around it, px."""
    mask: NDArray[np.bool_]
    """`height, width`: the pixels at least half covered; masks of one scene are disjoint."""

    @property
    def kind(self) -> str:
        """Name such as "striped disc"."""
        return f"{self.pattern} {self.shape}"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the mask, px, the last two exclusive."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A drawn image with its label and every object's mask."""

    seed: int
    image: NDArray[np.uint8]
    """`height, width, RGB`."""
    label: int
    """Index into `CLASS_NAMES`."""
    objects: tuple[SceneObject, ...]
    """Target, star, distractors."""

    @property
    def name(self) -> str:
        """The label's name."""
        return CLASS_NAMES[self.label]

    @property
    def target(self) -> SceneObject:
        """The object the label names."""
        return self.objects[0]

    @property
    def star(self) -> SceneObject:
        """The object the label's side refers to."""
        return self.objects[1]


def scene(seed: int) -> Scene:
    """The scene of a seed: the same image, label and masks every time."""
    rng = np.random.default_rng(seed)
    label = int(rng.integers(len(CLASS_NAMES)))
    radii = rng.uniform((10.5, 8.5, 9.5, 9.5, 9.5), (15.0, 11.5, 14.0, 14.0, 14.0))
    places = _places(rng, radii[: 3 + rng.integers(3)], side=label % 2)
    canvas = _background(rng)
    objects: list[SceneObject] = []
    for index, (x, y, radius) in enumerate(places):
        if index == 0:
            role, (pattern, shape) = "target", KINDS[label // 2]
        elif index == 1:
            role, pattern, shape = "star", "plain", "star"
        else:
            role, (pattern, shape) = "distractor", _DISTRACTORS[rng.integers(len(_DISTRACTORS))]
        mask = _draw(rng, canvas, pattern, shape, x, y, radius)
        objects.append(SceneObject(role, pattern, shape, (x, y), radius, mask))
    image = (canvas + 0.5).astype(np.uint8)
    return Scene(seed, image, label, tuple(objects))


def _places(
    rng: np.random.Generator, radii: NDArray[np.float64], *, side: int
) -> list[tuple[float, float, float]]:
    """Centre and radius per object, no two overlapping; a distractor without room is left out."""
    sign = 1 if side else -1
    while True:
        ends = [(r + 1, SIZE - r - 1) for r in radii[:2]]
        (x, y), (star_x, star_y) = (rng.uniform(low, high, 2) for low, high in ends)
        apart = np.hypot(x - star_x, y - star_y) > radii[0] + radii[1] + 1
        if apart and sign * (x - star_x) >= MARGIN:
            break
    places = [
        (float(x), float(y), float(radii[0])),
        (float(star_x), float(star_y), float(radii[1])),
    ]
    for radius in radii[2:].tolist():
        for x, y in rng.uniform(radius + 1, SIZE - radius - 1, (30, 2)).tolist():
            if all(np.hypot(x - a, y - b) > radius + r + 1 for a, b, r in places):
                places.append((x, y, radius))
                break
    return places


@cache
def _photographs() -> tuple[NDArray[np.float32], ...]:
    """scikit-image's own photographs at full, half and quarter size, `height, width, RGB`."""
    from skimage import data

    pyramid: list[NDArray[np.float32]] = []
    for name in _PHOTOGRAPHS:
        photo = np.asarray(getattr(data, name)(), np.float32)
        if photo.ndim == 2:
            photo = np.repeat(photo[..., None], 3, axis=2)
        while min(photo.shape[:2]) >= SIZE:
            pyramid.append(photo)
            height, width = (n // 2 * 2 for n in photo.shape[:2])
            photo = photo[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    return tuple(pyramid)


def _background(rng: np.random.Generator) -> NDArray[np.float32]:
    """A random crop of a photograph, mirrored, tinted and softened."""
    photos = _photographs()
    photo = photos[rng.integers(len(photos))]
    top, left = (int(rng.integers(n - SIZE + 1)) for n in photo.shape[:2])
    crop = photo[top : top + SIZE, left : left + SIZE]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    contrast, base = rng.uniform(0.45, 0.85), rng.uniform(70, 180)
    tint = rng.uniform(-22, 22, 3)
    offset = (base + tint - contrast * crop.mean()).astype(np.float32)
    return np.clip(crop * np.float32(contrast) + offset, 0, 254.9)


def _colours(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A dark and a light colour, in random order, at least 90 grey levels apart."""
    while True:
        pair = rng.uniform(0, 254, (2, 3)).astype(np.float32)
        pair[np.arange(2), rng.integers(3, size=2)] = rng.choice([10, 245], 2)
        if abs(float((pair[0] - pair[1]) @ _LUMA)) >= 90:
            return pair[0], pair[1]


def _draw(
    rng: np.random.Generator,
    canvas: NDArray[np.float32],
    pattern: str,
    shape: str,
    x: float,
    y: float,
    radius: float,
) -> NDArray[np.bool_]:
    """Paint one object on the canvas; its mask."""
    left, top = (max(0, int(c - radius - 2)) for c in (x, y))
    right, bottom = (min(SIZE, int(c + radius + 3)) for c in (x, y))
    dx = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5 - x)
    dy = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    angle = rng.uniform(-0.4, 0.4)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    distance = OUTLINES[shape](u, v, radius)
    noise = rng.integers(2, size=(16, 16), dtype=np.uint8)
    period = rng.uniform(0.46, 0.58) * radius
    share = PATTERNS[pattern](Fill(u, v, period, noise))[..., None]
    first, second = _colours(rng)
    edge = _INK if rng.random() < 0.5 else _PAPER
    fill = first + (second - first) * share
    rim = np.clip(distance + (0.5 + _OUTLINE), 0, 1)[..., None]
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    box = canvas[top:bottom, left:right]
    box += (fill + (edge - fill) * rim - box) * cover
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top:bottom, left:right] = distance <= 0
    return mask
