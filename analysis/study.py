"""The results of one checkpoint on one set of images: saved, reopened, compared, exported."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
import zarr.errors
from zarr.abc.store import Store

from ..models.errors import HeadscopeError
from ..models.layout import TokenLayout
from . import one_file

FORMAT_VERSION = 3
"""Of the store's layout; a reader refuses a newer one. Format 2 lacks numbers of all images
together, and says less of its variables."""
HEAD = ("layer", "head")
ACROSS = "of_all_images"
"""Attribute of the variables that are written once all images are done."""


@dataclass(frozen=True)
class LayerTokens:
    """Who attends to whom in a layer."""

    queries: TokenLayout
    keys: TokenLayout
    attention: str
    """In words: `"global"`, `"shifted windows"`, …"""


@dataclass(frozen=True)
class Study:
    """The results of one checkpoint on one set of images.

    `data` is an `xarray.Dataset`, read from the store as it is used; every variable and coordinate
    has a `long_name`, those per head also `units` and a `description`. Heads that a layer does not
    have are NaN, and so are images that are not done. Raw per-image values are kept: means and
    intervals are views of them.
    """

    store: Store

    @cached_property
    def data(self) -> xr.Dataset:
        data = xr.open_zarr(self.store, consolidated=False, chunks=None)  # pyright: ignore
        return data.set_coords(["image_digest", "image_path", "n_heads"])

    @property
    def path(self) -> Path | None:
        """Where the study is on disk, if it is."""
        name = "path" if self.is_one_file else "root"
        root = getattr(self.store, name, None)
        return None if root is None else Path(root)

    @property
    def is_one_file(self) -> bool:
        """Whether it is a zip, which can be read and sent, but not be written to."""
        return one_file.is_in_one_file(self.store)

    @property
    def source(self) -> Path | Store:
        """What opens the store anew, as it is by now."""
        return self.store if self.path is None or self.is_one_file else self.path

    @property
    def model(self) -> str:
        """The checkpoint's name."""
        return self.data.attrs["model"]

    @property
    def model_digest(self) -> str:
        return self.data.attrs["model_digest"]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        return tuple(json.loads(self.data.attrs["labels"]))

    @property
    def layout(self) -> TokenLayout:
        """The tokens of the first layer; in a model of one column, those of every layer."""
        return self.layer_layouts[0].queries

    @cached_property
    def layer_layouts(self) -> tuple[LayerTokens, ...]:
        """The tokens of each layer."""
        written = json.loads(self.data.attrs["layout"])
        if "layers" not in written:  # format 1 had one layout for all
            tokens = _tokens(written)
            return (LayerTokens(tokens, tokens, "global"),) * self.data.sizes["layer"]
        tokens = [_tokens(each) for each in written["tokens"]]
        return tuple(
            LayerTokens(tokens[layer["queries"]], tokens[layer["keys"]], layer["attention"])
            for layer in written["layers"]
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What was asked for: all that a second run needs to make the same study."""
        return json.loads(self.data.attrs["settings"])

    @property
    def n_images(self) -> int:
        return self.data.sizes["image"]

    @property
    def n_done(self) -> int:
        return int(self.data["done"].sum())

    @property
    def is_complete(self) -> bool:
        """Whether all images are done, and the numbers of all of them together are there."""
        of_all = [name for name, each in self.data.variables.items() if each.attrs.get(ACROSS)]
        group = zarr.open_group(self.store, mode="r")
        return self.n_done == self.n_images and not unwritten(group, of_all)

    def load(self, *, pixels: int = 0) -> "Study":
        """The study with all its numbers read into memory, and the pixels where they are at most
        `pixels` bytes; else they stay where they are.

        Raises:
            HeadscopeError: part of the store cannot be read.
        """
        try:
            for name, variable in self.data.variables.items():
                if name != "pixels" or variable.nbytes <= pixels:
                    variable.load()
        except one_file.UNREADABLE as error:
            raise _damaged(self.path) from error
        return self

    def head_metrics(self) -> Iterator[xr.DataArray]:
        """Every number per head, ready to colour an atlas: dims `image layer head`, or `layer head`
        where it is a number of all images together.

        Importance comes first, each metric in every ablation.
        """
        for name in json.loads(self.data.attrs["variables"]):
            variable = self.data[name]
            extra = [dim for dim in variable.dims if dim not in ("image", *HEAD)]
            if not set(HEAD) <= set(variable.dims) or extra not in ([], ["ablation"]):
                continue
            for ablation in self.data["ablation"].values.tolist() if extra else [None]:
                yield variable if ablation is None else variable.sel(ablation=ablation)

    def save(self, path: str | Path) -> "Study":
        """A copy of the study at a new place on disk: a folder, or one file where `path` ends in
        `.zip`.

        Raises:
            HeadscopeError: there is something at `path`, or it cannot be written.
        """
        path = Path(path)
        if not one_file.is_meant(path):
            self._copy_to(create_group(path), joined=False)
            return open_study(path)
        _check_free(path)
        try:
            with one_file.packing(path) as group:
                self._copy_to(group, joined=self.is_complete)
        except OSError as error:
            raise _unwritable(path, error) from error
        return open_study(path)

    def _copy_to(self, target: zarr.Group, *, joined: bool) -> None:
        """Write all of it into an empty group; `joined`: several images in one chunk."""
        source = zarr.open_group(self.store, mode="r")
        target.update_attributes(dict(source.attrs))
        for name, array in source.arrays():
            copy = target.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=one_file.chunks(array) if joined else array.chunks,
                compressors=one_file.compressor(array) if joined else "auto",
                fill_value=array.fill_value,
                dimension_names=_dims(array),
                attributes=dict(array.attrs),
                config={"write_empty_chunks": True},
            )
            if array.attrs.get(ACROSS) and not array.nchunks_initialized:
                continue
            if not _holds_results(name, array):
                copy[...] = array[...]
                continue
            rows = copy.chunks[0]
            done = np.flatnonzero(self.data["done"])
            for start in dict.fromkeys((done // rows * rows).tolist()):  # it may outgrow memory
                copy[start : start + rows] = array[start : start + rows]
        from .patterns.storage import copy_patterns

        copy_patterns(self, target)

    def __str__(self) -> str:
        return (
            f"Study of {self.model} on {self.n_done} of {self.n_images} images, "
            f"{self.data.sizes['layer']} layers"
        )


def _tokens(written: Mapping[str, Any]) -> TokenLayout:
    scattered = written.get("scattered")
    return TokenLayout(
        tuple(written["kinds"]),
        tuple(written["grid"]),
        tuple(written["patch_px"]),
        None if scattered is None else tuple((row, column) for row, column in scattered),
    )


def create_group(path: str | Path) -> zarr.Group:
    """A new, empty store.

    Raises:
        HeadscopeError: there is something at `path`, or it cannot be written.
    """
    path = Path(path)
    _check_free(path)
    if one_file.is_meant(path):
        raise HeadscopeError(
            f"{path} would be one file, which cannot grow image by image: write a folder, such as "
            f"{path.with_suffix('')}, and save the finished study as {path.name} from Python."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return zarr.open_group(path, mode="w-", zarr_format=3)
    except OSError as error:
        raise _unwritable(path, error) from error


def _check_free(path: Path) -> None:
    if path.exists():
        raise HeadscopeError(f"{path} exists already; choose another place or delete it first.")


def _unwritable(path: Path, error: OSError) -> HeadscopeError:
    return HeadscopeError(
        f"{path} cannot be written ({error.strerror or error}); choose another place."
    )


def open_study(path: str | Path) -> Study:
    """A study from disk, a folder or one `.zip` file, complete or interrupted.

    Raises:
        HeadscopeError: there is none at `path`, a newer headscope wrote it, or part of it is gone.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise HeadscopeError(f"There is no study at {path}.")
        source = one_file.store_of(path) if one_file.is_meant(path) else path
        group = zarr.open_group(source, mode="r")
        version = group.attrs.get("format_version")
    except (
        *one_file.UNREADABLE,
        KeyError,
        TypeError,
        zarr.errors.GroupNotFoundError,
    ) as error:
        raise HeadscopeError(
            f"{path} is not a study: it is no Zarr group that can be read. Run headscope analyze "
            "to make one."
        ) from error
    if not isinstance(version, int):
        raise HeadscopeError(f"{path} is a Zarr group, but not a study of headscope.")
    if version > FORMAT_VERSION:
        raise HeadscopeError(
            f"{path} was written by headscope {group.attrs.get('headscope_version')} (format "
            f"{version}); this one reads up to format {FORMAT_VERSION}. Upgrade headscope."
        )
    _check_whole(group, path)
    return Study(group.store)


def _check_whole(group: zarr.Group, path: Path) -> None:
    """Raise a HeadscopeError where a file of the store is missing.

    Zarr reads a missing chunk as fill values, so a study cut in half would look whole.
    """
    try:
        for key in ("labels", "layout", "settings", "preprocessing", "capture_report"):
            json.loads(str(group.attrs[key]))
        names = json.loads(str(group.attrs["variables"]))
        arrays: dict[str, Any] = {name: group[name] for name in names}
        n_done = int(arrays["done"][:].sum())
        for name, array in arrays.items():
            if array.attrs.get(ACROSS):  # there is nothing of it until it is whole
                continue
            expected = n_done if _holds_results(name, array) else array.nchunks
            if array.nchunks_initialized < expected:
                raise _damaged(path)
    except (*one_file.UNREADABLE, KeyError, TypeError) as error:
        raise _damaged(path) from error


def _damaged(path: Path | None) -> HeadscopeError:
    return HeadscopeError(
        f"{path} is damaged: part of its data is missing. Copy it again, or run the command that "
        "made it into a new place."
    )


def unwritten(group: zarr.Group, names: Iterable[Any]) -> list[str]:
    """Of the numbers of all images together those that are not there: each is one chunk."""
    arrays: dict[str, Any] = {name: group[name] for name in names}
    return [name for name, array in arrays.items() if not array.nchunks_initialized]


def _dims(array: zarr.Array) -> tuple[str, ...]:
    return array.metadata.dimension_names  # pyright: ignore


def _holds_results(name: str, array: zarr.Array) -> bool:
    """Whether an array holds one chunk for each image that is done."""
    return _dims(array)[0] == "image" and array.chunks[0] == 1 and name != "done"
