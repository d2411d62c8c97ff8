"""The maps that patterns are learned from: one vector for each image and head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from .forms import FORMS, Form
from .pairs import pairs_of
from .statistics import STATISTICS, statistics_of, sums_of

BYTES_AT_ONCE = 24_000_000
"""Of the maps of one layer in one forward pass, that the processor's cache may help."""
IMAGES_AT_ONCE = 16

Progress = Callable[[str, float], None]
"""Told what is under way, and the share of it that is done; whatever it raises stops the work."""


def silent(what: str, share: float) -> None:
    """No progress is told."""
    _ = what, share


@dataclass(frozen=True)
class Origin:
    """A checkpoint on images, as far as maps need to know it."""

    model: str
    digest: str
    """Of the checkpoint."""
    images: tuple[str, ...]
    """Names, in the order of the maps' image indices."""


@dataclass(frozen=True, eq=False)
class PatternMaps:
    """Attention maps in a common form, one row for each image and head.

    Values are square roots of shares, kept in half precision: nobody reads a share more finely.
    """

    form: str
    """A name of `forms.FORMS`."""
    values: Float[np.ndarray, "map entry"]
    """Channels by row and column, then `forms.VALUES`; float16."""
    statistics: Float[np.ndarray, "map statistic"]
    """`statistics.STATISTICS`, float32; NaN where one is undefined."""
    origin: Int[np.ndarray, " map"]
    """Index into `origins`."""
    image: Int[np.ndarray, " map"]
    """Index into the images of the origin."""
    layer: Int[np.ndarray, " map"]
    head: Int[np.ndarray, " map"]
    origins: tuple[Origin, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def heads(self) -> Int[np.ndarray, "head 3"]:
        """Origin, layer and head of every head that has maps."""
        return np.unique(np.stack([self.origin, self.layer, self.head], -1), axis=0)

    @property
    def pictures(self) -> Int[np.ndarray, " map"]:
        """Which image each map is of: the same number for the same image in every origin."""
        names = [self.origins[o].images[i] for o, i in zip(self.origin, self.image, strict=True)]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def take(self, rows: Int[np.ndarray, " row"] | Bool[np.ndarray, " map"]) -> "PatternMaps":
        """Some of the maps."""
        return replace(
            self, **{name: getattr(self, name)[rows] for name in ("values", "statistics", *PLACES)}
        )


PLACES = ("origin", "image", "layer", "head")
"""What says of which image and head a map is."""


def join(several: Sequence[PatternMaps]) -> PatternMaps:
    """Maps of several checkpoints, or of several sets of images, as one.

    Raises:
        HeadscopeError: they are in different forms.
    """
    forms = {maps.form for maps in several}
    if len(forms) != 1:
        raise HeadscopeError(
            f"Maps in the forms {' and '.join(sorted(forms)) or '(none)'} cannot be put together; "
            "collect all in one form."
        )
    if len(several) == 1:
        return several[0]
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(maps, name) for maps in several])
        for name in ("values", "statistics", "image", "layer", "head")
    }
    firsts = np.cumsum([0, *(len(maps.origins) for maps in several)])
    origin = [maps.origin + first for maps, first in zip(several, firsts, strict=False)]
    return PatternMaps(
        form=several[0].form,
        origin=np.concatenate(origin),
        origins=tuple(origin for maps in several for origin in maps.origins),
        **parts,
    )


def collect(
    checkpoint: Checkpoint,
    crops: Callable[[Sequence[int]], UInt8[np.ndarray, "image row column 3"]],
    images: Sequence[str],
    *,
    form: str = "offset",
    progress: Progress = silent,
) -> PatternMaps:
    """The maps of all heads for all images, by one forward pass of each image.

    Memory holds the attention of one layer of a few images, and the finished rows.

    Args:
        checkpoint: whose heads.
        crops: the pixels of the images at the given places, as the model sees them.
        images: their names.
        form: a name of `forms.FORMS`.
        progress: told the share of images that are done.
    """
    chosen = _form(form)
    size = _images_at_once(checkpoint)
    n_heads = sum(checkpoint.n_heads)
    values = np.empty((len(images), n_heads, chosen.n_entries), np.float16)
    statistics = np.empty((len(images), n_heads, len(STATISTICS)), np.float32)
    for start in range(0, len(images), size):
        progress("Reading the maps", start / len(images))
        indices = range(start, min(start + size, len(images)))
        rows: list[tuple[Tensor, Tensor]] = []

        def fold(layer: LayerAttention, rows: list[tuple[Tensor, Tensor]] = rows) -> None:
            parts = [_rows(part, chosen) for part in layer.images]
            rows.append(
                (torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))
            )

        watch(checkpoint, checkpoint.prepare(crops(indices)), fold)
        values[start : indices.stop] = torch.cat([row for row, _ in rows], 1).numpy()
        statistics[start : indices.stop] = torch.cat([numbers for _, numbers in rows], 1).numpy()
    layer = np.repeat(np.arange(checkpoint.n_layers), checkpoint.n_heads)
    head = np.concatenate([np.arange(n) for n in checkpoint.n_heads])
    progress("Reading the maps", 1)
    return PatternMaps(
        form=form,
        values=values.reshape(-1, chosen.n_entries),
        statistics=statistics.reshape(-1, len(STATISTICS)),
        origin=np.zeros(len(images) * n_heads, np.int64),
        image=np.repeat(np.arange(len(images)), n_heads),
        layer=np.tile(layer, len(images)),
        head=np.tile(head, len(images)),
        origins=(Origin(checkpoint.name, checkpoint.digest, tuple(images)),),
    )


def _form(name: str) -> Form:
    if name not in FORMS:
        raise HeadscopeError(f"There is no form of maps {name!r}; there are: {', '.join(FORMS)}.")
    return FORMS[name]


def _rows(layer: LayerAttention, form: Form) -> tuple[Tensor, Tensor]:
    pairs = pairs_of(layer.layout)
    sums = sums_of(layer, pairs)
    channels = form.compute(pairs, sums).flatten(2)
    own = torch.zeros_like(sums.patch)
    if float(pairs.by_offset.sum()):
        own = sums.offset[..., pairs.by_offset.numel() // 2]  # the middle is offset (0, 0)
    values = torch.cat([sums.kinds, own[..., None], sums.key.amax(-1, keepdim=True)], -1)
    shares = torch.cat([channels, values], -1)
    # Rounding can leave a share a little below 0 (sums by difference) or above 1.
    numbers = shares.clamp(0, 1).sqrt().half().cpu()
    return numbers, statistics_of(pairs, sums).float().cpu()


def _images_at_once(checkpoint: Checkpoint) -> int:
    largest = max(
        layer.n_heads * layer.layout.query_tokens.size * layer.layout.key_tokens.shape[1]
        for layer in checkpoint.layers
    )
    return int(np.clip(BYTES_AT_ONCE // (4 * largest), 1, IMAGES_AT_ONCE))


def shares(
    form: str, values: Float[np.ndarray, "*lead entry"]
) -> Float[np.ndarray, "*lead channel row column"]:
    """Rows as maps of shares: what is shown, and what the square roots stand for."""
    shape = FORMS[form].shape
    maps = np.square(np.maximum(values[..., : int(np.prod(shape))].astype(np.float32), 0))
    return cast(np.ndarray, maps.reshape(*values.shape[:-1], *shape))
