"""Patterns as a plane: a dot for each head's map in each image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from ... import in_depth, selection
from ...figures import patterns as figures
from ...figures import why as why_figures
from ...figures.template import number
from ...jobs import Job
from ...measuring import patterns as work
from . import printing
from . import subject as shared
from .pattern_scene import Scene
from .subject import Subject

_PATTERN, _LAYER, _LABEL, _PREDICTION = "pattern", "layer", "label", "prediction"
_MOST_CLASSES = len(why_figures.KINDS)


def plane(learned: work.Learned) -> "tuple[Any, Job[Any] | None]":
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


# -- the scatter -----------------------------------------------------------------------------------

Colour = Callable[[np.ndarray], figures.Amount | figures.Sort]
"""From the drawn maps, by place among those of this checkpoint."""


def choose_colour(scene: Scene) -> Colour:
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


def show(scene: Scene, plane: Any, job: "Job[Any] | None", colour: Colour) -> None:
    subject, found = scene.subject, scene.found
    if job is not None and job.running:
        shared.waits(job, _back_to_pca, "patterns_cancel_plane")
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
    printing.menu(
        chart, words, "patterns_dots", caption=f"{words} {subject.name}, n = {found.n_images}."
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


def _back_to_pca() -> None:
    st.session_state["patterns_plane"] = "PCA"
    in_depth.stop("patterns plane")


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
