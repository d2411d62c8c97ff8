"""Patterns inside a study's store: arrays and JSON only, nothing that runs when it is read.

They lie in the group `patterns`, each time in a new group of its own, and count once the
attribute `current` names it: a write that is interrupted leaves the study, and the patterns that
it had, as they were.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
import zarr.errors

from ...models.errors import HeadscopeError
from ..one_file import UNREADABLE
from ..study import Study
from .autoencoder import Autoencoder
from .clustering import Clustering
from .forms import FORMS, VALUES
from .maps import Origin, PatternMaps
from .projection import Projection
from .statistics import STATISTICS
from .training import Training

if TYPE_CHECKING:
    from .result import Patterns

GROUP = "patterns"
VERSION = 1
ROWS = 4096
"""Maps in a chunk."""


def save_patterns(patterns: "Patterns", study: Study) -> None:
    """Write patterns into a study, in the place of those that it has.

    Raises:
        HeadscopeError: they are of other checkpoints, or the study cannot be written.
    """
    if study.model_digest not in {origin.digest for origin in patterns.maps.origins}:
        models = ", ".join(sorted({origin.model for origin in patterns.maps.origins}))
        raise HeadscopeError(
            f"These patterns are of {models}, and the study is of {study.model} (other weights); "
            "keep them in a study of one of their checkpoints."
        )
    if study.is_one_file:
        raise HeadscopeError(
            f"{study.path} is one file, which cannot be changed: save the study as a folder, and "
            "the patterns into that."
        )
    try:
        root = zarr.open_group(study.source, mode="r+")
        group = root.require_group(GROUP)
        taken = [int(name) for name in group.group_keys() if name.isdecimal()]
        name = str(max(taken, default=0) + 1)
        _write(group.create_group(name), patterns)
        group.update_attributes({"current": name, "version": VERSION})
        for old in taken:
            del group[str(old)]
    except OSError as error:
        raise HeadscopeError(
            f"{study.path} cannot be written ({error.strerror or error}); what it had is kept."
        ) from error


def open_patterns(study: Study) -> "Patterns":
    """The patterns of a study, equal to the bit to those that were saved.

    Raises:
        HeadscopeError: it has none, a newer headscope wrote them, or part of them is gone.
    """
    try:
        root = zarr.open_group(study.source, mode="r")
        group = root.get(GROUP)
        current = group.attrs.get("current") if isinstance(group, zarr.Group) else None
    except (*UNREADABLE, KeyError, zarr.errors.GroupNotFoundError) as error:
        raise _damaged(study) from error
    if current is None or not isinstance(group, zarr.Group):
        raise HeadscopeError(
            "The study has no patterns yet; headscope patterns, or fit_patterns, learns them."
        )
    version = group.attrs.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise HeadscopeError(
            f"The study's patterns were written by a newer headscope (format {version}; this one "
            f"reads up to {VERSION}). Upgrade headscope."
        )
    try:
        run = group[str(current)]
        if not isinstance(run, zarr.Group):
            raise _damaged(study)
        return _read(run)
    except (*UNREADABLE, KeyError, TypeError) as error:
        raise _damaged(study) from error


def has_patterns(study: Study) -> bool:
    """Whether a study has patterns."""
    return which_patterns(study) is not None


def which_patterns(study: Study) -> str | None:
    """What tells the patterns of a study from those that it had before; None where it has none."""
    group = zarr.open_group(study.source, mode="r").get(GROUP)
    if not isinstance(group, zarr.Group) or "current" not in group.attrs:
        return None
    return str(group.attrs["current"])


def copy_patterns(study: Study, target: zarr.Group) -> None:
    """The patterns of a study, if it has any, into the store of another, as they lie there: also
    what a newer headscope wrote, or what is damaged, which `open_patterns` says.
    """
    source = zarr.open_group(study.source, mode="r").get(GROUP)
    if not isinstance(source, zarr.Group) or "current" not in source.attrs:
        return
    name = str(source.attrs["current"])
    run = source.get(name)
    group = target.require_group(GROUP)
    copied = group.create_group(name)
    if isinstance(run, zarr.Group):
        copied.update_attributes(dict(run.attrs))
        for of_run, array in run.arrays():
            # A chunk that is missing would be read as zeros, and its copy be whole.
            if array.nchunks_initialized == array.nchunks:
                _put(copied, of_run, np.asarray(array[...]))
    group.update_attributes(dict(source.attrs))


def _write(group: zarr.Group, patterns: "Patterns") -> None:
    maps = patterns.maps
    for name in ("values", "statistics", "origin", "image", "layer", "head"):
        _put(group, name, getattr(maps, name))
    _put(group, "latents", patterns.latents)
    told: dict[str, Any] = {
        "form": maps.form,
        "statistics": list(STATISTICS),
        "origins": [asdict(origin) for origin in maps.origins],
        "names": patterns.names,
        "clustering": _parts(group, "clustering", patterns.clustering),
        "training": _parts(group, "training", patterns.training),
        "projections": {
            name: _parts(group, name, projection)
            for name, projection in patterns.projections.items()
        },
        "weights": list(patterns.autoencoder.arrays()),
        "stability": None,
    }
    for name, array in patterns.autoencoder.arrays().items():
        _put(group, f"weight_{name}", array)
    if patterns.stability is not None:
        told["stability"] = _parts(group, "stability", patterns.stability)
    group.update_attributes({"told": json.dumps(told)})


def _read(group: zarr.Group) -> "Patterns":
    from .result import Patterns
    from .stability import Stability

    told = json.loads(str(group.attrs["told"]))
    maps = PatternMaps(
        form=told["form"],
        values=_get(group, "values"),
        statistics=_get(group, "statistics"),
        origin=_get(group, "origin"),
        image=_get(group, "image"),
        layer=_get(group, "layer"),
        head=_get(group, "head"),
        origins=tuple(
            Origin(each["model"], each["digest"], tuple(each["images"])) for each in told["origins"]
        ),
    )
    weights = {name: _get(group, f"weight_{name}") for name in told["weights"]}
    stability = told["stability"]
    return Patterns(
        maps=maps,
        autoencoder=Autoencoder.of_arrays(weights, FORMS[maps.form].shape, len(VALUES)),
        training=Training(**_whole(group, "training", told["training"])),
        latents=_get(group, "latents"),
        clustering=Clustering(**_whole(group, "clustering", told["clustering"])),
        projections={
            name: Projection(**_whole(group, name, parts))
            for name, parts in told["projections"].items()
        },
        stability=None if stability is None else Stability(**_whole(group, "stability", stability)),
    )


def _parts(group: zarr.Group, prefix: str, thing: Any) -> dict[str, Any]:
    """Write the arrays of a dataclass; gives the rest, and the names of the arrays."""
    rest: dict[str, Any] = {}
    arrays: list[str] = []
    for field in fields(thing):
        value = getattr(thing, field.name)
        if isinstance(value, np.ndarray):
            _put(group, _name(field.name, prefix), value)
            arrays.append(field.name)
        else:
            rest[field.name] = value
    return {"rest": rest, "arrays": arrays}


def _whole(group: zarr.Group, prefix: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    return parts["rest"] | {name: _get(group, _name(name, prefix)) for name in parts["arrays"]}


def _name(name: str, prefix: str) -> str:
    # The prefix comes last: in memory, Zarr confuses an array with one whose name goes on.
    return f"{name}_of_{prefix}"


def _put(group: zarr.Group, name: str, values: np.ndarray) -> None:
    chunks = tuple(max(1, n) for n in values.shape)
    if chunks and len(values) > ROWS:
        chunks = (ROWS, *chunks[1:])
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        # A chunk of zeros is no missing chunk.
        config={"write_empty_chunks": True},
    )
    array[...] = values


def _get(group: zarr.Group, name: str) -> np.ndarray:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    if array.nchunks_initialized < array.nchunks:  # Zarr would read 0
        raise ValueError(f"part of {name} is missing")
    return np.asarray(array[...])


def _damaged(study: Study) -> HeadscopeError:
    return HeadscopeError(
        f"The patterns of {study.path or study.model} are damaged: part of them is missing. Learn "
        "them again with headscope patterns."
    )
