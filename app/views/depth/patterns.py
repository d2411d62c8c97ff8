"""Patterns: what the maps of all heads look like, learned by an autoencoder and grouped."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth
from ...figures import patterns as figures
from ...jobs import Job
from ...measuring import patterns as work
from ...measuring import pictures as sizes
from . import pattern_cards as cards
from . import pattern_dots as dots
from . import pattern_kinds
from . import pattern_quality as quality
from . import pattern_source as source
from . import subject as shared
from .pattern_scene import Scene, digest_of, image_names, image_of, learned_from, study_places
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.patterns import PatternMaps, Projected

_CHOICES = range(2, 13)


def show(subject: Subject) -> "Job[Any] | None":
    """The patterns of the study or, on one picture, of what the checkpoint can be measured on."""
    from .... import HeadscopeError

    job = None
    try:
        job = source.learned(subject)
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


# -- what is shown ---------------------------------------------------------------------------------


def _view(subject: Subject, learned: work.Learned) -> "Job[Any] | None":
    from .... import HeadscopeError

    first, second, third = st.columns([3, 3, 3], vertical_alignment="bottom")
    with first:
        how = _grouping(learned)
    job: Job[work.Grouped] = in_depth.start(
        "patterns groups",
        (learned.key, how, digest_of(subject)),
        "Patterns",
        lambda job: work.grouped(job, learned, how, digest_of(subject)),
    )
    if not job.wait(1):
        shared.waits(job, lambda: _back_to_first(learned))
        return job
    try:
        found: Any = job.result
    except HeadscopeError as error:
        st.error(str(error))
        return job
    if found is None:  # another session stopped it
        in_depth.retry(job)
        return None
    placing, own, own_words = _own(subject, learned, found)
    with second:
        layout, plane = dots.plane(learned)
    scene = Scene(subject, learned, found, study_places(subject, found), own, own_words)
    pattern_kinds.remember(scene)
    pattern_kinds.show_everywhere(scene)
    st.caption(_sentence(scene))
    left, right = st.columns([3, 2], gap="medium")
    with third:
        colour = dots.choose_colour(scene)
    with left:
        dots.show(scene, layout, plane, colour)
    with right:
        cards.head(scene)
    cards.show(scene)
    checking = quality.show(scene)
    with st.container(horizontal=True, vertical_alignment="center"):
        shared.offer(
            figures.head_rows(found.heads, found.patterns.names, found.n_images),
            f"patterns {subject.name}",
        )
        saving = quality.save(subject, learned, found)
    jobs = (plane, placing, checking, saving)
    return next((each for each in jobs if each is not None and each.running), job)


def _back_to_first(learned: work.Learned) -> None:
    """Groups that are there already."""
    first = work.AS_LEARNED if learned.saved else work.AUTO
    st.session_state["patterns_how"] = st.session_state["patterns_how_kept"] = first
    in_depth.stop("patterns groups")


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


def _own(
    subject: Subject, learned: work.Learned, found: work.Grouped
) -> "tuple[Job[PatternMaps] | None, Projected | None, str]":
    """The maps of the picture that is shown, where the patterns were learned without it."""
    checkpoint = subject.checkpoint
    if checkpoint is None or subject.crop is None:
        return None, None, ""
    study, name = subject.study, image_of(subject)
    digest = sha256(subject.crop.tobytes()).hexdigest()
    words = "this picture" if subject.photograph is not None else "this image"
    images = work.Images(work.one_crop(subject.crop, digest, words), [name])
    if study is not None and subject.photograph is None and not learned_from(found, study):
        words = "images of the study"
        names = study.data["image"].values[np.flatnonzero(study.data["done"].values)]
        images = work.Images(sizes.of_study(study), [str(each) for each in names])
    elif name in image_names(found) and subject.photograph is None:
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
