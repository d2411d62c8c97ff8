"""The sample studies that come with headscope, and how they are made again."""

import argparse
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.errors import HeadscopeError
from .progress import Bar

if TYPE_CHECKING:
    from ..analysis.study import Study

NAMES = ("supervised", "masked")
"""Of the demo checkpoints, and of their studies."""
PER_CLASS = 5
"""Scenes of each of the 12 classes."""
ABLATIONS = ("zero", "mean", "class-to-patch")
OFFSET_BITS = 8
"""Bits of the offset maps' mantissas that are kept: half of a study's bytes would be digits that
nobody sees. Rounding changes a value by at most one part in 2⁹."""

_EXAMPLES = """\
examples:
  headscope demo studies                         both of them
  headscope demo studies supervised --out my-studies

Measures each demo checkpoint on 60 held-out scenes, five of each class, learns the patterns of
its heads, and writes all of it as one file, with the same numbers every time; the
patterns are learned anew. Some minutes each on two cores.
"""


def add_studies(actions: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = command(actions, "studies", "make the sample studies again", _EXAMPLES)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="such as supervised (default: all)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("headscope-studies"),
        metavar="FOLDER",
        help="where the files go (default: %(default)s)",
    )
    parser.set_defaults(run=lambda options: make(options.names, out=options.out))


def make(names: Sequence[str], *, out: Path, per_class: int = PER_CLASS) -> None:
    """Make sample studies, each a file `out/NAME.zarr.zip`.

    Raises:
        HeadscopeError: there is no demo checkpoint of that name, or its file is there already.
    """
    wanted = [name.removeprefix("demo/") for name in names] or list(NAMES)
    for name in wanted:
        if name not in NAMES:
            raise HeadscopeError(
                f"There is no sample study {name!r}; there are {', '.join(NAMES)}."
            )
        if _file(out, name).exists():
            raise HeadscopeError(
                f"{_file(out, name)} is there already; give another --out or delete it first."
            )
    for name in wanted:
        with Bar(total=1) as bar:
            study = _make(name, _file(out, name), per_class, bar)
        path = study.path
        assert path is not None
        print(f"{path}: {study}, {path.stat().st_size / 1e6:.1f} MB")


def _file(out: Path, name: str) -> Path:
    return out / f"{name}.zarr.zip"


def _make(name: str, path: Path, per_class: int, bar: Bar) -> "Study":
    from ..analysis.analyze import Progress, analyze
    from ..analysis.patterns import fit_patterns
    from ..models.demo.scenes import scene
    from ..models.images import read_image
    from ..models.loading import load

    scenes = [scene(seed) for seed in chosen_seeds(per_class)]
    photographs = [read_image(each.image, name=f"scene-{each.seed}") for each in scenes]

    def analysed(state: Progress) -> None:
        bar.show(0.6 * state.done / max(1, state.total), state.text)

    with tempfile.TemporaryDirectory() as folder:
        study = analyze(
            load(f"demo/{name}"),
            photographs,
            ablations=ABLATIONS,
            labels=[each.label for each in scenes],
            out=Path(folder) / "study.zarr",
            progress=analysed,
        )
        _round(study)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of umap and of few maps
            patterns = fit_patterns(
                study, progress=lambda what, share: bar.show(0.6 + 0.4 * share, what)
            )
        patterns.save(study)
        return study.save(path)


def chosen_seeds(per_class: int) -> list[int]:
    """The first held-out scenes of each class, as many of each."""
    from ..models.demo.scenes import CLASS_NAMES, HELD_OUT, scene

    taken: Counter[int] = Counter()
    seeds = []
    for seed in HELD_OUT:
        label = scene(seed).label
        if taken[label] < per_class:
            taken[label] += 1
            seeds.append(seed)
        if len(seeds) == per_class * len(CLASS_NAMES):
            break
    return seeds


def _round(study: "Study") -> None:
    """Round the offset maps where they lie."""
    import zarr

    array: Any = zarr.open_group(study.source, mode="r+")["offset_map"]
    for index in range(study.n_images):
        array[index] = rounded(array[index], OFFSET_BITS)


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 values with that many bits of the mantissa, to the nearest; NaN stays NaN."""
    dropped = 23 - bits
    whole = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(1 << (dropped - 1))
    near = ((whole + half) >> np.uint32(dropped)) << np.uint32(dropped)
    return np.where(np.isfinite(values), near.view(np.float32), values).astype(np.float32)
