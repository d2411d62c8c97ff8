"""Sample images that need no download: scikit-image's photographs and scenes of the demo."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from .errors import HeadscopeError
from .images import ImageSource, Photograph, read_image


class _Shipped(NamedTuple):
    file: str
    title: str
    credit: str


_PHOTOGRAPHS = {
    "astronaut": _Shipped("astronaut.png", "Astronaut Eileen Collins", "NASA, public domain"),
    "chelsea": _Shipped("chelsea.png", "Chelsea the cat", "Stéfan van der Walt, CC0"),
    "coffee": _Shipped("coffee.png", "Cup of coffee", "Rachel Michetti, Pikolo Espresso Bar, CC0"),
    "rocket": _Shipped("rocket.jpg", "Rocket before its launch", "SpaceX, public domain"),
    "motorcycle": _Shipped("motorcycle_left.png", "Motorcycle", "Middlebury stereo benchmark 2014"),
    "camera": _Shipped("camera.png", "Photographer, in grey", "Lav Varshney, CC0"),
    "coins": _Shipped("coins.png", "Greek coins, in grey", "Brooklyn Museum, no known copyright"),
}
"""scikit-image's photographs of things; all lie in its wheel."""

_SCENES = (0, 8, 9, 14, 16, 21)
"""Held-out scenes: one of each kind of target, three on each side of the star."""


SAMPLE = "sample/"
"""What the name of a sample begins with where files are named too."""


@dataclass(frozen=True)
class Sample:
    """An image that the app offers: cheap to list, read on demand."""

    name: str
    """Short and fit for a URL: "astronaut", "scene-8"."""
    title: str
    credit: str
    """Who made it, and on which terms it may be used."""
    _source: Callable[[], ImageSource]

    def read(self) -> Photograph:
        """The photograph, under the sample's own name."""
        return read_image(self._source(), name=self.name)


@cache
def sample_images() -> Mapping[str, Sample]:
    """The samples by name: photographs first, then scenes that the demo checkpoints never saw."""
    samples = [*_photographs(), *(_scene(seed) for seed in _SCENES)]
    return {sample.name: sample for sample in samples}


def _photographs() -> list[Sample]:
    folder = Path(str(files("skimage.data")))
    return [
        Sample(name, shipped.title, shipped.credit, partial(folder.joinpath, shipped.file))
        for name, shipped in _PHOTOGRAPHS.items()
        if (folder / shipped.file).is_file()  # a later wheel may leave one out
    ]


def _scene(seed: int) -> Sample:
    from .demo.scenes import scene

    title = scene(seed).name
    return Sample(
        name=f"scene-{seed}",
        title=title[0].upper() + title[1:],
        credit="drawn by headscope over photographs of scikit-image",
        _source=lambda: scene(seed).image,
    )


def sample_image(name: str) -> Photograph:
    """A sample by its name, with or without `sample/`.

    Raises:
        HeadscopeError: there is none of that name.
    """
    samples = sample_images()
    if (short := name.removeprefix(SAMPLE)) not in samples:
        raise HeadscopeError(f"There is no sample {short!r}; there are: {', '.join(samples)}.")
    return samples[short].read()
