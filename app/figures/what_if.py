"""With and without some heads: predictions, maps and explanations, as the browser takes them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from .explanation import as_url, ends, plain, table
from .palette import payload as palette
from .predictions import top
from .template import head_words, number

if TYPE_CHECKING:
    from ...analysis.what_if import Output, WhatIf
    from ...models.layout import TokenLayout

CLASSES = 5
"""Likeliest classes that are listed."""
MAPS = 8
"""Heads of "Maps that changed most"."""
LEAST_MOVED = 5e-4
"""Share of attention below which a map counts as unchanged: it would read 0.0 %."""
_LEAST, _MOST = 0.15, 0.85
"""Opacity of a map's colour where it is 0, and where it is largest."""
_SCATTERED_ROWS = 32
"""Cells from top to bottom where patches lie on no grid."""


# -- predictions -----------------------------------------------------------------------------------


def prediction(output: "Output", labels: Sequence[str]) -> dict[str, Any]:
    """The likeliest classes before and after, with the change of each in percentage points."""
    if not output.has_classes:
        cosine = float(output.cosine[0])
        return {
            "kind": "prediction",
            "title": "Features",
            "headline": number(cosine),
            "of": "cosine with the original's features",
            "flips": False,
            "text": "The model has no classes. 1: its features point the same way as before.",
            "rows": [],
        }
    both, target = output.probabilities, int(output.target[0])
    before, after = both.before[0], both.after[0]
    first, second = (int(side[0]) for side in (output.prediction.before, output.prediction.after))
    listed = list(dict.fromkeys([*top(before, CLASSES)[0].tolist(), second, target]))
    change = float(output.probability.change[0])
    flips = first != second
    return {
        "kind": "prediction",
        "title": "Prediction",
        "headline": f"{points(change)} points",
        "of": _label(labels, target),
        "flips": flips,
        "text": f"The prediction flips: {_label(labels, first)} → {_label(labels, second)}."
        if flips
        else f"The prediction stays: {_label(labels, first)}.",
        "rows": [
            {
                "name": _label(labels, index),
                "before": float(before[index]),
                "after": float(after[index]),
                "texts": [percent(before[index]), percent(after[index])],
                "change": points(float(after[index] - before[index])),
                "target": index == target,
            }
            for index in listed
        ],
    }


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if index < len(labels) else f"class {index}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(change: float) -> str:
    """A change of a share in percentage points, with its sign."""
    return f"{100 * change:+.1f}".replace("-", "−") if abs(change) >= LEAST_MOVED else "0.0"


# -- maps ------------------------------------------------------------------------------------------


def head_map(
    found: "WhatIf", head: tuple[int, int], size: tuple[int, int], query: str
) -> dict[str, Any]:
    """One head's attention before, after, and the difference, on one scale."""
    layer, index = head
    drawn = _attention(found, head, size)
    moved = float(found.moved[head])
    if found.unused[head]:
        text = "Its output is replaced: its own attention, which is shown, is not used any more."
    elif moved == 0:
        text = "Nothing changed in this head: it comes before the heads that are off."
    else:
        text = f"{percent(moved)} of its attention goes elsewhere (mean over queries)."
    return {
        "kind": "triple",
        "name": "head",
        "title": f"{head_words((layer, index))} · {query}",
        "text": text,
        **drawn,
    }


def changed_most(found: "WhatIf", size: tuple[int, int], query: str) -> dict[str, Any]:
    """The heads whose attention moved most, each before, after, and the difference."""
    order = ranked(found.moved)[:MAPS]
    return {
        "kind": "strip",
        "title": "Maps that changed most",
        "text": f"By the share of a head's attention that goes elsewhere, mean over queries. "
        f"Drawn: {query}; before, after, difference, each head on its own scale.",
        "none": "" if order else "No map changed: no later head looks elsewhere.",
        "heads": [
            {
                "layer": layer,
                "head": head,
                "name": head_words((layer, head)),
                "moved": percent(float(found.moved[layer, head])),
                **_attention(found, (layer, head), size),
            }
            for layer, head in order
        ],
    }


def ranked(moved: Float[np.ndarray, "layer head"]) -> list[tuple[int, int]]:
    """Heads by how much of their attention moved, largest first; those that did not are left out.

    NaN (no such head, attention not used) is left out.
    """
    there = [(int(layer), int(head)) for layer, head in np.argwhere(moved >= LEAST_MOVED)]
    return sorted(there, key=lambda head: (-moved[head], head))


def _attention(found: "WhatIf", head: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    layer, index = head
    rows, cells = found.rows[layer], raster(found.keys[layer], size)
    before, after = (side[index].astype(float) for side in (rows.before, rows.after))
    if cells is None:
        return {"maps": [], "scale": [], "none": "Its keys are no patches of the picture."}
    patches = np.flatnonzero(found.keys[layer].is_patch)
    return triple(before[patches][cells], after[patches][cells], signed=False, share=True)


def raster(keys: "TokenLayout", size: tuple[int, int]) -> "Int[np.ndarray, 'row column'] | None":
    """The patch that each cell of the picture belongs to; None where there are none."""
    if not keys.n_patches:
        return None
    if keys.scattered is None:
        rows, columns = keys.grid
        return np.arange(rows * columns).reshape(rows, columns)
    rows = _SCATTERED_ROWS
    columns = max(1, round(rows * size[1] / size[0]))
    y, x = ((np.arange(n) + 0.5) * side / n for n, side in zip((rows, columns), size, strict=True))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), -1)
    apart = ((places[:, :, None] - np.asarray(keys.scattered, float)) ** 2).sum(-1)
    return apart.argmin(-1)


def triple(
    before: Float[np.ndarray, "row column"],
    after: Float[np.ndarray, "row column"],
    *,
    signed: bool,
    share: bool = False,
) -> dict[str, Any]:
    """Two maps and after − before, all on one scale that ends at the largest of the two.

    `share`: values are shares, and the ends are written in percent.
    """
    end = max(float(np.abs(np.nan_to_num(side)).max()) for side in (before, after))
    sides = (
        ("Before", before, signed),
        ("After", after, signed),
        ("Difference", after - before, True),
    )
    scales = {"signed": "all three"} if signed else {"attention": "maps", "signed": "difference"}
    return {
        "maps": [
            {"title": title, "source": layer_of(values, signed=is_signed, largest=end)}
            for title, values, is_signed in sides
        ],
        "scale": [_scale(name, end, share=share) | {"of": words} for name, words in scales.items()],
        "none": "",
    }


def _scale(name: str, end: float, *, share: bool) -> dict[str, Any]:
    low, high = ends(100 * end if share else end, signed=name == "signed")
    unit = " %" if share else ""
    return {
        "colours": palette()[name],
        "low": low if low == "0" else low + unit,
        "high": high + unit,
    }


def layer_of(values: Float[np.ndarray, "row column"], *, signed: bool, largest: float) -> str:
    """One pixel for each cell, to be laid over the picture: the larger, the less transparent."""
    finite = np.nan_to_num(values.astype(float))
    share = np.clip(finite / largest if largest else finite * 0, -1 if signed else 0, 1)
    colour_of = table(signed=signed)
    place = (share + 1) / 2 if signed else share
    colour = colour_of[np.round(place * (len(colour_of) - 1)).astype(int)]
    opacity = 255 * (_LEAST + (_MOST - _LEAST) * np.abs(share))
    return as_url(Image.fromarray(np.dstack([colour, opacity]).round().astype(np.uint8), "RGBA"))


def picture(pixels: UInt8[np.ndarray, "row column 3"]) -> str:
    """What lies beneath the maps, in grey."""
    return as_url(Image.fromarray(pixels).convert("L"))


# -- explanation -----------------------------------------------------------------------------------


def explanation(
    name: str,
    before: Float[np.ndarray, "row column"],
    after: Float[np.ndarray, "row column"],
    *,
    signed: bool,
    target: str,
    scores: tuple[float, float],
    likeness: float,
) -> dict[str, Any]:
    """The map of one method before, after, and the difference, on one scale."""
    return {
        "kind": "triple",
        "name": "explanation",
        "title": name,
        "text": f"{target[:1].upper()}{target[1:]}: {plain(scores[0])} → {plain(scores[1])}. Rank "
        f"correlation of the two maps: {plain(likeness)}.",
        **triple(before, after, signed=signed),
    }


# -- words -----------------------------------------------------------------------------------------


def heads_words(heads: Sequence[tuple[int, int]], n_heads: Sequence[int]) -> str:
    """Heads in a line: whole layers by name, few heads one by one, many by layer."""
    parts = []
    for layer in sorted({layer for layer, _ in heads}):
        own = sorted(head for at, head in heads if at == layer)
        if len(own) == n_heads[layer] > 1:
            parts.append(f"all of layer {layer}")
        else:
            parts.append(f"layer {layer}: {', '.join(map(str, own))}")
    shown = "; ".join(parts[:4])
    return shown + (f"; and {len(parts) - 4} more layers" if len(parts) > 4 else "")


def is_all(heads: Sequence[tuple[int, int]], n_heads: Sequence[int]) -> bool:
    """Whether no head is left."""
    return len(set(heads)) == sum(n_heads)
