"""What the page asks for: checkpoints, pictures, predictions, maps and studies.

Everything slow runs in the background and is kept, bounded, for all sessions of the server, under
keys of our own: `st.cache_data` hashes only a sample of a large array and can answer with another's
result. This is the one module with an `st.cache_*`.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from jaxtyping import UInt8
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from .figures import encode
from .figures import maps as figure_maps
from .figures.packing import n_bytes
from .jobs import Job, Jobs
from .looking import Look, Wanted, look_bytes
from .opened import OpenedStudies
from .serve import FACTORY
from .shelf import Shelf

if TYPE_CHECKING:  # both import torch; the page shows its frame first
    from .. import AttentionMaps, Checkpoint, Photograph, Study
    from ..analysis.maps import LayerMaps
    from ..models.samples import Sample

UPLOAD_BYTES = 400_000_000
"""Decoded pixels of uploaded pictures that the server keeps, for all sessions together."""
FRAME_SECONDS = 3.0
"""Longest that loading a checkpoint waits for a page that needs none at first."""
CHECKPOINTS = 3
"""Checkpoints in memory."""
MAP_BYTES = 400_000_000
"""Attention maps in memory; those of one image have 0.5 MB (demo) to 128 MB (ViT-L at 384 px)."""
LARGEST_MAPS = 200_000_000
"""Above, an image's maps are not kept: a head's are computed when they are looked at."""
IN_DEPTH = 50
"""Results of what is measured in depth: races, removal curves, …"""
BOARD_BYTES = 200_000_000
"""What panels of the board draw, where making it takes long."""
MULTIPLES_BYTES = 100_000_000
"""Maps of one head over images; those of ten images have 0.2 MB (demo) to 3.3 MB (577 tokens)."""
AT_ONCE = 8
"""Jobs of a kind that are computed side by side, as far as they do not share a checkpoint."""
GRACE = 10.0
"""Seconds that a page may be gone (a lost connection) before what it waits for is given up."""
REFERENCES = 3
"""What heads give over a set of images, in memory; that of ViT-B/16 has 15 MB."""
STUDIES = 200
"""Studies of one picture in memory, each of about the size of its crop."""

_LAST_WRITTEN: dict[str, int] = {}
"""When each weights file was written that was looked for."""


@dataclass(frozen=True)
class Source:
    """Which checkpoint, as `load` takes it."""

    name: str
    arch: str | None = None
    pretrained: bool = True
    seed: int = 0
    image_size: tuple[int, int] | None = None
    in_chans: int | None = None
    precision: str = "float32"
    factory: str | None = None
    """The function that made it, which a stranger's study may name: it is not run from here."""

    @property
    def key(self) -> tuple[Any, ...]:
        """Changes when a weights file is written anew."""
        path = Path(self.name).expanduser()
        try:
            written = path.stat().st_mtime_ns if path.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            written = None
        if written is not None:
            _LAST_WRITTEN[self.name] = written
        # A file that was deleted since: what was loaded of it is still good.
        return "checkpoint", *astuple(self), _LAST_WRITTEN.get(self.name, 0)


def _maps_bytes(maps: "Sequence[LayerMaps]") -> int:
    return sum(each.n_bytes for each in maps)


def _jobs(most: int, size: Callable[[Any], int] = lambda _: 1) -> Jobs:
    """Work of all sessions side by side; each pass of a network holds its lock."""
    return Jobs(workers=AT_ONCE, most=most, size=size)


@dataclass(frozen=True)
class _Workshop:
    """The server's own memory: one for all sessions."""

    checkpoints: Jobs = field(default_factory=lambda: _jobs(CHECKPOINTS))
    looks: Jobs = field(default_factory=lambda: _jobs(MAP_BYTES, look_bytes))
    attention: Jobs = field(default_factory=lambda: _jobs(STUDIES))
    studies: Jobs = field(default_factory=lambda: _jobs(STUDIES))
    in_depth: Jobs = field(default_factory=lambda: _jobs(IN_DEPTH))
    board: Jobs = field(default_factory=lambda: _jobs(BOARD_BYTES, n_bytes))
    multiples: Jobs = field(default_factory=lambda: _jobs(MULTIPLES_BYTES, _maps_bytes))
    at_once: Jobs = field(default_factory=lambda: _jobs(IN_DEPTH))
    references: Jobs = field(default_factory=lambda: _jobs(REFERENCES))
    left: dict[str, float] = field(default_factory=dict)
    """When sessions were first seen to be gone, in seconds."""
    uploads: "Shelf[Photograph]" = field(default_factory=lambda: Shelf(UPLOAD_BYTES))
    thumbnails: Shelf[str] = field(default_factory=lambda: Shelf(2000))
    closer: "Shelf[AttentionMaps]" = field(default_factory=lambda: Shelf(8))
    opened: OpenedStudies = field(default_factory=OpenedStudies)


@st.cache_resource(show_spinner=False)
def _workshop() -> _Workshop:
    return _Workshop()


def jobs_in_depth() -> Jobs:
    """What is measured in depth."""
    return _workshop().in_depth


def for_board(panel: str, key: Any, title: str, work: Callable[[Job[Any]], Any]) -> Job[Any]:
    """What a panel of the board draws, made in the background; `key` names all that it rests on.

    What went wrong is done again at the next run.
    """
    jobs = _workshop().board
    job = claimed(jobs, f"board {panel}", (panel, key), title, work)
    if job.wait(0) and (job.stopped or job.future.exception() is not None):
        jobs.forget(job.key)
    return job


def jobs_of_multiples() -> Jobs:
    """The maps of one head over images; whoever clicks on waits for the last head alone."""
    return _workshop().multiples


def jobs_at_once() -> Jobs:
    """What somebody who clicks waits for: it does not stand in line behind what takes minutes."""
    return _workshop().at_once


def jobs_references() -> Jobs:
    """What heads give over images, for ablations that compare with them."""
    return _workshop().references


def session() -> str:
    """Name of the browser session whose script runs."""
    context = get_script_run_ctx()
    return context.session_id if context else ""


def claimed(jobs: Jobs, role: str, key: Any, title: str, work: Callable[[Job[Any]], Any]) -> Any:
    """A job of this session in a role; the one before it stops, if nobody else waits for it."""
    jobs.release(_is_gone)
    job = jobs.start(key, title, work)
    jobs.claim(session(), role, key)
    return job


def _is_gone(name: str) -> bool:
    """Whether a session's page was closed a while ago."""
    left = _workshop().left
    if not runtime.exists() or runtime.get_instance().is_active_session(name):
        left.pop(name, None)
        return False
    return time.monotonic() - left.setdefault(name, time.monotonic()) > GRACE


def known_checkpoints() -> tuple[str, ...]:
    """The embedded checkpoints."""
    from .. import known_checkpoints

    return known_checkpoints()


def load_source(source: Source) -> "Checkpoint":
    """The checkpoint of a source; code that a study names runs only if the server was told to.

    Raises:
        HeadscopeError: it cannot be loaded, or not be run.
    """
    from .. import HeadscopeError, load

    options = asdict(source)
    factory = options.pop("factory")
    if factory is None:
        return load(**options)
    if factory != os.environ.get(FACTORY):
        raise HeadscopeError(
            f"The study's checkpoint was made by {factory}: code, which is not run unless you "
            f"ask for it. If you trust it: headscope app --study … --factory {factory}."
        )
    from ..models.factory import from_factory

    return from_factory(
        factory,
        image_size=source.image_size,
        seed=source.seed,
        precision=source.precision,
    )


def checkpoint(source: Source, after: threading.Event | None = None) -> "Job[Checkpoint]":
    """The checkpoint, loading; begun after an event (or a few seconds), if one is given."""

    def work(job: "Job[Checkpoint]") -> "Checkpoint":
        if after is not None:
            after.wait(FRAME_SECONDS)
        job.report(0)
        loaded = load_source(source)
        _ = loaded.digest  # cached there; a large checkpoint takes a second
        return loaded

    return claimed(
        _workshop().checkpoints, "checkpoint", source.key, f"Loading {source.name}", work
    )


def samples() -> "Mapping[str, Sample]":
    """The pictures that the page offers."""
    from .. import sample_images

    return sample_images()


def sample(name: str) -> "Photograph | None":
    """A sample picture, or None where there is none of that name."""
    found = samples().get(name)
    return found.read() if found else None


def keep_upload(data: bytes, name: str) -> "Photograph":
    """An uploaded file as a photograph, which a link finds again while the server keeps it.

    Raises:
        HeadscopeError: the file is no image that can be read.
    """
    from .. import read_image

    photograph = read_image(data, name=name)
    _workshop().uploads.put(photograph.digest, photograph, photograph.pixels.nbytes)
    return photograph


def upload(digest: str) -> "Photograph | None":
    """An uploaded picture, while the server keeps it."""
    return _workshop().uploads.get(digest)


def thumbnail(
    key: str,
    pixels: Callable[[], np.ndarray],
    draw: Callable[[np.ndarray], str] = encode.thumbnail,
) -> str:
    """A small picture as a data URL, made once for each key; square unless drawn otherwise."""
    shelf = _workshop().thumbnails
    made = shelf.get(key)
    if made is None:
        made = draw(pixels())
        shelf.put(key, made)
    return made


def look(checkpoint: "Checkpoint", crop: UInt8[np.ndarray, "row column 3"]) -> Job[Look]:
    """Predictions and attention maps of one crop."""
    import hashlib

    digest = hashlib.sha256(checkpoint.identity.encode() + crop.tobytes()).hexdigest()

    def work(job: Job[Look]) -> Look:
        from ..analysis.maps import attention_maps, map_bytes

        job.report(0)
        batch = checkpoint.prepare(crop[None])
        probabilities = checkpoint.probabilities(batch)[0] if checkpoint.has_classes else None
        heads = None if map_bytes(checkpoint) <= LARGEST_MAPS else ()
        maps = attention_maps(checkpoint, crop, heads)
        return Look(digest, checkpoint, crop, probabilities, maps)

    return claimed(_workshop().looks, "look", digest, "Reading the attention maps", work)


def feed(look: Look, wanted: "Wanted | None") -> bytes:
    """The maps for the browser: all where they fit, else what is `wanted`.

    Where the maps were too large to keep, the picture runs through the model once more.
    """
    shown = {"name": look.digest, "pixels": look.crop}
    if wanted is None:
        return figure_maps.feed(**shown, maps=look.maps)
    maps = look.maps
    if not maps.is_whole:
        maps = _closer(look, wanted)
    return figure_maps.feed(**shown, maps=maps, **asdict(wanted))


def _closer(look: Look, wanted: Wanted) -> "AttentionMaps":
    """The maps of what is wanted alone, kept while it is looked at."""
    from .. import attention_maps

    shelf, key = _workshop().closer, (look.digest, wanted)
    maps = shelf.get(key)
    if maps is None:
        at = [(wanted.layer, wanted.head)]
        maps = attention_maps(look.checkpoint, look.crop, at, wanted.tokens)
        shelf.put(key, maps)
    return maps


def attention_study(checkpoint: "Checkpoint", photograph: "Photograph") -> "Job[Study]":
    """The numbers of all heads that need no ablation: quick."""

    def work(job: "Job[Study]") -> "Study":
        from .. import analyze

        job.report(0)
        return analyze(checkpoint, [photograph], importance=False).load()

    key = ("attention", checkpoint.identity, photograph.digest)
    return claimed(_workshop().attention, "attention", key, "Measuring the attention", work)


def study(
    checkpoint: "Checkpoint", photograph: "Photograph", target: int | None
) -> "Job[Study] | None":
    """All numbers of all heads for one picture; None after this session cancelled it."""
    key = ("study", checkpoint.identity, photograph.digest, target)
    if key in _cancelled():
        return None

    def work(job: "Job[Study]") -> "Study":
        from .. import analyze

        def progress(step: Any) -> None:
            job.report(step.done / max(1, step.total))

        return analyze(checkpoint, [photograph], target=target, progress=progress).load()

    return claimed(_workshop().studies, "study", key, "Measuring every head's importance", work)


def cancel_study(key: Any) -> None:
    """Stop a study for this session; it goes on where another session waits for it."""
    _cancelled().add(key)
    _workshop().studies.claim(session(), "study", None)


def resume_studies() -> None:
    """Compute again what this session cancelled."""
    _cancelled().clear()


def _cancelled() -> set[Any]:
    return st.session_state.setdefault("cancelled", set())


def retry(job: Job[Any]) -> None:
    """Do failed work again at the next run."""
    workshop = _workshop()
    for jobs in (workshop.checkpoints, workshop.looks, workshop.attention, workshop.studies):
        jobs.forget(job.key)


def opened_study(path: Path) -> "Study":
    """The study at a path, read once, and again where it was written anew.

    What was read of one that has gone or was damaged since is kept: `trouble_with` says so.

    Raises:
        HeadscopeError: it cannot be opened.
    """
    return _workshop().opened.open(path)


def opener() -> "Callable[[Path], Study]":
    """`opened_study`, for a job that runs outside of any session."""
    return _workshop().opened.open


def trouble_with(path: Path) -> str | None:
    """What became of an opened study's files since it was read, in a sentence."""
    return _workshop().opened.trouble_with(path)
