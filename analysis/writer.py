"""Writes a study image by image, so that it opens at any time and can be gone on with."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from ..models.ablations import ablation
from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from .metrics import dimension_named
from .selected import Selected
from .study import ACROSS, FORMAT_VERSION, Study, create_group, open_study, unwritten

N_RANKED = 5
"""How many of the likeliest classes are kept for each image."""

GOES_ON_FROM = 2
"""The oldest format that can be gone on with: what was asked for then is written as it is now."""


class StudyWriter:
    """An open study that takes results; an image's results count once they are all there."""

    def __init__(self, group: zarr.Group) -> None:
        self._group = group

    @classmethod
    def open(
        cls,
        out: str | Path | None,
        checkpoint: Checkpoint,
        images: Mapping[str, tuple[str, str]],
        settings: Mapping[str, Any],
        selected: Selected,
    ) -> "StudyWriter":
        """A new study, or the one that the same run began at `out`.

        Args:
            out: where to write; None keeps the study in memory.
            images: digest and path by name.
            settings: what was asked for.
            selected: the metrics.

        Raises:
            HeadscopeError: `out` holds something else, or cannot be written.
        """
        wanted = json.dumps({"images": [digest for digest, _ in images.values()], **settings})
        if out is not None and Path(out).exists():
            study = open_study(out)
            if study.is_one_file:
                raise HeadscopeError(
                    f"{out} is a study in one file, which cannot be gone on with: choose another "
                    "place, or save it as a folder first."
                )
            is_asked = _provenance(checkpoint)
            other = [
                word
                for key, word in (
                    ("model_digest", "another checkpoint"),
                    ("preprocessing", "another preprocessing"),
                    ("layout", "another input size"),
                    ("labels", "other classes"),
                )
                if study.data.attrs[key] != is_asked[key]
            ]
            if study.data.attrs["format_version"] < GOES_ON_FROM:
                raise HeadscopeError(
                    f"{out} was begun by an older headscope: it opens, but cannot be gone on with; "
                    "choose another place, or delete it first."
                )
            if _precision(study.data.attrs["loaded_with"]) != _precision(is_asked["loaded_with"]):
                other.append("another precision")
            if _unordered(study.settings) != _unordered(json.loads(wanted)):
                other.append("other images or settings")
            if other:
                raise HeadscopeError(
                    f"{out} holds a study of {study.model} on {study.n_images} images, with "
                    f"{' and '.join(other)}; choose another place, or delete it first."
                )
            return cls(_writable(out))
        group = (
            zarr.open_group(MemoryStore(), mode="w", zarr_format=3)
            if out is None
            else create_group(out)
        )
        writer = cls(group)
        try:
            names = writer._lay_out(checkpoint, images, selected, settings)
            group.update_attributes(
                {
                    **_provenance(checkpoint),
                    "settings": wanted,
                    "variables": json.dumps(names),
                    # Last: a store without it is no study.
                    "format_version": FORMAT_VERSION,
                }
            )
        except OSError as error:
            if out is not None:  # half of a layout could not be gone on with
                shutil.rmtree(out, ignore_errors=True)
            raise _unwritable(out, error) from error
        return writer

    @property
    def study(self) -> Study:
        return Study(self._group.store)

    @property
    def to_do(self) -> list[int]:
        """Indices of the images that are not done."""
        return np.flatnonzero(~self._array("done")[:]).tolist()

    def write(self, index: int, values: Mapping[str, Any]) -> None:
        """Keep all results of one image.

        Raises:
            HeadscopeError: the disk is full, or the study cannot be written any more.
        """
        try:
            for name, value in values.items():
                self._array(name)[index] = np.asarray(value)
            self._array("done")[index] = True
        except OSError as error:
            raise _unwritable(self.study.path, error) from error

    @property
    def lacks_across(self) -> bool:
        """Whether there are numbers of all images together that are not written yet."""
        of_all = [name for name, array in self._group.arrays() if array.attrs.get(ACROSS)]
        return bool(unwritten(self._group, of_all))

    def write_across(self, values: Mapping[str, Any]) -> None:
        """Keep the numbers of all images together.

        Raises:
            HeadscopeError: the disk is full, or the study cannot be written any more.
        """
        try:
            for name, value in values.items():
                self._array(name)[...] = np.asarray(value)
        except OSError as error:
            raise _unwritable(self.study.path, error) from error

    def _array(self, name: str) -> Any:
        # The store does not remember it: an all-black image would be a missing chunk.
        array: Any = self._group[name]
        return array.with_config({"write_empty_chunks": True})

    def _lay_out(
        self,
        checkpoint: Checkpoint,
        images: Mapping[str, tuple[str, str]],
        selected: Selected,
        settings: Mapping[str, Any],
    ) -> list[str]:
        """Every variable and coordinate in full size; what is not written takes no room.

        Returns the names in the order in which they are best read.
        """
        n_images = len(images)
        layers, heads = np.arange(checkpoint.n_layers), np.arange(max(checkpoint.n_heads))
        there = {"layer": layers, "head": heads, "layer_2": layers, "head_2": heads}
        coordinates: dict[str, tuple[str, Any, str]] = {
            "image": ("image", list(images), "Image"),
            "image_digest": ("image", [d for d, _ in images.values()], "SHA-256 of the image"),
            "image_path": ("image", [p for _, p in images.values()], "Where it was read from"),
            "layer": ("layer", layers, "Layer, from 0"),
            "head": ("head", heads, "Head within its layer, from 0"),
            "n_heads": ("layer", np.array(checkpoint.n_heads), "Heads of the layer"),
        }
        for dim in selected.dims:
            if dim in there:
                what = "Layer" if dim.startswith("layer") else "Head"
                coordinates.setdefault(dim, (dim, there[dim], f"{what} of a second head, from 0"))
            else:
                of = dimension_named(dim)
                coordinates[dim] = (dim, of.values(checkpoint.common), of.long_name)
        if settings["ablations"]:
            what = "What takes the place of the head's output"
            coordinates["ablation"] = ("ablation", list(settings["ablations"]), what)
        for name, (dim, values, long_name) in coordinates.items():
            self._constant(name, dim, values, long_name)
        if settings["ablations"]:
            told = {name: ablation(name).description for name in settings["ablations"]}
            self._group["ablation"].update_attributes({"description": json.dumps(told)})
        size = {dim: len(values) for dim, values, _ in coordinates.values()}
        self._group.create_array(
            "done",
            shape=(n_images,),
            chunks=(1,),
            dtype=bool,
            fill_value=False,
            dimension_names=["image"],
            attributes={"long_name": "Whether the image's results are here"},
            config={"write_empty_chunks": True},
        )[:] = False

        names = [*coordinates, "done"]

        def variable(
            name: str, dims: tuple[str, ...], dtype: str, fill: Any, **attributes: Any
        ) -> None:
            names.append(name)
            shape = tuple(size[dim] for dim in dims)
            self._group.create_array(
                name,
                shape=(n_images, *shape),
                chunks=(1, *shape),
                dtype=dtype,
                fill_value=fill,
                dimension_names=["image", *dims],
                attributes=attributes,
                # An image without patch mass, or all black, is no missing chunk.
                config={"write_empty_chunks": True},
            )

        size |= {
            "row": checkpoint.preprocessing.size[0],
            "column": checkpoint.preprocessing.size[1],
        }
        size |= {"channel": 3, "rank": min(N_RANKED, len(checkpoint.labels))}
        variable(
            "pixels",
            ("row", "column", "channel"),
            "uint8",
            0,
            long_name="The crop that the model saw",
            units="1/255",
        )
        if checkpoint.has_classes:
            variable("target", (), "int32", -1, long_name="Class that importance is about")
            variable(
                "target_probability",
                (),
                "float32",
                np.nan,
                long_name="Probability of the target",
                units="probability",
            )
            variable("top_class", ("rank",), "int32", -1, long_name="Likeliest classes")
            variable(
                "top_probability",
                ("rank",),
                "float32",
                np.nan,
                long_name="Their probabilities",
                units="probability",
            )
        if settings["labels"] is not None:
            variable("label", (), "int32", -1, long_name="Class that is in the image; -1: unknown")
        for each in selected.variables():
            attributes = each.attributes
            if each.is_across:
                names.append(each.name)
                self._group.create_array(
                    each.name,
                    shape=tuple(size[dim] for dim in each.dims),
                    chunks=tuple(size[dim] for dim in each.dims),
                    dtype="float32",
                    fill_value=np.nan,
                    dimension_names=each.dims,
                    attributes=dict(attributes) | {ACROSS: True},
                    config={"write_empty_chunks": True},
                )
            else:
                variable(each.name, each.dims, "float32", np.nan, **attributes)
        return names

    def _constant(self, name: str, dim: str, values: Any, long_name: str) -> None:
        text = not isinstance(values, np.ndarray)
        data = np.array(values, dtype=object) if text else values
        array = self._group.create_array(
            name,
            shape=data.shape,
            chunks=data.shape,
            dtype=str if text else data.dtype,
            dimension_names=[dim],
            attributes={"long_name": long_name},
            config={"write_empty_chunks": True},
        )
        array[:] = data


def metrics_begun_with(
    out: str | Path | None, *, importance: bool, labelled: bool
) -> list[str] | None:
    """The metrics of a study of an older format at `out`, where no metric is named: what was the
    default then is less than what is now, and the study is to be gone on with. None: today's.
    """
    if out is None or not Path(out).exists():
        return None
    study = open_study(out)
    if not GOES_ON_FROM <= study.data.attrs["format_version"] < FORMAT_VERSION:
        return None
    names = study.settings.get("metrics") or []
    with_importance = bool(study.settings.get("ablations"))
    with_labels = study.settings.get("labels") is not None
    alike = (with_importance, with_labels) == (importance, labelled)
    return list(names) if names and alike else None


def _unordered(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings to compare: in which order metrics are named changes no number."""
    return {**settings, "metrics": sorted(settings.get("metrics") or ())}


def _unwritable(out: str | Path | None, error: OSError) -> HeadscopeError:
    return HeadscopeError(
        f"{out} cannot be written any more ({error.strerror or error}). The images that are done "
        "are kept; make room, and the same command goes on from there."
    )


def _writable(out: str | Path) -> zarr.Group:
    try:
        return zarr.open_group(Path(out), mode="r+")
    except OSError as error:
        raise HeadscopeError(f"{out} cannot be written ({error.strerror or error}).") from error


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a reader must know to trust the numbers, and to make them again."""
    preprocessing = checkpoint.preprocessing
    return {
        "headscope_version": version("headscope"),
        "versions": json.dumps({name: version(name) for name in ("torch", "timm", "numpy")}),
        "model": checkpoint.name,
        "model_digest": checkpoint.digest,
        "architecture": checkpoint.architecture,
        "loaded_with": json.dumps(checkpoint.loaded_with),
        "labels": json.dumps(checkpoint.labels),
        "preprocessing": json.dumps(asdict(preprocessing) | {"text": preprocessing.describe()}),
        "layout": json.dumps(_layouts(checkpoint)),
        "capture_report": json.dumps(checkpoint.report.rows),
    }


def _layouts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Where the tokens of each layer are, and who attends to whom; layouts are written once."""
    sides = [(layer.layout.queries, layer.layout.keys, layer.kind) for layer in checkpoint.layers]
    tokens = list(dict.fromkeys(layout for *both, _ in sides for layout in both))
    return {
        "tokens": [asdict(layout) for layout in tokens],
        "layers": [
            {"queries": tokens.index(queries), "keys": tokens.index(keys), "attention": kind}
            for queries, keys, kind in sides
        ],
    }


def _precision(loaded_with: str) -> str:
    return json.loads(loaded_with).get("precision", "float32")
