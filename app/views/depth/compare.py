"""Compare: what another checkpoint, or a series of them, does on the same images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import in_depth, selection, services, studies
from ...jobs import Job
from ...measuring import comparing
from ...opened import written_at
from ..mirror import mirroring
from . import compare_heads as heads
from . import compare_matching as matching
from . import compare_predictions as predictions
from . import compare_series as in_series
from . import subject as shared
from .compare_scene import Scene
from .subject import Subject

if TYPE_CHECKING:
    from .... import Study

BETWEEN = "|"
"""Names of several studies in `selection.against`."""
_BESIDE, _VIEW = "compare_beside", "compare_view"

VIEWS = {
    "Atlases": heads.atlases,
    "Matching": matching.show,
    "A against B": heads.scatter,
    "Layers": heads.layers,
    "Predictions": predictions.show,
}
SERIES = "Series"


def show(subject: Subject) -> "Job[Any] | None":
    """The other studies, and the chosen view of A beside B or of all in a row."""
    study = subject.study
    if study is None or study.n_done == 0:
        st.caption("The heads are still being measured; what is compared are their numbers.")
        return None
    left, right = st.columns([2, 3], vertical_alignment="top")
    with left:
        job = _others(subject)
    if job is None or job.running or job.stopped:
        return job
    there = _usable(job.result or [])
    if not there:
        return job
    names = [*VIEWS, *([SERIES] if len(there) > 1 else [])]
    if st.session_state.get(_VIEW) not in names:
        st.session_state[_VIEW] = names[0]
    with right:
        view = st.segmented_control(
            "View", names, key=_VIEW, required=True, persist_state="session"
        )
    if view == SERIES:
        return in_series.show(subject, there) or job
    beside = there[0] if len(there) == 1 else _beside(there)
    scene = _scene(subject, study, beside)
    if scene is None or view is None:
        return job
    return VIEWS[view](scene) or job


def _beside(there: list[comparing.Other]) -> comparing.Other:
    """Which of a series is B, where two are set side by side."""
    by_name = {other.name: other for other in there}
    if st.session_state.get(_BESIDE) not in by_name:
        st.session_state[_BESIDE] = there[0].name
    chosen = st.segmented_control(
        "B is",
        list(by_name),
        key=_BESIDE,
        required=True,
        help="One of the series is set beside this one; all of them are under Series",
    )
    return by_name[chosen or there[0].name]


# -- which -----------------------------------------------------------------------------------------


def _others(subject: Subject) -> "Job[list[comparing.Other]] | None":
    """The job that opens the other studies, or measures other checkpoints on the picture."""
    return _checkpoints(subject) if subject.photograph is not None else _studies(subject)


def _studies(subject: Subject) -> "Job[list[comparing.Other]] | None":
    assert subject.study is not None
    own = subject.study.path
    own_name = selection.current().study
    known = {
        name: path
        for name, path in studies.known().items()
        if own is None or path.resolve() != own.resolve()
    }
    if not known:
        st.caption(
            "There is no other study to compare with. Analyse the same images with another "
            "checkpoint, and open both: `headscope app --study A.zarr --study B.zarr`."
        )
        return None
    # At first one that belongs to this: opened with it, or a sample beside a sample.
    together = next((each for each in (studies.given(), studies.samples()) if own_name in each), {})
    first = [name for name in known if name in together]
    chosen = _choose(list(known), "studies", typed=False, first=first)
    if not chosen:
        return None
    paths = [(name, known[name]) for name in chosen]
    key = ("compared studies", tuple((str(path), written_at(path)) for _, path in paths))
    opener = services.opener()
    return _wait("Opening the studies", key, lambda job: comparing.opened(job, paths, opener))


def _checkpoints(subject: Subject) -> "Job[list[comparing.Other]] | None":
    photograph, checkpoint = subject.photograph, subject.checkpoint
    assert photograph is not None
    known = [
        name
        for name in services.known_checkpoints()
        if checkpoint is None or name != checkpoint.name
    ]
    chosen = _choose(known, "checkpoints", typed=True, first=known)
    if not chosen:
        return None
    sources = [services.Source(name) for name in chosen]
    target = None
    if checkpoint is not None and subject.target is not None:
        target = checkpoint.labels[subject.target]
    key = ("compared", tuple(source.key for source in sources), photograph.digest, target)

    def load(source: services.Source) -> comparing.Load:
        return lambda: services.load_source(source)

    loads = [(source.name, load(source)) for source in sources]
    return _wait(
        "Measuring the picture",
        key,
        lambda job: comparing.measured(job, loads, photograph, target),
    )


def _choose(known: list[str], what: str, *, typed: bool, first: Sequence[str]) -> list[str]:
    """Names of what is compared with, in the order in which they were chosen."""
    told = selection.current().against
    wanted = [] if told is None else [name for name in told.split(BETWEEN) if name]
    missing = [] if typed else [name for name in wanted if name not in known]
    if missing:
        st.warning(
            f"There is no study {missing[0]} here; open it beside this one with headscope app "
            f"--study … --study {missing[0]}."
        )
    there = [name for name in wanted if name not in missing]
    if not there and (told is None or missing):
        there = list(first[:1])

    def take(told: list[str]) -> None:
        names = [name.strip() for name in told if name.strip()]
        selection.change(against=BETWEEN.join(names) or BETWEEN)

    st.multiselect(
        f"Compare with {what}",
        [*known, *(name for name in there if name not in known)],
        accept_new_options=typed,
        placeholder=f"Choose {what}" + (", or type a name" if typed else ""),
        help=f"One is set beside this one as B. Several are a series, in the order in which they "
        f"are chosen, with this one first{'; any timm name will do' if typed else ''}.",
        **mirroring("compare_against", there, take),
    )
    if not there:
        st.caption(f"Choose what to compare with: one, or several as a series of {what}.")
    return there


def _wait(title: str, key: Any, work: Any) -> "Job[list[comparing.Other]] | None":
    kept = "compare_stopped"
    if st.session_state.get(kept) == key:
        st.caption("This was cancelled.")
        if st.button("Go on", key="compare_go"):
            st.session_state.pop(kept)
            st.rerun()
        return None
    job = in_depth.start("compare others", key, title, work)
    if job.stopped:  # another session did
        in_depth.retry(job)
        job = in_depth.start("compare others", key, title, work)

    def cancel() -> None:
        st.session_state[kept] = key
        in_depth.stop("compare others")

    if not job.wait(0.5):
        shared.waits(job, cancel, "compare_cancel")
    return job


def _usable(found: list[comparing.Other]) -> list[comparing.Other]:
    """Those that are there; a sentence for each of the others."""
    for other in found:
        if other.study is None:
            st.error(f"{other.name}: {other.why_not}")
        elif other.study.n_done == 0:
            st.error(f"{other.name}: no image is done; let its analysis go on.")
    return [other for other in found if other.study is not None and other.study.n_done]


# -- A and B ---------------------------------------------------------------------------------------


def _scene(subject: Subject, study: "Study", beside: comparing.Other) -> Scene | None:
    from .... import HeadscopeError
    from ....analysis.matching import shared_images

    other = beside.study
    assert other is not None
    try:
        images = shared_images((study, other))
    except HeadscopeError as error:
        st.error(str(error))
        return None
    names = (_called(study), _called(other))
    if names[0] == names[1]:
        own = study.path.name if study.path is not None else "this one"
        names = (f"{names[0]} ({own})", f"{names[1]} ({beside.name})")
    scene = Scene(subject, study, other, names, images)
    st.caption(_sentence(scene))
    return scene


def _called(study: "Study") -> str:
    """The checkpoint's name; of a file without the folders."""
    model = study.model
    return Path(model).name if model.endswith((".safetensors", ".pth", ".pt", ".bin")) else model


def _sentence(scene: Scene) -> str:
    n = scene.n
    told = f"**A: {scene.names[0]}, B: {scene.names[1]}**, "
    if scene.subject.photograph is not None:
        return told + "on this picture."
    done = [scene.a.n_done, scene.b.n_done]
    if done == [n, n]:
        told += f"on the same {n:,} image{'s' * (n != 1)}."
    else:
        told += (
            f"on the {n:,} image{'s' * (n != 1)} that both studies have, of {done[0]:,} in A and "
            f"{done[1]:,} in B; the others are left out."
        )
    sizes = [(s.data.sizes["row"], s.data.sizes["column"]) for s in (scene.a, scene.b)]
    if sizes[0] != sizes[1]:
        (h, w), (height, width) = sizes
        told += (
            f" A sees them at {w} × {h} px and B at {width} × {height} px, so distances in px are "
            "of other scales; heads are matched by shares of the image."
        )
    return told
