"""What the part "Patterns" shows, and what its pieces ask of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import selection
from ...measuring import patterns as work
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.patterns import HeadPatterns, Projected


@dataclass(frozen=True, eq=False)
class Scene:
    """What the part shows."""

    subject: Subject
    learned: work.Learned
    found: work.Grouped
    places: np.ndarray
    """Of each map of this checkpoint: its image's place in the opened study; −1 where in none."""
    own: "Projected | None"
    """Maps that the patterns were not learned from."""
    own_words: str

    @property
    def chosen(self) -> tuple[int, int]:
        now = selection.current()
        if now.layer is not None and now.head is not None:
            return now.layer, now.head
        return shared.chosen_head(self.subject.study) if self.subject.study is not None else (0, 0)

    def image_name(self, row: int) -> str:
        """Of a map."""
        maps = self.found.patterns.maps
        return maps.origins[int(maps.origin[row])].images[int(maps.image[row])]

    def heads(self) -> "tuple[HeadPatterns, int] | None":
        """Patterns of each head on what the page is about, and on how many images."""
        from ....analysis.patterns.result import head_patterns

        if (self.places >= 0).any():
            return self.found.heads, self.found.n_images
        if self.own is None:
            return None
        maps, n = self.own.maps, self.found.patterns.clustering.n
        return head_patterns(maps, self.own.labels, n), len(np.unique(maps.image))

    def modal(self) -> np.ndarray | None:
        """The most frequent pattern of each head, by layer and head; −1 where there is none."""
        heads = self.heads()
        if heads is None or not len(heads[0].heads):
            return None
        found = heads[0]
        result = np.full(found.heads[:, 1:].max(0) + 1, -1)
        result[found.heads[:, 1], found.heads[:, 2]] = found.modal
        return result


def image_of(subject: Subject) -> str:
    """Name of the image that is shown."""
    if subject.photograph is not None:
        return subject.photograph.name
    assert subject.study is not None
    names = [str(name) for name in subject.study.data["image"].values]
    chosen = selection.current().image
    return chosen if chosen in names else names[0]


def image_names(found: work.Grouped) -> set[str]:
    """Of the images that patterns were learned from, for the heads of this checkpoint."""
    maps = found.patterns.maps
    of = np.unique(maps.origin[found.rows])
    return {name for index in of for name in maps.origins[index].images}


def learned_from(found: work.Grouped, study: Any) -> bool:
    return bool(image_names(found) & {str(name) for name in study.data["image"].values})


def study_places(subject: Subject, found: work.Grouped) -> np.ndarray:
    """Of each of this checkpoint's maps, the place of its image in the opened study, or −1."""
    maps = found.patterns.maps
    if subject.study is None or subject.photograph is not None:
        return np.full(len(found.rows), -1)
    index = {str(name): i for i, name in enumerate(subject.study.data["image"].values)}
    table = [[index.get(name, -1) for name in origin.images] for origin in maps.origins]
    of = zip(maps.origin[found.rows].tolist(), maps.image[found.rows].tolist(), strict=True)
    return np.array([table[origin][image] for origin, image in of], int)


def digest_of(subject: Subject) -> str:
    """Of the checkpoint that the page is about."""
    if subject.study is not None and subject.photograph is None:
        return subject.study.model_digest
    return subject.checkpoint.digest if subject.checkpoint is not None else ""
