"""Which predictions differ between two checkpoints, and which of the two is right more often."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest

from ..models.errors import HeadscopeError
from .matching.sides import shared_images
from .study import Study


@dataclass(frozen=True, eq=False)
class PredictionChanges:
    """The likeliest class of each shared image, by two checkpoints."""

    first: str
    second: str
    images: Int[np.ndarray, "study image"]
    """Where each shared image stands in the two studies."""
    names: tuple[tuple[str, str], ...]
    """Of each image: the likeliest class by the first and by the second."""
    probability: Float[np.ndarray, "study image"]
    """Of that class, by each."""
    changed: Bool[np.ndarray, " image"]
    """Whether the two classes are others: by index where both list the same classes, else by
    name."""
    same_classes: bool
    """Whether both checkpoints have the same classes."""
    label: tuple[str | None, ...]
    """What is in each image, where a study knows it; in the first one's words where both do."""
    right: Bool[np.ndarray, "study image"]
    """Whether the likeliest class is that, by the study's own label where it has one; False where
    it is not known."""

    @property
    def n_changed(self) -> int:
        return int(self.changed.sum())

    @property
    def known(self) -> Bool[np.ndarray, " image"]:
        """Of which images it is known what is in them."""
        return np.array([label is not None for label in self.label])

    @property
    def table(self) -> Int[np.ndarray, "right_by_first right_by_second"]:
        """How many images are wrong (0) or right (1) by the first and by the second."""
        found = np.zeros((2, 2), int)
        known = self.known
        np.add.at(found, (self.right[0, known].astype(int), self.right[1, known].astype(int)), 1)
        return found

    @property
    def accuracy(self) -> Float[np.ndarray, " study"]:
        """Share of right predictions; NaN where no label is known."""
        known = self.known
        return self.right[:, known].mean(1) if known.any() else np.full(2, np.nan)

    @property
    def p_value(self) -> float:
        """McNemar's exact test that both are right equally often: the two-sided binomial test of
        the images that only one of them gets right, at ½ (McNemar 1947); 1 where there are none,
        NaN where no label is known.
        """
        if not self.known.any():
            return float("nan")
        only_first, only_second = int(self.table[1, 0]), int(self.table[0, 1])
        n = only_first + only_second
        return float(binomtest(only_first, n, 0.5).pvalue) if n else 1.0

    def order(self) -> Int[np.ndarray, " image"]:
        """The changed ones first, those that both are surest of in the lead; then the others by how
        much the probability differs.
        """
        sure = self.probability.min(0)
        apart = np.abs(self.probability[1] - self.probability[0])
        return np.lexsort((np.where(self.changed, -sure, -apart), ~self.changed))


def changed_predictions(study_a: Study, study_b: Study) -> PredictionChanges:
    """The predictions of two checkpoints on the images that both studies share.

    Classes are compared by name, so that checkpoints may list them in another order; by index
    where both list the same, as two classes may have one name. A label counts for its own study,
    and for the other where that has none.

    Raises:
        HeadscopeError: a checkpoint has no classes, or there is no image in common.
    """
    studies = (study_a, study_b)
    for study in studies:
        if "top_class" not in study.data:
            raise HeadscopeError(
                f"{study.model} has no classes, so there are no predictions to compare."
            )
    images = shared_images(studies)
    same = list(study_a.labels) == list(study_b.labels)
    classes = [
        [(c if same else study.labels[c]) for c in study.data["top_class"].values[own, 0].tolist()]
        for study, own in zip(studies, images, strict=True)
    ]
    known = [_labels(study, own, as_index=same) for study, own in zip(studies, images, strict=True)]
    own_first = [
        [mine if mine is not None else theirs for mine, theirs in zip(*pair, strict=True)]
        for pair in (known, known[::-1])
    ]

    def words(found: Sequence[int | str | None]) -> tuple[Any, ...]:
        return tuple(study_a.labels[c] if isinstance(c, int) else c for c in found)

    names = tuple(zip(*map(words, classes), strict=True))
    return PredictionChanges(
        study_a.model,
        study_b.model,
        images,
        names,
        np.stack(
            [
                study.data["top_probability"].values[own, 0].astype(float)
                for study, own in zip(studies, images, strict=True)
            ]
        ),
        np.array([a != b for a, b in zip(*classes, strict=True)]),
        set(study_a.labels) == set(study_b.labels),
        words(own_first[0]),
        np.array(
            [
                [c == label for c, label in zip(own, labels, strict=True)]
                for own, labels in zip(classes, own_first, strict=True)
            ]
        ),
    )


def _labels(
    study: Study, images: Int[np.ndarray, " image"], *, as_index: bool
) -> list[int | str | None]:
    if "label" not in study.data:
        return [None] * len(images)
    values = study.data["label"].values[images].tolist()
    return [None if v < 0 else v if as_index else study.labels[v] for v in values]
