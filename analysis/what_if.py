"""What if some heads were switched off: one image, or many, with and without them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..models.ablation import ablate
from ..models.ablations import HeadStatistics, ablation
from ..models.capture import LayerAttention, watch
from ..models.checkpoint import Checkpoint, Images
from ..models.errors import HeadscopeError
from ..models.layers import dense_maps
from ..models.layout import AttentionLayout, TokenLayout
from .importance.joint import Head
from .maps import attention_rows
from .sinks.removal import Beside

BYTES_AT_ONCE = 400_000_000
"""Maps of both passes that are held at once; where there are more, they run in parts."""
BATCH = 8
"""Images in one forward pass."""


@dataclass(frozen=True, eq=False)
class Output:
    """The output of some images with all heads, and without some."""

    raw: Beside
    """Logits, or features: `image output`."""
    has_classes: bool
    target: Int[np.ndarray, " image"]
    """The class that is followed: the one asked for, or each image's prediction with all heads; -1
    where the model has no classes."""

    @property
    def probabilities(self) -> Beside:
        """Of all classes, `image label`."""
        return Beside(_softmax(self.raw.before), _softmax(self.raw.after))

    @property
    def probability(self) -> Beside:
        """Of the target, `image`."""
        at, both = (np.arange(len(self.target)), self.target), self.probabilities
        return Beside(both.before[at], both.after[at])

    @property
    def prediction(self) -> Beside:
        """The likeliest class, `image`."""
        return Beside(self.raw.before.argmax(-1), self.raw.after.argmax(-1))

    @property
    def flips(self) -> Int[np.ndarray, " flip"]:
        """The images whose likeliest class is another."""
        return np.flatnonzero(self.prediction.change)

    @property
    def cosine(self) -> Float[np.ndarray, " image"]:
        """Between the outputs with and without: 1 where they point the same way."""
        before, after = self.raw.before, self.raw.after
        lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
        with np.errstate(invalid="ignore"):
            return (before * after).sum(-1) / lengths


@dataclass(frozen=True, eq=False)
class WhatIf:
    """One image with all heads, and with some of them changed."""

    heads: tuple[Head, ...]
    """Those that were changed; with `keep`, those that stayed."""
    mode: str
    output: Output
    """Of the one image."""
    keys: tuple[TokenLayout, ...]
    """The key tokens of each layer."""
    rows: tuple[Beside, ...]
    """For each layer, attention by `head key`: of the query that was asked for, or the mean over
    all queries. Of heads whose attention was changed, what it is instead (but not where heads are
    mixed after the softmax: there it is the attention before the mixing)."""
    moved: Float[np.ndarray, "layer head"]
    """How much of its attention goes elsewhere: ½ Σ_k |A′_qk − A_qk|, mean over queries q; 0…1, NaN
    where there is no such head, or where its attention is not used any more."""
    unused: Bool[np.ndarray, "layer head"]
    """Heads whose whole output was replaced: their attention is what it would have been."""


def what_if(
    checkpoint: Checkpoint,
    image: Images,
    heads: Iterable[Head],
    *,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
    target: int | str | None = None,
    queries: Sequence[int | None] = (),
    begin: Callable[[], None] = lambda: None,
) -> WhatIf:
    """Run one image with all heads, and with some of them changed as `ablate` does.

    Args:
        checkpoint: from `load`.
        image: one, of any source, or a batch of one ready for the model.
        heads: `(layer, head)` of those to change.
        mode: the ablation's name; `ablations` lists them.
        reference: from `hs.reference`, for modes that compare with other images.
        target: the class to follow; None: the prediction with all heads.
        queries: for each layer the query token whose attention is wanted; None: mean over queries.
        begin: called when nobody else runs the checkpoint any more, before anything is computed;
            whatever it raises stops the work.

    Raises:
        HeadscopeError: as `ablate`, or there is more than one image.
    """
    batch, taken = checkpoint.batch(image), tuple(heads)
    if len(batch) != 1:
        raise HeadscopeError(f"There are {len(batch)} images; give one, or use what_if_over.")
    rows: list[Beside] = []
    moved = np.full((checkpoint.n_layers, max(checkpoint.n_heads)), np.nan)
    unused = np.zeros(moved.shape, bool)
    outputs: tuple[Tensor, Tensor] | None = None
    # Each pass takes the lock by itself: others wait for one of them, not for all.
    for place, part in enumerate(_parts(checkpoint)):
        sides = [_Side(part, queries), _Side(part, queries, mode, taken)]
        with checkpoint.lock:
            if place == 0:
                begin()
            first = watch(checkpoint, batch, sides[0].take)
        outputs = first, _without(checkpoint, batch, taken, mode, reference, sides[1].take)
        for layer in part:
            before, after = (side.layers[layer] for side in sides)
            rows.append(Beside(before.rows, after.rows))
            moved[layer, : len(before.rows)] = _moved(before, after)
            unused[layer, list(after.unused)] = True
    assert outputs is not None
    moved[unused] = np.nan
    return WhatIf(
        taken,
        mode,
        _output(checkpoint, *outputs, target),
        tuple(layer.layout.keys for layer in checkpoint.layers),
        tuple(rows),
        moved,
        unused,
    )


def what_if_over(
    checkpoint: Checkpoint,
    images: Images,
    heads: Iterable[Head],
    *,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
    target: int | str | Sequence[int] | None = None,
    batch_size: int = BATCH,
    progress: Callable[[int], None] = lambda _: None,
) -> Output:
    """The output of many images with all heads, and with some of them changed.

    Args:
        checkpoint, heads, mode, reference: as of `what_if`.
        images: of any source, or a batch ready for the model.
        target: the class to follow, one for all or for each; None: each image's prediction.
        batch_size: images in one forward pass.
        progress: told how many are done; whatever it raises stops the work.

    Raises:
        HeadscopeError: as `ablate`.
    """
    batch, taken = checkpoint.batch(images), tuple(heads)
    before, after = [], []
    for start in range(0, len(batch), batch_size):
        progress(start)
        part = batch[start : start + batch_size]
        before.append(checkpoint.run(part).cpu())
        after.append(_without(checkpoint, part, taken, mode, reference, None).cpu())
    return _output(checkpoint, torch.cat(before), torch.cat(after), target)


def _without(
    checkpoint: Checkpoint,
    batch: Tensor,
    heads: tuple[Head, ...],
    mode: str,
    reference: HeadStatistics | None,
    on_layer: Callable[[LayerAttention], None] | None,
) -> Tensor:
    changed = ablate(checkpoint, heads, mode=mode, reference=reference) if heads else nullcontext()
    with changed:
        if on_layer is None:
            return checkpoint.run(batch)
        return watch(checkpoint, batch, on_layer)


def _output(
    checkpoint: Checkpoint,
    before: Tensor,
    after: Tensor,
    target: int | str | Sequence[int] | None,
) -> Output:
    raw = Beside(before.double().cpu().numpy(), after.double().cpu().numpy())
    if not checkpoint.has_classes:
        return Output(raw, has_classes=False, target=np.full(len(before), -1))
    if target is None:
        classes = raw.before.argmax(-1)
    elif isinstance(target, (int, str)):
        classes = np.full(len(before), checkpoint.class_index(target))
    else:
        classes = np.array([checkpoint.class_index(one) for one in target])
    return Output(raw, has_classes=True, target=classes)


def _parts(checkpoint: Checkpoint) -> list[list[int]]:
    """Layers whose maps are held together."""
    parts: list[list[int]] = [[]]
    held = 0
    for index, layer in enumerate(checkpoint.layers):
        n_weights = layer.layout.query_tokens.size * layer.layout.key_tokens.shape[1]
        size = 8 * layer.n_heads * n_weights  # both passes
        if parts[-1] and held + size > BYTES_AT_ONCE:
            parts.append([])
            held = 0
        parts[-1].append(index)
        held += size
    return parts


@dataclass(frozen=True, eq=False)
class _Layer:
    """What is kept of one layer of one pass."""

    rows: Float[np.ndarray, "head key"]
    layout: AttentionLayout
    maps: Float[Tensor, "window head query key"]
    edited: dict[int, Float[Tensor, "query key"]]
    """Heads whose attention was changed: what it is instead."""
    unused: frozenset[int]


class _Side:
    """One of the two passes."""

    def __init__(
        self,
        part: Sequence[int],
        queries: Sequence[int | None],
        mode: str | None = None,
        heads: Sequence[Head] = (),
    ) -> None:
        self._part, self._queries, self._heads = part, queries, heads
        self._ablation = None if mode is None else ablation(mode)
        self.layers: dict[int, _Layer] = {}

    def take(self, seen: LayerAttention) -> None:
        """One layer as it passes."""
        if seen.layer not in self._part:
            return
        query = self._queries[seen.layer] if seen.layer < len(self._queries) else None
        rows = attention_rows(seen, query)
        edited: dict[int, Tensor] = {}
        unused: set[int] = set()
        chosen = {head for layer, head in self._heads if layer == seen.layer}
        if self._ablation is not None and chosen:
            if self._ablation.converse:  # the others are taken away
                unused = set(range(len(rows))) - chosen
            elif not seen.of.mixed:  # maps are those before the mixing, edits come after it
                for head in chosen:
                    instead = self._ablation.attention(seen, head)
                    if instead is None:
                        unused.add(head)
                        continue
                    edited[head] = instead[0].float().cpu()
                    of_query = edited[head].mean(0) if query is None else edited[head][query]
                    rows[head] = of_query.numpy()
        maps = seen.window_weights[0].float().cpu().clone()
        self.layers[seen.layer] = _Layer(rows, seen.layout, maps, edited, frozenset(unused))


def _moved(before: _Layer, after: _Layer) -> Float[np.ndarray, " head"]:
    """½ Σ_k |A′ − A| of each query, mean over queries."""
    same = all(
        np.array_equal(getattr(before.layout, name), getattr(after.layout, name))
        for name in ("query_tokens", "key_tokens")
    )
    if same:
        there = torch.from_numpy(before.layout.query_tokens >= 0)
        each = (after.maps - before.maps).abs().sum(-1).double() / 2
        found = (each * there[:, None]).sum((0, 2)) / there.sum()
    else:  # routed elsewhere
        found = torch.stack(
            [_apart(_dense(before, head), _dense(after, head)) for head in range(len(before.rows))]
        )
    for head, instead in after.edited.items():
        found[head] = _apart(_dense(before, head), instead)
    return found.numpy()


def _dense(of: _Layer, head: int) -> Float[Tensor, "query key"]:
    return dense_maps(of.maps[None, :, [head]], of.layout)[0, 0]


def _apart(before: Tensor, after: Tensor) -> Float[Tensor, ""]:
    return (after - before).abs().sum(-1).double().mean() / 2


def _softmax(logits: Float[np.ndarray, "image label"]) -> Float[np.ndarray, "image label"]:
    exp = np.exp(logits - logits.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)
