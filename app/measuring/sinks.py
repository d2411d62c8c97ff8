"""Sinks: where attention drains to, in one picture and over many, and what is left without them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from ..jobs import Job
from . import pictures as sizes
from .pictures import Pictures

if TYPE_CHECKING:  # these import torch; the page shows its frame first
    from ... import Checkpoint
    from ...analysis.sinks.image import LayerSinks
    from ...analysis.sinks.removal import Beside, WithoutSinks
    from ...analysis.sinks.report import SinkReport
    from ...models.layout import AttentionLayout, TokenLayout

MOST = 64
"""Most images that sinks are looked for on."""
PASSES = 1000
"""Passes of a demo checkpoint that one look may take."""
BATCH = 4
"""Images between two looks at whether anybody still waits."""
METRICS = ("sink_score", "sink_concentration", "entropy")
"""What is set side by side with and without sinks."""

Heads = tuple[tuple[int, int], ...]


def images_for(checkpoint: "Checkpoint", pictures: Pictures) -> int:
    """On how many pictures: fewer for larger checkpoints."""
    most = max(sizes.LEAST_IMAGES, round(PASSES / sizes.passes(checkpoint)))
    return min(pictures.n, MOST, most)


@dataclass(frozen=True, eq=False)
class Sinks:
    """What a look at many images found."""

    report: "SinkReport"
    rows: "tuple[TokenLayout | None, ...]"
    """The tokens of the hidden state after each layer, where it has some."""


def report(job: Job[Sinks], checkpoint: "Checkpoint", pictures: Pictures) -> Sinks:
    """Sinks of all heads, and what hidden states show of them."""
    from ...analysis.sinks.find import find_sinks

    batch = _batch(job, checkpoint, pictures)
    n = len(batch)
    found = find_sinks(
        checkpoint,
        batch,
        batch_size=BATCH,
        progress=lambda done: job.report(done / n, f"{done} of {n} images"),
    )
    rows = tuple(None if at.rows is None else at.rows.layout for at in checkpoint.layers)
    return Sinks(found, rows)


def in_picture(
    job: "Job[tuple[LayerSinks, ...]]",
    checkpoint: "Checkpoint",
    crop: UInt8[np.ndarray, "row column 3"],
) -> "tuple[LayerSinks, ...]":
    """What every key of every head gets in one picture."""
    from ...analysis.sinks.image import image_sinks

    job.report(0)
    return image_sinks(checkpoint, crop)


def _batch(job: Job[Any], checkpoint: "Checkpoint", pictures: Pictures) -> Any:
    job.report(0, "Reading the images")
    places = pictures.spread(images_for(checkpoint, pictures))
    return checkpoint.prepare(pictures.crops(checkpoint, places))


# -- without sinks ---------------------------------------------------------------------------------


def fitting(checkpoint: "Checkpoint", heads: Heads, how: str) -> tuple[Heads, str]:
    """Those of the heads that sinks can be removed from, and why not from the others."""
    from ...models.ablations import ablation

    edit, reasons = ablation(how), {}
    for index, layer in enumerate(checkpoint.layers):
        reasons[index] = edit.why_not(layer.layout.queries, layer.layout.keys)
    kept = tuple(head for head in heads if not reasons[head[0]])
    left_out = sorted({head[0] for head in heads if reasons[head[0]]})
    if not left_out:
        return kept, ""
    return kept, f"Layer {left_out[0]} is left out: {reasons[left_out[0]]}." if len(
        left_out
    ) == 1 else f"{len(left_out)} layers are left out, the first because {reasons[left_out[0]]}."


@dataclass(frozen=True, eq=False)
class Output:
    """What becomes of the outputs of some images."""

    prediction: "Beside | None"
    """The likeliest class, `image`; None where there are no classes."""
    probability: "Beside | None"
    """Of the class that is the likeliest with sinks, `image`."""
    cosine: Float[np.ndarray, " image"]
    """Between the outputs with and without: logits, or features."""

    @property
    def flips(self) -> Int[np.ndarray, " image"]:
        """The images whose likeliest class is another."""
        return np.flatnonzero(self.prediction.change) if self.prediction else np.zeros(0, int)


@dataclass(frozen=True, eq=False)
class OverImages:
    """With and without sinks, over images."""

    output: Output
    metrics: "Mapping[str, Beside]"
    """Of the changed heads, `image head`."""

    @property
    def n_images(self) -> int:
        return len(self.output.cosine)


def over_images(
    job: Job[OverImages], checkpoint: "Checkpoint", pictures: Pictures, how: str, heads: Heads
) -> OverImages:
    """Run images with and without sinks in some heads."""
    from ...analysis.sinks.removal import Beside, without_sinks

    batch = _batch(job, checkpoint, pictures)
    layers, columns = (list(part) for part in zip(*heads, strict=True))
    outputs: list[Output] = []
    numbers: dict[str, list[Any]] = defaultdict(list)
    for start in range(0, len(batch), BATCH):
        job.report(start / len(batch), f"{start} of {len(batch)} images")
        part = batch[start : start + BATCH]
        found = without_sinks(checkpoint, part, heads=heads, how=how, metrics=METRICS)
        outputs.append(_output(found))
        for name, beside in found.metrics.items():
            sides = (side[:, layers, columns] for side in (beside.before, beside.after))
            numbers[name].append(Beside(*sides))
    return OverImages(_together(outputs), {name: _joined(parts) for name, parts in numbers.items()})


@dataclass(frozen=True, eq=False)
class OfPicture:
    """With and without sinks in one picture."""

    output: Output
    probabilities: "Beside | None"
    """Of all classes, `label`."""
    attention: "Beside"
    """What keys get in the chosen head, `key`: from one query, or mean over those that reach them;
    NaN for a key out of reach."""


def of_picture(
    job: Job[OfPicture],
    checkpoint: "Checkpoint",
    crop: UInt8[np.ndarray, "row column 3"],
    how: str,
    heads: Heads,
    shown: tuple[int, int],
    query: int | None,
) -> OfPicture:
    """Run one picture with and without sinks in some heads; `shown` is the head whose map is."""
    from ...analysis.sinks.removal import Beside, without_sinks

    job.report(0)
    batch = checkpoint.prepare(crop[None])
    found = without_sinks(checkpoint, batch, heads=heads, how=how, metrics=(), maps=[shown])
    layout, maps = checkpoint.layers[shown[0]].layout, found.maps[shown]
    probabilities = None
    if checkpoint.has_classes:
        both = found.probabilities
        probabilities = Beside(both.before[0], both.after[0])
    reach = _reach(layout, maps.before[0])
    attention = Beside(_row(maps.before[0], reach, query), _row(maps.after[0], reach, query))
    return OfPicture(_output(found), probabilities, attention)


def _reach(layout: "AttentionLayout", weights: Float[np.ndarray, "query key"]) -> Any:
    """Which query reaches which key: in windows that shift, masks cut some of them apart."""
    from ...models.sinks import UNREACHED

    if layout.n_windows == 1:
        return np.broadcast_to(np.True_, weights.shape)
    return layout.reach & (weights > UNREACHED)


def _row(weights: Float[np.ndarray, "query key"], reach: Any, query: int | None) -> np.ndarray:
    if query is not None:
        return np.where(reach[query], weights[query], np.nan)
    n = reach.sum(0)
    total = np.where(reach, weights, 0).sum(0)
    return np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)


def _output(found: "WithoutSinks") -> Output:
    from ...analysis.sinks.removal import Beside

    before, after = found.output.before, found.output.after
    lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    cosine = (before * after).sum(-1) / lengths
    if not found.has_classes:
        return Output(None, None, cosine)
    prediction, probabilities = found.prediction, found.probabilities
    at = np.arange(len(before)), prediction.before
    of_class = Beside(probabilities.before[at], probabilities.after[at])
    return Output(prediction, of_class, cosine)


def _together(parts: Sequence[Output]) -> Output:
    def of(name: str) -> Any:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else _joined(found)

    return Output(of("prediction"), of("probability"), np.concatenate([p.cosine for p in parts]))


def _joined(parts: "Sequence[Beside]") -> "Beside":
    from ...analysis.sinks.removal import Beside

    return Beside(
        np.concatenate([part.before for part in parts]),
        np.concatenate([part.after for part in parts]),
    )
