"""Patterns: what the maps of all heads look like, learned by an autoencoder and grouped."""

import os
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth, selection
from ...figures import patterns as figures
from ...figures import why as why_figures
from ...figures.template import number
from ...jobs import Job
from ...measuring import patterns as work
from ...measuring import pictures as sizes
from . import pattern_cards as cards
from . import subject as shared
from .pattern_cards import Scene
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.patterns import PatternMaps, Projected

_SHOWN = "patterns_shown"
_PATTERN, _LAYER, _LABEL, _PREDICTION = "pattern", "layer", "label", "prediction"
_MOST_CLASSES = len(why_figures.KINDS)
_CHOICES = range(2, 13)
_SAVE = "patterns_save"


def show(subject: Subject) -> "Job[Any] | None":
    """The patterns of the study or, on one picture, of what the checkpoint can be measured on."""
    from .... import HeadscopeError

    job = None
    try:
        job = _learned(subject)
        if job is None or job.running or job.stopped:
            return job
        learned: Any = job.result  # raises what went wrong
    except HeadscopeError as error:
        st.error(str(error))
        if job is not None and st.button("Try again", key="depth_again patterns"):
            in_depth.retry(job)
            st.rerun()
        return job
    return _view(subject, learned)


# -- where they come from --------------------------------------------------------------------------


def _learned(subject: Subject) -> "Job[work.Learned] | None":
    """The job that opens or learns patterns; None where it has to be asked for, or cannot be."""
    job = _opening(subject)
    if job is not None:
        if not job.wait(1):
            shared.waits(job, lambda: in_depth.stop("patterns"))
        return job
    checkpoint = subject.checkpoint
    if checkpoint is None:
        st.caption(
            "The study has no patterns yet, and its checkpoint is not there (yet), so none can be "
            "learned: `headscope patterns STUDY.zarr` learns and keeps them where it is."
            if subject.study is not None and subject.photograph is None
            else "There is no checkpoint yet."
        )
        return None
    images = _images(subject)
    pictures = images.pictures
    key = ("learned", checkpoint.identity, pictures.key, pictures.n)
    kept, wanted = st.session_state.get("patterns_asked", (None, None))
    wanted = wanted if kept == key else None

    def want(yes: bool) -> None:  # noqa: FBT001
        st.session_state["patterns_asked"] = (key, yes)
        if not yes:
            in_depth.stop("patterns")

    if wanted is None:
        wanted = sizes.is_quick(checkpoint)
    if not wanted:
        in_depth.stop("patterns")
        _ask(checkpoint, images, want)
        return None
    job = in_depth.start(
        "patterns",
        key,
        "Patterns",
        lambda job: work.learn(job, checkpoint, images, key),
    )
    if not job.wait(0.2):
        shared.waits(job, lambda: want(yes=False))
        st.caption(_what_is_done(checkpoint, images))
    return job


def _opening(subject: Subject) -> "Job[work.Learned] | None":
    """The job that reads what the opened study has."""
    study = subject.study
    if study is None or subject.photograph is not None:
        return None
    from ....analysis.patterns.storage import which_patterns

    try:
        which = which_patterns(study)
    except OSError:  # the study was moved away; what was read of it is still shown
        which = None
    if which is None:
        return None
    key = ("saved", str(study.path), which)
    return in_depth.start("patterns", key, "Patterns", lambda job: work.opened(job, study, key))


def _images(subject: Subject) -> work.Images:
    """What to learn from: the study where it has enough images, else what there is beside it."""
    from ....analysis.patterns.training import LEAST_IMAGES

    study, checkpoint = subject.study, subject.checkpoint
    assert checkpoint is not None
    if study is not None and subject.photograph is None and study.n_done >= LEAST_IMAGES:
        names = study.data["image"].values[np.flatnonzero(study.data["done"].values)]
        return work.Images(sizes.of_study(study), [str(name) for name in names])
    return work.Images(sizes.many(checkpoint))


def _what_is_done(checkpoint: Any, images: work.Images) -> str:
    n = work.images_for(checkpoint, images.pictures)
    n_heads = sum(checkpoint.n_heads)
    return (
        f"Reads the maps of {n_heads:,} heads × {n:,} of the {images.pictures.n:,} "
        f"{images.pictures.words}, and trains a small autoencoder of them on the processor."
    )


def _ask(checkpoint: Any, images: work.Images, want: Callable[[bool], None]) -> None:
    from ....analysis.patterns.training import SECONDS

    cost = "Seconds." if sizes.is_quick(checkpoint) else "Minutes for this checkpoint."
    st.caption(
        f"{_what_is_done(checkpoint, images)} {cost} Training stops after {SECONDS:.0f} s at the "
        "latest."
    )
    st.button(
        "Learn patterns",
        key="patterns_learn",
        type="primary",
        on_click=want,
        args=(True,),
    )


# -- what is shown ---------------------------------------------------------------------------------


def _view(subject: Subject, learned: work.Learned) -> "Job[Any] | None":
    from .... import HeadscopeError

    first, second, third = st.columns([3, 3, 3], vertical_alignment="bottom")
    with first:
        how = _grouping(learned)
    job: Job[work.Grouped] = in_depth.start(
        "patterns groups",
        (learned.key, how, _digest(subject)),
        "Patterns",
        lambda job: work.grouped(job, learned, how, _digest(subject)),
    )
    if not job.wait(1):
        shared.waits(job, lambda: in_depth.stop("patterns groups"))
        return job
    try:
        found: Any = job.result
    except HeadscopeError as error:
        st.error(str(error))
        return job
    if found is None:
        st.caption("It was stopped; choose other groups.")
        return None
    placing, own, own_words = _own(subject, learned, found)
    with second:
        layout, plane = _plane(learned)
    scene = Scene(subject, learned, found, _study_places(subject, found), own, own_words)
    _remember(scene)
    st.caption(_sentence(scene))
    left, right = st.columns([3, 2], gap="medium")
    with third:
        colour = _colour(scene)
    with left:
        _scatter(scene, layout, plane, colour)
    with right:
        cards.head(scene)
    cards.show(scene)
    checking = cards.quality(scene)
    with st.container(horizontal=True, vertical_alignment="center"):
        shared.offer(
            figures.head_rows(found.heads, found.patterns.names, found.n_images),
            f"patterns {subject.name}",
        )
        saving = _save(subject, learned, found)
    jobs = (plane, placing, checking, saving)
    return next((each for each in jobs if each is not None and each.running), job)


def _digest(subject: Subject) -> str:
    if subject.study is not None and subject.photograph is None:
        return subject.study.model_digest
    return subject.checkpoint.digest if subject.checkpoint is not None else ""


def _grouping(learned: work.Learned) -> str:
    own = learned.patterns.clustering
    names = {str(k): f"{k} (k-means)" for k in _CHOICES}
    names |= {work.DENSITY: "HDBSCAN (finds the number, leaves maps out)"}
    auto = {work.AUTO: "by the silhouette (k-means)"}
    if learned.saved:
        rule = "HDBSCAN" if own.method == "hdbscan" else "k-means"
        if len(own.choices):
            auto, rule = {}, "by the silhouette"
        names = {work.AS_LEARNED: f"as saved: {own.n} ({rule})"} | auto | names
    else:
        names = auto | names
    kept = st.session_state.get("patterns_how_kept")
    if st.session_state.get("patterns_how") not in names:
        st.session_state["patterns_how"] = kept if kept in names else next(iter(names))
    chosen = st.selectbox(
        "Patterns",
        list(names),
        key="patterns_how",
        format_func=names.__getitem__,
        help="How many groups the maps are divided into. The autoencoder stays as it is, so this "
        "takes a moment only.",
    )
    st.session_state["patterns_how_kept"] = chosen
    return chosen


def _plane(learned: work.Learned) -> "tuple[Any, Job[Any] | None]":
    """The plane that maps are drawn in, and the job that makes it."""
    chosen = st.segmented_control(
        "Plane",
        ["PCA", "UMAP"],
        default="PCA",
        key="patterns_plane",
        required=True,
        persist_state="session",
        help="PCA: the two directions in which maps differ most; the same on any machine. UMAP: "
        "neighbours stay neighbours, distances between groups mean little.",
    )
    there = learned.patterns.projections
    if chosen == "PCA":
        return there["pca"], None
    if "umap" in there:
        return there["umap"], None
    job = in_depth.start(
        "patterns plane",
        (learned.key, "umap"),
        "UMAP",
        lambda job: work.laid_out(job, learned.patterns),
    )
    if job.wait(0.2) and not job.stopped:
        return job.result, job
    return there["pca"], job


def _own(
    subject: Subject, learned: work.Learned, found: work.Grouped
) -> "tuple[Job[PatternMaps] | None, Projected | None, str]":
    """The maps of the picture that is shown, where the patterns were learned without it."""
    checkpoint = subject.checkpoint
    if checkpoint is None or subject.crop is None:
        return None, None, ""
    study, name = subject.study, _image(subject)
    digest = sha256(subject.crop.tobytes()).hexdigest()
    words = "this picture" if subject.photograph is not None else "this image"
    images = work.Images(work.one_crop(subject.crop, digest, words), [name])
    if study is not None and subject.photograph is None and not _learned_from(found, study):
        words = "images of the study"
        names = study.data["image"].values[np.flatnonzero(study.data["done"].values)]
        images = work.Images(sizes.of_study(study), [str(each) for each in names])
    elif name in _image_names(found) and subject.photograph is None:
        return None, None, ""
    n = min(images.pictures.n, sizes.IMAGES)
    form = learned.patterns.maps.form
    job: Job[PatternMaps] = in_depth.start(
        "patterns place",
        (checkpoint.identity, images.pictures.key, n, form),
        "Maps",
        lambda job: work.collected(job, checkpoint, images, n, form=form),
    )
    if not job.wait(0.5) or job.stopped:
        return job, None, words
    maps: Any = job.result
    return job, found.patterns.project_maps(maps), words


def _image(subject: Subject) -> str:
    """Name of the image that is shown."""
    if subject.photograph is not None:
        return subject.photograph.name
    assert subject.study is not None
    names = [str(name) for name in subject.study.data["image"].values]
    chosen = selection.current().image
    return chosen if chosen in names else names[0]


def _image_names(found: work.Grouped) -> set[str]:
    """Of the images that patterns were learned from, for the heads of this checkpoint."""
    maps = found.patterns.maps
    of = np.unique(maps.origin[found.rows])
    return {name for index in of for name in maps.origins[index].images}


def _learned_from(found: work.Grouped, study: Any) -> bool:
    return bool(_image_names(found) & {str(name) for name in study.data["image"].values})


def _study_places(subject: Subject, found: work.Grouped) -> np.ndarray:
    """Of each of this checkpoint's maps, the place of its image in the opened study, or −1."""
    maps = found.patterns.maps
    if subject.study is None or subject.photograph is not None:
        return np.full(len(found.rows), -1)
    index = {str(name): i for i, name in enumerate(subject.study.data["image"].values)}
    table = [[index.get(name, -1) for name in origin.images] for origin in maps.origins]
    of = zip(maps.origin[found.rows].tolist(), maps.image[found.rows].tolist(), strict=True)
    return np.array([table[origin][image] for origin, image in of], int)


def _sentence(scene: Scene) -> str:
    found, learned = scene.found, scene.learned
    patterns, n = found.patterns, found.n_images
    n_heads = len(found.heads.heads)
    of = f" of the {learned.n_of:,} {learned.words}" if learned.n_of > n else f" {learned.words}"
    if learned.n_of == n:
        of = f" {learned.words} (all)"
    left_out = float((patterns.clustering.labels < 0).mean())
    parts = [
        f"**{patterns.clustering.n} patterns** in the maps of {n_heads:,} heads × {n:,}{of}: "
        f"{len(found.rows):,} maps{', as saved in the study' if learned.saved else ''}.",
        f"{left_out:.0%} of the maps are in none." if left_out else "",
    ]
    others = len(patterns.maps.origins) - 1
    if others > 0:
        parts.append(
            "They were learned together with the maps of "
            + ", ".join(sorted({origin.model for origin in patterns.maps.origins}))
            + "; drawn are those of this checkpoint."
        )
    if scene.own is not None:
        parts.append(
            f"The maps of {scene.own_words} are set among them, and were not learned from."
        )
    if not len(found.rows):
        parts.append("None of the maps is of this checkpoint.")
    return " ".join(filter(None, parts))


# -- the scatter -----------------------------------------------------------------------------------

Colour = Callable[[np.ndarray], figures.Amount | figures.Sort]
"""From the drawn maps, by place among those of this checkpoint."""


def _colour(scene: Scene) -> Colour:
    subject, found = scene.subject, scene.found
    maps, rows = found.patterns.maps, found.rows
    names: dict[str, str] = {_PATTERN: "Pattern", _LAYER: "Layer"}
    variables = {} if subject.study is None else shared.importance(subject.study)
    names |= {key: shared.label(variable) for key, variable in variables.items()}
    data = subject.study.data if subject.study is not None else None
    if data is not None and (scene.places >= 0).any():
        if "label" in data and (data["label"].values >= 0).any():
            names[_LABEL] = "Class in the image"
        if "top_class" in data:
            names[_PREDICTION] = "Predicted class"
    if st.session_state.get("patterns_colour") not in names:
        kept = st.session_state.get("patterns_colour_kept")
        st.session_state["patterns_colour"] = kept if kept in names else _PATTERN
    chosen = st.selectbox(
        "Colour", list(names), key="patterns_colour", format_func=names.__getitem__
    )
    st.session_state["patterns_colour_kept"] = chosen
    if chosen == _PATTERN:
        labels = found.patterns.clustering.labels[rows]
        return lambda at: figures.Sort("Pattern", found.patterns.names, labels[at])
    if chosen == _LAYER:
        return lambda at: figures.Amount("Layer", "", maps.layer[rows][at].astype(float))
    if chosen in (_LABEL, _PREDICTION):
        return _of_class(scene, chosen, names[chosen])
    variable = variables[chosen].transpose("image", "layer", "head")
    return _of_importance(scene, variable, names[chosen])


def _of_importance(scene: Scene, variable: Any, name: str) -> Colour:
    """In each image where the study has it, else the head's mean over the study."""
    from ...figures.encode import mean_over_images

    maps, rows = scene.found.patterns.maps, scene.found.rows
    values = variable.values.astype(float)
    mean = mean_over_images(values)

    def of(at: np.ndarray) -> figures.Amount:
        layer, head, place = maps.layer[rows][at], maps.head[rows][at], scene.places[at]
        known = place >= 0
        found = np.where(known, values[np.maximum(place, 0), layer, head], mean[layer, head])
        signed = bool(np.nanmin(values, initial=0.0) < 0)
        return figures.Amount(name, str(variable.attrs.get("units", "")), found, signed)

    return of


def _of_class(scene: Scene, which: str, name: str) -> Colour:
    study: Any = scene.subject.study
    by_image = study.data["label"].values
    if which == _PREDICTION:
        by_image = study.data["top_class"].values[:, 0]
    classes = np.where(scene.places >= 0, by_image[np.maximum(scene.places, 0)], -1)
    present, counts = np.unique(classes[classes >= 0], return_counts=True)
    kept = present[np.argsort(-counts, kind="stable")][:_MOST_CLASSES]
    index = {int(each): i for i, each in enumerate(kept)}
    none = "other classes" if len(present) > len(kept) else "class not known"
    labels = [study.labels[int(each)].split(",")[0] for each in kept]
    of_map = np.array([index.get(int(each), -1) for each in classes], int)
    return lambda at: figures.Sort(name, labels, of_map[at], none)


def _scatter(scene: Scene, plane: Any, job: "Job[Any] | None", colour: Colour) -> None:
    subject, found = scene.subject, scene.found
    if job is not None and plane.method != "umap":
        if job.running:
            shared.waits(job, lambda: st.session_state.update(patterns_plane="PCA"))
        elif job.stopped:
            in_depth.retry(job)
    rows, maps = found.rows, found.patterns.maps
    if not len(rows):
        return
    heads = np.stack([maps.layer[rows], maps.head[rows]], -1)
    chosen = scene.chosen
    at = figures.sample(len(rows), (heads == np.array(chosen)).all(1))
    names = [*found.patterns.names, figures.NONE_NAME]
    labels = found.patterns.clustering.labels[rows]
    dots = figures.Dots(
        plane.points[rows[at]],
        heads[at],
        scene.places[at],
        [scene.image_name(int(row)) for row in rows[at]],
        [names[label] for label in labels[at]],
    )
    axes = ("principal component 1", "principal component 2")
    if plane.method == "umap":
        axes = ("UMAP 1", "UMAP 2")
    chart = figures.chart(
        dots,
        colour(at),
        axes,
        chosen=chosen,
        marked=selection.current().marked_heads,
        own=_own_dots(scene, plane),
        own_words=scene.own_words,
        dark=shared.is_dark(),
    )
    words = f"{len(at):,} maps in the plane of {axes[0].split(' 1')[0]}, a dot a head and image."
    st.plotly_chart(
        chart,
        key="patterns_dots",
        theme=None,
        alt=words,
        config={"displaylogo": False},
        on_select=lambda: _take(subject),
        selection_mode=("points", "box", "lasso"),
    )
    shown = (
        f"The plane has {plane.explained:.0%} of the latent variance."
        if plane.method == "pca"
        else "Distances between groups mean little."
    )
    fewer = (
        f"{len(at):,} of {len(rows):,} maps are drawn, by chance. " if len(at) < len(rows) else ""
    )
    amount = colour(at)
    if isinstance(amount, figures.Amount) and amount.unit:
        low, high = figures.ends(amount)
        fewer += (
            f"Colours end at {number(low)} and {number(high)} {amount.unit} (1 in 100 beyond). "
        )
    st.caption(
        f"A dot: one head's map in one image. {fewer}{shown} Trustworthiness "
        f"{plane.trustworthiness:.2f} (0.5 chance, 1 all neighbours kept). Click a dot to choose "
        "its head"
        + (" and image" if (scene.places >= 0).any() else "")
        + "; a box or lasso marks heads in all views."
    )


def _own_dots(scene: Scene, plane: Any) -> figures.Dots | None:
    own = scene.own
    if own is None:
        return None
    points = plane.place(own.latents, scene.found.patterns.latents)
    names = scene.found.patterns.names
    study = scene.subject.study if scene.subject.photograph is None else None
    index = {} if study is None else {str(n): i for i, n in enumerate(study.data["image"].values)}
    images = [own.maps.origins[0].images[image] for image in own.maps.image]
    return figures.Dots(
        points,
        np.stack([own.maps.layer, own.maps.head], -1),
        np.array([index.get(name, -1) for name in images], int),
        images,
        [
            f"nearest pattern: {names[label]}" + " (outlier)" * bool(outlier)
            for label, outlier in zip(own.labels, own.outlier, strict=True)
        ],
    )


def _take(subject: Subject) -> None:
    """A click chooses the head, and the image where the study has it; a box marks heads."""
    picked = st.session_state["patterns_dots"].selection
    found = [point["customdata"] for point in picked.points if "customdata" in point]
    if not found:  # clicked again, or beside everything
        return
    if picked.box or picked.lasso:
        heads = [(int(layer), int(head)) for layer, head, _ in found]
        shared.change_everywhere(marked=selection.marking(heads))
        return
    layer, head, place = (int(each) for each in found[-1])
    changes: dict[str, Any] = {"layer": layer, "head": head}
    if place >= 0 and subject.study is not None:
        changes["image"] = str(subject.study.data["image"].values[place])
    shared.change_everywhere(**changes)


# -- keeping ---------------------------------------------------------------------------------------


def _save(subject: Subject, learned: work.Learned, found: work.Grouped) -> "Job[bool] | None":
    """The button that keeps the patterns in the opened study, where it can be written."""
    from .... import HeadscopeError

    study = subject.study
    if study is None or subject.photograph is not None or study.path is None:
        return None
    name = study.path.name
    command = f"`headscope patterns {name}` learns from all images and lays out by UMAP, too."
    changed = found.patterns is not learned.patterns
    if learned.saved and not changed:
        st.caption(f"Saved in {name}. {command}")
        return None
    if not os.access(study.path, os.W_OK):
        st.caption(f"{name} cannot be written, so the patterns are not kept. {command}")
        return None
    if not _learned_from(found, study):
        return None
    key = (learned.key, st.session_state.get("patterns_how"))
    st.button(
        "Save in the study" if not learned.saved else "Save these groups instead",
        key="patterns_save_button",
        icon=":material/save:",
        type="tertiary",
        help="In the place of patterns that it has",
        on_click=lambda: st.session_state.update({_SAVE: key}),
    )
    if st.session_state.get(_SAVE) != key:
        st.caption(command)
        return None
    job: Job[bool] = in_depth.start(
        "patterns save", key, "Saving", lambda job: work.save(job, found.patterns, study)
    )
    if not job.wait(1):
        st.caption("Being written…")
        return job
    st.session_state.pop(_SAVE)
    in_depth.retry(job)
    try:
        _ = job.result
        st.session_state["patterns_how_kept"] = work.AS_LEARNED
        st.session_state.pop("patterns_how", None)
        st.rerun()
    except HeadscopeError as error:
        st.error(str(error))
    return None


# -- for the other parts ---------------------------------------------------------------------------


def _token(subject: Subject) -> tuple[Any, ...]:
    if subject.photograph is not None:
        return subject.name, subject.photograph.digest
    return (str(subject.study.path),) if subject.study is not None else ()


def _remember(scene: Scene) -> None:
    """What the other parts of the page colour heads by, while this is what they are about."""
    of_head = scene.modal()
    if of_head is not None:
        names = scene.found.patterns.names
        st.session_state[_SHOWN] = (_token(scene.subject), names, of_head)


def kinds_there(subject: Subject) -> bool:
    """Whether patterns of the same checkpoint and images are at hand."""
    if _remembered(subject) is not None:
        return True
    if subject.study is None or subject.photograph is not None:
        return False
    from ....analysis.patterns.storage import has_patterns

    try:
        return has_patterns(subject.study)
    except OSError:
        return False


def kinds(
    subject: Subject, shape: tuple[int, ...]
) -> "tuple[why_figures.Kinds | None, Job[Any] | None]":
    """Each head by its most frequent pattern; the job where the study's have to be read first.

    `shape` is the number of layers and of the heads of the layer that has most.
    """
    remembered = _remembered(subject)
    if remembered is None:
        job = _opening(subject)
        if job is None or not job.wait(1) or job.stopped:
            return None, job
        learned: Any = job.result
        found = work.grouped(Job("", ""), learned, work.AS_LEARNED, _digest(subject))
        places = _study_places(subject, found)
        _remember(Scene(subject, learned, found, places, None, ""))
        remembered = _remembered(subject)
    if remembered is None:
        return None, None
    names, known = remembered
    of_head = np.full(shape, -1)
    part = tuple(slice(min(a, b)) for a, b in zip(shape, known.shape, strict=True))
    of_head[part] = known[part]
    return why_figures.Kinds("Pattern", names, of_head), None


def _remembered(subject: Subject) -> "tuple[list[str], np.ndarray] | None":
    kept = st.session_state.get(_SHOWN)
    return kept[1:] if kept is not None and kept[0] == _token(subject) else None
