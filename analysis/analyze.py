"""One checkpoint on one set of images: the front door of the analysis."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..models.capture import LayerAttention
from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from ..models.images import ImageSource, Photograph, one_or_many, read_image
from ..models.replay import Replay
from .importance import ELEMENTS_AT_ONCE, ImportanceMetric, head_importance, importance_metrics
from .metrics import AttentionMetric, attention_metrics
from .study import Study
from .writer import N_RANKED, StudyWriter

ABLATION = "zero"
Image = ImageSource | Photograph


@dataclass(frozen=True)
class Progress:
    """How far an analysis is."""

    done: float
    """Images, with the part of the current one."""
    total: int
    text: str


def analyze(
    checkpoint: Checkpoint,
    images: Image | Iterable[Image],
    *,
    target: int | str | None = None,
    out: str | Path | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    on_unreadable: Callable[[Image, HeadscopeError], None] | None = None,
) -> Study:
    """Head importance and attention metrics of a checkpoint on a set of images.

    Args:
        checkpoint: from `load`.
        images: one or several, paths or photographs. A path is read when its turn comes, so memory
            does not grow with the number of images.
        target: class that importance is about, by index or label; None: each image's own
            prediction.
        out: where the study is written as it grows. The same call goes on with a study that was
            interrupted. None keeps it in memory.
        batch_size: images in one forward pass; by default as many as keep memory small.
        seed: recorded for what draws at random (nothing does yet with zero ablation).
        progress: told after each layer; whatever it raises stops the analysis, and the study keeps
            the images that are done.
        on_unreadable: told of each image that cannot be read, before anything is computed; unless
            it raises, the image is left out. None: the first one ends the analysis.

    Raises:
        HeadscopeError: an image or the target is not there, or `out` cannot be used.
    """
    wanted = None if target is None else checkpoint.class_index(target)
    sources = _sources(one_or_many(images), progress, on_unreadable)
    importance, attention = importance_metrics(checkpoint), attention_metrics()
    writer = StudyWriter.open(
        out,
        checkpoint,
        {source.name: (source.digest, source.path) for source in sources},
        {"target": wanted, "ablations": [ABLATION], "seed": seed},
        importance,
        attention,
    )
    to_do = writer.to_do
    n_before = len(sources) - len(to_do)
    size = batch_size or images_at_once(checkpoint)
    for start in range(0, len(to_do), size):
        batch = [sources[index] for index in to_do[start : start + size]]

        def tell(share: float, start: int = start, batch: list[_Source] = batch) -> None:
            if progress is not None:
                more = f" and {len(batch) - 1} more" if len(batch) > 1 else ""
                done = n_before + start + share * len(batch)
                progress(Progress(done, len(sources), batch[0].name + more))

        tell(0)
        crops = np.stack([checkpoint.crop(source.photograph()) for source in batch])
        results = _analyze_batch(
            checkpoint, crops, wanted, importance.values(), attention.values(), tell
        )
        for position, index in enumerate(to_do[start : start + size]):
            writer.write(index, {name: values[position] for name, values in results.items()})
        tell(1)
    return writer.study


def _analyze_batch(
    checkpoint: Checkpoint,
    crops: UInt8[np.ndarray, "image row column 3"],
    target: int | None,
    importance: Iterable[ImportanceMetric],
    attention: Iterable[AttentionMetric],
    tell: Callable[[float], None],
) -> dict[str, Any]:
    """All results of a few images, by the name of the variable; the first axis is the image."""
    metrics = list(attention)
    folded: dict[str, list[Tensor]] = {metric.name: [] for metric in metrics}

    def fold(layer: LayerAttention) -> None:
        for metric in metrics:
            folded[metric.name].append(metric.compute(layer).cpu())

    replay = Replay(checkpoint, checkpoint.prepare(crops), fold)
    results: dict[str, Any] = {name: _by_layer(layers) for name, layers in folded.items()}
    results["pixels"] = crops
    targets = torch.full((len(crops),), -1, device=replay.output.device)
    if checkpoint.has_classes:
        probabilities = replay.output.double().softmax(-1)
        top = probabilities.topk(min(N_RANKED, len(checkpoint.labels)))
        targets = top.indices[:, 0] if target is None else torch.full_like(targets, target)
        results |= {
            "target": targets.cpu(),
            "target_probability": probabilities.gather(1, targets[:, None])[:, 0].cpu(),
            "top_class": top.indices.cpu(),
            "top_probability": top.values.cpu(),
        }
    scores: dict[str, list[Tensor]] = {metric.name: [] for metric in importance}
    for layer, of_layer in head_importance(replay, targets, ABLATION, list(importance)):
        for name, values in of_layer.items():
            scores[name].append(values)
        # The whole is told once it is written.
        tell((layer + 1) / (checkpoint.n_layers + 1))
    return results | {name: _by_layer(layers)[:, None] for name, layers in scores.items()}


def _by_layer(layers: Sequence[Tensor]) -> Float[np.ndarray, "image layer head ..."]:
    """Layers side by side; those with fewer heads are filled up with NaN."""
    n_heads = max(layer.shape[1] for layer in layers)
    first = layers[0]
    stacked = np.full((len(first), len(layers), n_heads, *first.shape[2:]), np.nan)
    for index, layer in enumerate(layers):
        stacked[:, index, : layer.shape[1]] = layer.numpy()
    return stacked


@dataclass(frozen=True)
class _Source:
    """An image of a study: checked, but held in memory only where the caller holds it."""

    name: str
    digest: str
    path: str
    held: Photograph | None

    def photograph(self) -> Photograph:
        if self.held is not None:
            return self.held
        photograph = read_image(self.path)
        if photograph.digest != self.digest:
            raise HeadscopeError(
                f"{self.path} changed while it was being analysed; start again, with another "
                "place for the study."
            )
        return photograph


def _sources(
    images: Sequence[Image],
    progress: Callable[[Progress], None] | None,
    on_unreadable: Callable[[Image, HeadscopeError], None] | None,
) -> list[_Source]:
    """Every image, read once to see that it can be read, under a name of its own."""
    if not images:
        raise HeadscopeError("There is no image to analyse; name at least one.")
    sources: dict[str, _Source] = {}
    unreadable: list[HeadscopeError] = []
    for index, image in enumerate(images):
        if progress is not None:
            text = f"checking image {index + 1} of {len(images)}"
            progress(Progress(0, len(images), text))
        try:
            photograph = image if isinstance(image, Photograph) else read_image(image)
        except HeadscopeError as error:
            if on_unreadable is None:
                raise
            on_unreadable(image, error)
            unreadable.append(error)
            continue
        path = "" if photograph.path is None else str(photograph.path)
        again = path and not isinstance(image, Photograph)
        name, number = photograph.name, 2
        while name in sources:
            name, number = f"{photograph.name} ({number})", number + 1
        sources[name] = _Source(name, photograph.digest, path, None if again else photograph)
    if not sources:
        raise HeadscopeError(
            f"None of {len(images)} images can be read. The first: {unreadable[0]}"
        )
    return list(sources.values())


def images_at_once(checkpoint: Checkpoint) -> int:
    """Images whose ablations of one layer make about one batch."""
    widest = max(reading.n_heads * reading.channels for reading in checkpoint.report.layers)
    return max(1, ELEMENTS_AT_ONCE // (widest * checkpoint.layout.n_tokens))
