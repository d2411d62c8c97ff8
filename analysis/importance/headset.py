"""Head sets: chosen by hand or by a query, saved as text, removed as one."""

import json
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...models.ablations import HeadStatistics
from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from ..study import Study
from .joint import Head
from .query import heads_where
from .removal import Removal, Target, standard_error
from .values import Value


@dataclass(frozen=True)
class HeadSet:
    """Some heads under a name: `hs.ablate(checkpoint, headset.heads)` removes them as one.

    Heads are `(layer, head)`, each once, by layer.
    """

    name: str
    heads: tuple[Head, ...]
    query: str = ""
    """What chose them; empty for a set made by hand."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(sorted({_head(head) for head in self.heads})))

    @classmethod
    def where(cls, study: Study, query: str, *, name: str | None = None) -> "HeadSet":
        """The heads of a study that a query holds for, such as `entropy < 1 and distance > 100`.

        See `heads_where` for the language. A query that holds for no head gives an empty set.

        Raises:
            HeadscopeError: the query cannot be read, or it names what the study does not have.
        """
        return cls(query if name is None else name, heads_where(study, query), query)

    def __iter__(self) -> Iterator[Head]:
        return iter(self.heads)

    def __len__(self) -> int:
        return len(self.heads)

    def save(self, path: str | Path) -> None:
        """Write the set as JSON; what is there is replaced.

        Raises:
            HeadscopeError: `path` cannot be written.
        """
        content = {"name": self.name, "query": self.query, "heads": [list(h) for h in self.heads]}
        try:
            Path(path).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise HeadscopeError(
                f"{path} cannot be written ({error.strerror or error}); choose another place."
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> "HeadSet":
        """A set that `save` wrote.

        Raises:
            HeadscopeError: there is none at `path`.
        """
        try:
            content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(str(content["name"]), tuple(content["heads"]), str(content["query"]))
        except (OSError, ValueError, KeyError, TypeError, HeadscopeError) as error:
            raise HeadscopeError(
                f"{path} holds no head set; HeadSet.save writes one, as JSON with "
                '"name", "query" and "heads": [[layer, head], …].'
            ) from error


def _head(head: Any) -> Head:
    try:
        layer, index = (operator.index(number) for number in head)
    except (TypeError, ValueError):
        layer = index = -1
    if min(layer, index) < 0:
        raise HeadscopeError(f"{head!r} is no head; give (layer, head), two whole numbers from 0.")
    return layer, index


@dataclass(frozen=True)
class JointEffect:
    """What removing a head set as one does to each image.

    effect(S) = v(∅) − v(S), with v the value read of the output and S the heads removed.
    """

    name: str
    heads: tuple[Head, ...]
    value: Value
    """What is read of the output, with its units."""
    clean: Float[np.ndarray, " image"]
    """v with all heads."""
    removed: Float[np.ndarray, " image"]
    """v without the set."""

    @property
    def effect(self) -> Float[np.ndarray, " image"]:
        """clean − removed, in the value's units: positive where the set holds the value up."""
        return self.clean - self.removed

    @property
    def mean(self) -> float:
        """Mean effect over images."""
        return float(self.effect.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean over images; NaN for one image."""
        return float(standard_error(self.effect))


def joint_effect(
    checkpoint: Checkpoint,
    images: Images,
    headset: HeadSet | Iterable[Head],
    *,
    value: str = "probability",
    target: Target = None,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
) -> JointEffect:
    """The effect of removing a head set, or a list of heads, as one, image by image.

    Raises:
        HeadscopeError: a head, an image, the value, the target or the ablation is not there.
    """
    chosen = headset if isinstance(headset, HeadSet) else HeadSet("", tuple(headset))
    removal = Removal(
        checkpoint, images, value=value, target=target, mode=mode, reference=reference
    )
    removed = removal([chosen.heads])[0]
    return JointEffect(chosen.name, chosen.heads, removal.value, removal.clean, removed)


def top_heads(
    scores: Float[np.ndarray, "layer head"], n: int | None = None, *, largest: bool = True
) -> tuple[Head, ...]:
    """Heads in the order of a score, NaN (no such head, or no score) left out; ties by layer, head.

    Args:
        scores: `layer head`, or `image layer head`, of which the mean over images counts.
        n: how many; None: all.
        largest: the largest first, or the smallest.

    Raises:
        HeadscopeError: the scores have other axes, or `n` is below 1.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim not in (2, 3):
        raise HeadscopeError(
            f"Scores of shape {scores.shape} are not per head; give (layer, head) or (image, "
            "layer, head)."
        )
    if n is not None and n < 1:
        raise HeadscopeError(f"The {n} top heads are none; ask for at least 1.")
    if scores.ndim == 3:
        scores = mean_over_images(scores)
    found = [(int(layer), int(head)) for layer, head in np.argwhere(~np.isnan(scores))]
    found.sort(key=lambda head: (-scores[head] if largest else scores[head], head))
    return tuple(found[:n])


def mean_over_images(scores: Float[np.ndarray, "image ..."]) -> Float[np.ndarray, "..."]:
    """The mean of what is there: images that are not done are NaN; NaN where nothing is there."""
    there = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.where(there, scores, 0).sum(0) / there.sum(0)


def heads_of_layers(checkpoint: Checkpoint, layers: Sequence[int]) -> tuple[Head, ...]:
    """All heads of some layers.

    Raises:
        HeadscopeError: a layer that the checkpoint does not have.
    """
    for layer in layers:
        checkpoint.check_head(layer, 0)
    return tuple(
        (layer, head) for layer in sorted(set(layers)) for head in range(checkpoint.n_heads[layer])
    )
