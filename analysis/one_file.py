"""A study as one file: a zip of the files that its folder would hold."""

import tempfile
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec
from zarr.storage import ZipStore

SUFFIX = ".zip"
CHUNK_BYTES = 2_000_000
"""Of several images in one chunk: one file of thousands of chunks opens slowly."""
UNREADABLE = (OSError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged store raises."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: the same study is the same bytes."""


class _File(ZipStore):
    """Zarr's own takes `image_digest/c/0` for a part of `image`."""

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        async for key in super().list_prefix(f"{prefix.rstrip('/')}/" if prefix else ""):
            yield key


def is_meant(path: Path) -> bool:
    """Whether a path is, or is to be, one file."""
    return (
        zipfile.is_zipfile(path)
        if path.is_file()
        else path.suffix.lower() == SUFFIX and not path.is_dir()
    )


def is_in_one_file(store: Store) -> bool:
    return isinstance(store, _File)


def store_of(path: Path) -> Store:
    """What reads the file; it is never written to.

    Raises:
        OSError, BadZipFile: it cannot be read.
    """
    return _File(path, mode="r", read_only=True)


@contextmanager
def packing(path: Path) -> Iterator[zarr.Group]:
    """A new group, which is the file at `path` once the block has ended well.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".headscope-") as beside:
        folder = Path(beside) / "study"
        yield zarr.open_group(folder, mode="w-", zarr_format=3)
        packed = Path(beside) / "packed"
        with zipfile.ZipFile(packed, "x") as archive:
            for each in sorted(file for file in folder.rglob("*") if file.is_file()):
                entry = zipfile.ZipInfo(each.relative_to(folder).as_posix(), _LONG_AGO)
                small = each.name == "zarr.json"  # chunks are compressed already
                entry.compress_type = zipfile.ZIP_DEFLATED if small else zipfile.ZIP_STORED
                archive.writestr(entry, each.read_bytes())
        packed.rename(path)


def chunks(array: zarr.Array) -> tuple[int, ...]:
    """Of an array that is whole: as many of its first axis together as are `CHUNK_BYTES`."""
    if not array.shape or array.dtype.kind not in "fiub":
        return array.chunks
    row = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    return (max(1, min(array.shape[0], CHUNK_BYTES // max(1, row))), *array.chunks[1:])


def compressor(array: zarr.Array) -> BloscCodec | Literal["auto"]:
    """Bytes of the same weight together, which makes numbers a quarter smaller."""
    if array.dtype.kind not in "fiub":
        return "auto"
    return BloscCodec(cname="zstd", clevel=9, shuffle="shuffle", typesize=array.dtype.itemsize)
