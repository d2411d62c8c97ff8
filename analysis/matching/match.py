"""Matching heads by function: similarity by several criteria, and the best assignment."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ..reloading import checkpoint_of
from ..study import Study
from .output import output
from .pattern import pattern
from .result import HeadMatching
from .sides import IMAGES, NotThere, Side, shared_images, spread
from .strength import strength

CRITERIA = ("strength", "pattern", "output")
QUANTILE = 0.75
"""Of the null, that a match must reach. Higher ones hang on how many twins a checkpoint has: a few
heads that do the same would forbid every match that is not as close."""

Progress = Callable[[str, float], None]


def match_heads(
    study_a: Study,
    study_b: Study,
    *,
    by: Sequence[str] = CRITERIA,
    weights: Mapping[str, float] | None = None,
    threshold: float | None = None,
    checkpoints: "tuple[Checkpoint | str | None, Checkpoint | str | None] | None" = None,
    progress: Progress | None = None,
) -> HeadMatching:
    """Which head of B does what which head of A does, on the images that both studies share.

    Similarity is told by strength (`strength.strength`), pattern (`pattern.pattern`) and output
    (`output.output`), each 0…1; the score is the mean of those that are there. The assignment with
    the highest sum of scores pairs each head with at most one (Kuhn 1955, by scipy); numbers of
    layers and heads may differ.

    Whether a pair is a match is decided by a null: in the same way, the heads of A are assigned to
    *other* heads of A, and those of B to other heads of B. Both assignments pick the best of as
    many, so a pair above the 75 % quantile of these scores is more alike than three in four heads
    are to another head of their own checkpoint. Of heads that have no more in common than those, a
    quarter pass.

    Args:
        study_a: the first; more than 256 shared images are thinned to as many.
        study_b: the second.
        by: criteria, of `CRITERIA`. Those that cannot be told are left out, with the reason in the
            result.
        weights: of the criteria, by name; left out: 1.
        threshold: a score below which a pair is no match; None: by the null.
        checkpoints: those of A and B, for output and for maps that a study lacks: the checkpoint,
            a sentence why there is none, or None for none. None: loaded as the studies say.
        progress: told what is under way and the share of it that is done; whatever it raises stops
            the work.

    Raises:
        HeadscopeError: there is no such criterion, no image in common, or no criterion that can be
            told.
    """
    check(by, weights)
    images = shared_images((study_a, study_b))
    images = images[:, spread(images.shape[1], IMAGES)]
    first, second = (
        side_of(study, own, given, by)
        for study, own, given in zip(
            (study_a, study_b), images, checkpoints or (LOAD, LOAD), strict=True
        )
    )
    return match_sides(
        first, second, by=by, weights=weights, threshold=threshold, progress=progress
    )


def match_sides(
    first: Side,
    second: Side,
    *,
    by: Sequence[str],
    weights: Mapping[str, float] | None,
    threshold: float | None,
    progress: Progress | None,
) -> HeadMatching:
    """`match_heads`, of sides that were made already, on the same images."""
    told_weights = {name: float((weights or {}).get(name, 1.0)) for name in by}
    tell = progress or (lambda *_: None)
    kinds: dict[str, Callable[[], tuple[np.ndarray, tuple[str, ...]]]] = {
        "strength": lambda: strength(first, second),
        "pattern": lambda: pattern(first, second, lambda s: tell("Reading the maps", s)),
        "output": lambda: output(first, second, lambda s: tell("Reading the head outputs", s)),
    }
    found: dict[str, Float[np.ndarray, "pair_head pair_head"]] = {}
    told_by: dict[str, tuple[str, ...]] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys(by):
        tell(f"Comparing heads by {name}", 0)
        try:
            found[name], told_by[name] = kinds[name]()
        except NotThere as reason:
            left_out[name] = str(reason)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise HeadscopeError(
            f"The heads cannot be compared: {reasons}. Analyse with attention metrics, or give the "
            "checkpoints."
        )
    joint = combined(found, told_weights)
    n = len(first.heads)
    null = np.concatenate([_null(joint[:n, :n]), _null(joint[n:, n:])])
    limit, quantile = threshold, np.nan
    if limit is None:
        limit = float(np.quantile(null, QUANTILE)) if len(null) else 0.0
        quantile = QUANTILE
    score = joint[:n, n:]
    return HeadMatching(
        first=first.study.model,
        second=second.study.model,
        n_images=len(first.images),
        n_layers=(first.study.data.sizes["layer"], second.study.data.sizes["layer"]),
        heads_a=first.heads,
        heads_b=second.heads,
        score=score,
        criteria={name: values[:n, n:] for name, values in found.items()},
        weights={name: told_weights[name] for name in found},
        told_by=told_by,
        left_out=left_out,
        assigned=assign(score),
        threshold=float(limit),
        null=null,
        quantile=quantile,
    )


def combined(
    criteria: Mapping[str, Float[np.ndarray, "a b"]], weights: Mapping[str, float]
) -> Float[np.ndarray, "a b"]:
    """Weighted mean of the criteria that a pair has; NaN where it has none."""
    values = np.stack(list(criteria.values()))
    weight = np.array([weights[name] for name in criteria])[:, None, None] * np.isfinite(values)
    total = (np.nan_to_num(values) * weight).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight.sum(0) > 0, total / weight.sum(0), np.nan)


def assign(
    score: Float[np.ndarray, "a b"], forbidden: Bool[np.ndarray, "a b"] | None = None
) -> Int[np.ndarray, "pair 2"]:
    """The pairs of the assignment with the highest sum; a pair without a score is none."""
    out = ~np.isfinite(score) if forbidden is None else ~np.isfinite(score) | forbidden
    # A forbidden pair costs more than all others together, so it is taken only where it must be.
    costs = np.where(out, float(min(score.shape) + 1), 1 - np.nan_to_num(score))
    rows, columns = linear_sum_assignment(costs)
    kept = ~out[rows, columns]
    return np.stack([rows[kept], columns[kept]], -1)


def _null(score: Float[np.ndarray, "own own"]) -> Float[np.ndarray, " pair"]:
    """Scores of the heads of one checkpoint, each assigned to another of them."""
    pairs = assign(score, np.eye(len(score), dtype=bool))
    return score[pairs[:, 0], pairs[:, 1]]


LOAD = object()
"""In the place of a checkpoint: load it as the study says."""


def side_of(
    study: Study, images: Int[np.ndarray, " image"], given: object, by: Sequence[str]
) -> Side:
    """A study with its checkpoint, where there is one and a criterion may need it."""
    if isinstance(given, Checkpoint):
        return Side(study, images, checkpoint_of(study, given))
    if given is not LOAD or not {"pattern", "output"} & set(by):
        return Side(study, images, None, given if isinstance(given, str) else "")
    try:
        return Side(study, images, checkpoint_of(study))
    except HeadscopeError as error:
        return Side(study, images, None, str(error).rstrip("."))


def check(by: Sequence[str], weights: Mapping[str, float] | None) -> None:
    """Raise a HeadscopeError where heads cannot be matched by these."""
    unknown = [name for name in [*by, *(weights or {})] if name not in CRITERIA]
    if unknown or not by:
        raise HeadscopeError(
            f"Heads are matched by {', '.join(CRITERIA)}; got {unknown[0] if unknown else 'none'!r}"
            "."
        )
    if any(not np.isfinite(each) or each <= 0 for each in (weights or {}).values()):
        raise HeadscopeError(
            f"Weights of criteria are above 0; got {dict(weights or {})}. Leave a criterion out of "
            "`by` to do without it."
        )
