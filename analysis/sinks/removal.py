"""What a checkpoint does without its sinks: prediction, maps and any attention metric."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...models.ablation import ablate
from ...models.ablations import ablation
from ...models.ablations.sinks import SinkEdit
from ...models.capture import LayerAttention, watch
from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from ..metrics import attention_metrics
from .batches import BATCH_SIZE, batches, held
from .find import find_sinks

IMAGE_CENTRIC = "image-centric"
Heads = Iterable[tuple[int, int]] | Literal["image-centric"]


@dataclass(frozen=True, eq=False)
class Beside:
    """A number with and without sinks, and the difference."""

    before: np.ndarray
    after: np.ndarray

    @property
    def change(self) -> np.ndarray:
        """After − before."""
        return self.after - self.before


@dataclass(frozen=True, eq=False)
class WithoutSinks:
    """What changes when sinks are removed in some heads."""

    how: str
    """The ablation, by name."""
    heads: tuple[tuple[int, int], ...]
    """`(layer, head)` of those that were changed."""
    output: Beside
    """The model's output, `image output`: logits, or features where there are no classes."""
    metrics: Mapping[str, Beside]
    """Attention metrics, `image layer head …`; NaN for heads that a layer does not have."""
    maps: Mapping[tuple[int, int], Beside]
    """Maps of the heads that were asked for, `image query key`."""
    has_classes: bool

    @property
    def probabilities(self) -> Beside:
        """Class probabilities, `image label`.

        Raises:
            HeadscopeError: the model has no classes.
        """
        if not self.has_classes:
            raise HeadscopeError("There are no probabilities: the model computes features only.")
        return Beside(_softmax(self.output.before), _softmax(self.output.after))

    @property
    def prediction(self) -> Beside:
        """The likeliest class of each image, by index."""
        probabilities = self.probabilities
        return Beside(probabilities.before.argmax(-1), probabilities.after.argmax(-1))


def without_sinks(
    checkpoint: Checkpoint,
    images: Images,
    *,
    heads: Heads | None = None,
    how: str = "sinks:masked",
    metrics: Sequence[str] = ("sink_score", "sink_concentration", "entropy"),
    maps: Iterable[tuple[int, int]] = (),
    batch_size: int = BATCH_SIZE,
) -> WithoutSinks:
    """Run images with and without sinks, and compare.

    Later layers see what the earlier ones left: maps and metrics of the second pass are those of
    the changed network, and in the changed heads of A′.

    Args:
        checkpoint: from `load`.
        images: of any source, or a batch ready for the model.
        heads: those to change; `"image-centric"`: those that `find_sinks` calls so on these images
            (as Kang et al. do); None: all in which a sink can be told.
        how: `"sinks:masked"`, `"sinks:redistributed"`, `"sinks>8:masked"`, `"sinks[0]:masked"`, …
        metrics: attention metrics by name.
        maps: `(layer, head)` of the maps to give back: they are large.
        batch_size: images in one forward pass.

    Raises:
        HeadscopeError: a name, a head or an image that there is not.
    """
    edit = ablation(how)
    if not isinstance(edit, SinkEdit):
        raise HeadscopeError(
            f"The ablation {how!r} is not about sinks; give one such as 'sinks:masked' or "
            "'sinks:redistributed', or use hs.ablate."
        )
    known = attention_metrics()
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise HeadscopeError(
            f"There is no attention metric {unknown[0]!r}; there are: {', '.join(known)}."
        )
    wanted = tuple(maps)
    for layer, head in wanted:
        checkpoint.check_head(layer, head)
    images = held(images)
    chosen = _chosen(checkpoint, images, edit, heads, batch_size)
    of_layer: dict[int, list[int]] = defaultdict(list)
    for layer, head in chosen:
        of_layer[layer].append(head)

    sides = []
    for changed in (False, True):
        side = _Side(metrics, wanted)
        for batch in batches(checkpoint, images, batch_size):
            context: AbstractContextManager[None] = nullcontext()
            if changed and chosen:
                context = ablate(checkpoint, chosen, mode=how)

            def see(layer: LayerAttention, *, side: _Side = side, changed: bool = changed) -> None:
                side.take(layer, edit if changed else None, of_layer.get(layer.layer, []))

            with context:
                side.outputs.append(watch(checkpoint, batch, see).double().cpu())
        sides.append(side)
    before, after = sides
    return WithoutSinks(
        how,
        chosen,
        Beside(before.output, after.output),
        {
            name: Beside(before.of_heads(name, checkpoint), after.of_heads(name, checkpoint))
            for name in metrics
        },
        {head: Beside(before.map_of(head), after.map_of(head)) for head in wanted},
        checkpoint.has_classes,
    )


def edited_attention(
    layer: LayerAttention, edit: SinkEdit, heads: Sequence[int]
) -> list[LayerAttention]:
    """A layer with A′ in some heads, as whatever reads maps takes it; one for each layout.

    Head outputs are those of the pass: A′ v where it ran under `hs.ablate`.
    """
    if not heads:
        return layer.images
    edited = []
    for image in layer.images:
        weights = image.window_weights.clone()
        chosen = list(heads)
        weights[:, :, chosen] = edit.window_weights(image, chosen, weights[:, :, chosen])
        edited.append(image.with_window_weights(weights))
    return edited


def _chosen(
    checkpoint: Checkpoint,
    images: Images,
    edit: SinkEdit,
    heads: Heads | None,
    batch_size: int,
) -> tuple[tuple[int, int], ...]:
    if heads is None or heads == IMAGE_CENTRIC:
        if heads is None:
            every = [(at, head) for at, n in enumerate(checkpoint.n_heads) for head in range(n)]
        else:
            lift = edit.rule.lift
            report = find_sinks(checkpoint, images, lift=lift, batch_size=batch_size)
            every = report.image_centric_heads
        layouts = [layer.layout for layer in checkpoint.layers]
        fits = [not edit.why_not(layout.queries, layout.keys) for layout in layouts]
        return tuple((layer, head) for layer, head in every if fits[layer])
    if isinstance(heads, str):
        raise HeadscopeError(
            f"There are no heads called {heads!r}; give (layer, head) pairs or {IMAGE_CENTRIC!r}."
        )
    return tuple(dict.fromkeys(heads))


class _Side:
    """One of the two passes."""

    def __init__(self, metrics: Sequence[str], maps: Sequence[tuple[int, int]]) -> None:
        self._metrics = {name: attention_metrics()[name] for name in metrics}
        self._wanted = maps
        self._numbers: dict[str, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self._maps: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        self.outputs: list[Tensor] = []

    def take(self, layer: LayerAttention, edit: SinkEdit | None, heads: Sequence[int]) -> None:
        """One layer as it passes, with the edit where there is one."""
        views = [layer] if edit is None else edited_attention(layer, edit, heads)
        for view in views:
            for name, metric in self._metrics.items():
                self._numbers[name][layer.layer].append(metric.compute(view).double().cpu())
            for at in self._wanted:
                if at[0] == layer.layer:
                    self._maps[at].append(view.weights[:, at[1]].double().cpu())

    @property
    def output(self) -> Float[np.ndarray, "image output"]:
        return torch.cat(self.outputs).numpy()

    def of_heads(self, name: str, checkpoint: Checkpoint) -> np.ndarray:
        """`image layer head …`, NaN for heads that a layer does not have."""
        found = [torch.cat(layer) for _, layer in sorted(self._numbers[name].items())]
        n_heads = max(checkpoint.n_heads)
        stacked = np.full((len(found[0]), len(found), n_heads, *found[0].shape[2:]), np.nan)
        for layer, values in enumerate(found):
            stacked[:, layer, : values.shape[1]] = values.numpy()
        return stacked

    def map_of(self, head: tuple[int, int]) -> Float[np.ndarray, "image query key"]:
        return torch.cat(self._maps[head]).numpy()


def _softmax(logits: Float[np.ndarray, "image label"]) -> Float[np.ndarray, "image label"]:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)
