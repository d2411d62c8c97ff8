"""Several checkpoints in a row, such as a training run: who each head was before, and after."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from .matching.match import CRITERIA, LOAD, check, match_sides, side_of
from .matching.result import Head, HeadMatching
from .matching.sides import IMAGES, shared_images, spread
from .study import Study
from .trends import check_ablations, head_scores, mean_of

NOBODY = -1


@dataclass(frozen=True, eq=False)
class Series:
    """Checkpoints in a row; each is matched to the one before."""

    studies: tuple[Study, ...]
    names: tuple[str, ...]
    steps: Float[np.ndarray, " step"]
    """Where each stands: training steps, or 0, 1, 2, …"""
    matchings: tuple[HeadMatching, ...]
    """From each to the next."""
    tracks: Int[np.ndarray, "track step 2"]
    """Layer and head of each track at each step; −1 before it appeared and after it died."""
    images: Int[np.ndarray, "step image"]
    """Where the images that all share stand in each study."""

    @property
    def n_images(self) -> int:
        """Shared by all."""
        return self.images.shape[1]

    def track_of(self, step: int, head: Head) -> int:
        """The track that a head at a step is on.

        Raises:
            HeadscopeError: there is no such head.
        """
        found = np.flatnonzero((self.tracks[:, step] == head).all(1))
        if not len(found):
            raise HeadscopeError(
                f"{self.names[step]} has no layer {head[0]}, head {head[1]} to follow."
            )
        return int(found[0])

    def trajectory(
        self, metric: str, *, at: Mapping[str, Any] | None = None, ablation: str | None = None
    ) -> Float[np.ndarray, "track step"]:
        """A number of each track at each step, mean over the images that all share; NaN where the
        track has no head, and at steps whose study lacks the number.

        Raises:
            HeadscopeError: no study has the number, or they have it by different ablations.
        """
        found = np.full(self.tracks.shape[:2], np.nan)
        error: HeadscopeError | None = None
        variables: dict[int, xr.DataArray] = {}
        for step, study in enumerate(self.studies):
            try:
                variables[step] = head_scores(study, metric, at=at, ablation=ablation)
            except HeadscopeError as lacking:
                error = error or lacking
        check_ablations(metric, variables.values())
        for step, variable in variables.items():
            study, scores = self.studies[step], variable.values.astype(float)
            # A number of all images together stands as that of one.
            own = scores[self.images[step]] if len(scores) == study.n_images else scores
            mean = mean_of(own, (0,))
            there = (self.tracks[:, step] >= 0).all(1)
            at_step = self.tracks[there, step]
            found[there, step] = mean[at_step[:, 0], at_step[:, 1]]
        if error is not None and not np.isfinite(found).any():
            raise error
        return found

    def with_threshold(self, threshold: float) -> "Series":
        """The same with another score from which heads match; 0 follows every assigned pair."""
        matchings = tuple(
            replace(each, threshold=threshold, quantile=float("nan")) for each in self.matchings
        )
        return replace(self, matchings=matchings, tracks=_tracks(matchings))

    def changes(self) -> list[dict[str, Any]]:
        """A row for each step after the first: how many heads match, moved, died and appeared."""
        return [
            {
                "from": self.names[step],
                "to": self.names[step + 1],
                "step": float(self.steps[step + 1]),
                "matched": len(matching.pairs),
                "moved": len(matching.moved),
                "died": len(matching.died),
                "appeared": len(matching.appeared),
                "score": float(np.mean([p.score for p in matching.pairs]))
                if matching.pairs
                else float("nan"),
                "threshold": matching.threshold,
            }
            for step, matching in enumerate(self.matchings)
        ]

    def describe(self) -> str:
        """The series in a few sentences."""
        whole = int((self.tracks >= 0).all((1, 2)).sum())
        told = "; ".join(
            f"{row['to']}: {row['matched']} matched ({row['moved']} moved), {row['died']} died, "
            f"{row['appeared']} appeared"
            for row in self.changes()
        )
        return (
            f"{len(self.names)} checkpoints from {self.names[0]} to {self.names[-1]} on "
            f"{self.n_images} image{'s' * (self.n_images != 1)}: {whole} heads can be followed "
            f"from the first to the last. {told}."
        )


def series(
    studies: Sequence[Study],
    *,
    names: Sequence[str] | None = None,
    steps: Sequence[float] | None = None,
    by: Sequence[str] = CRITERIA,
    weights: Mapping[str, float] | None = None,
    threshold: float | None = None,
    checkpoints: Sequence[Checkpoint | str | None] | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Series:
    """Follow each head through several checkpoints, matching each to the one before, on the images
    that all share.

    A head that matches none of the one before begins a track; a track ends where nothing matches.

    Args:
        studies: at least two, in their order, all on the same images.
        names: of the studies; None: the names of their checkpoints, numbered where they are alike.
        steps: where each stands, increasing; None: 0, 1, 2, …
        by: as in `match_heads`.
        weights: as in `match_heads`.
        threshold: as in `match_heads`; None: each matching has its own, by its null.
        checkpoints: one for each study, as in `match_heads`; None: loaded as the studies say.
        progress: told what is under way and the share of it all that is done.

    Raises:
        HeadscopeError: there are fewer than two studies, steps that do not increase, other numbers
            of names, steps or checkpoints than studies, or no image that all share.
    """
    if len(studies) < 2:
        raise HeadscopeError(f"A series has at least two studies; got {len(studies)}.")
    for what, given in (("names", names), ("steps", steps), ("checkpoints", checkpoints)):
        if given is not None and len(given) != len(studies):
            raise HeadscopeError(
                f"There are {len(given)} {what} for {len(studies)} studies; give one for each."
            )
    where = np.arange(len(studies), dtype=float) if steps is None else np.array(steps, float)
    if not (np.diff(where) > 0).all():
        raise HeadscopeError(f"The steps of a series increase; got {where.tolist()}.")
    models = [study.model for study in studies]
    numbered = [
        f"{model} ({place})" if models.count(model) > 1 else model
        for place, model in enumerate(models)
    ]
    check(by, weights)
    images = shared_images(studies)
    n = len(studies) - 1
    compared = images[:, spread(images.shape[1], IMAGES)]
    given = checkpoints or [LOAD] * len(studies)
    matchings = []
    # One after the other: at most two checkpoints are loaded at once.
    first = side_of(studies[0], compared[0], given[0], by)
    for step in range(n):
        second = side_of(studies[step + 1], compared[step + 1], given[step + 1], by)

        def tell(what: str, share: float, step: int = step) -> None:
            if progress is not None:
                progress(f"{what}, pair {step + 1} of {n}", (step + share) / n)

        matchings.append(
            match_sides(first, second, by=by, weights=weights, threshold=threshold, progress=tell)
        )
        first.forget()
        first = second
    return Series(
        tuple(studies),
        tuple(numbered if names is None else names),
        where,
        tuple(matchings),
        _tracks(matchings),
        images,
    )


def _tracks(matchings: Sequence[HeadMatching]) -> Int[np.ndarray, "track step 2"]:
    heads = [matchings[0].heads_a, *(matching.heads_b for matching in matchings)]
    tracks: list[list[Head]] = []
    nobody: Head = (NOBODY, NOBODY)
    current: dict[Head, list[Head]] = {}
    for step, own in enumerate(heads):
        before = {} if step == 0 else {p.second: p.first for p in matchings[step - 1].pairs}
        coming: dict[Head, list[Head]] = {}
        for layer, head in own.tolist():
            at = (layer, head)
            track = current.get(before[at]) if at in before else None
            if track is None:
                track = list[Head]([nobody] * step)
                tracks.append(track)
            track.append(at)
            coming[at] = track
        current = coming
        for track in tracks:
            track.extend([nobody] * (step + 1 - len(track)))
    return np.array(tracks)
