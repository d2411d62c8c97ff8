"""How good the patterns are: silhouettes, training, seeds; and the way to keep them."""

import os
from typing import Any

import streamlit as st

from ... import in_depth
from ...figures import pattern_quality as figures
from ...figures.template import number
from ...jobs import Job
from ...measuring import patterns as work
from . import subject as shared
from .pattern_scene import Scene, learned_from
from .subject import Subject

_SAVE = "patterns_save"
_WHY = {
    "patience": "its error on images set aside for that no longer fell",
    "epochs": "it had seen all epochs",
    "time": "its time was over, so another machine may find something else",
}

# -- how good it is --------------------------------------------------------------------------------


def show(scene: Scene) -> "Job[Any] | None":
    """Silhouettes, training, and agreement over seeds; the job that measures the last."""
    left, right = st.columns(2, gap="medium")
    with left:
        _silhouettes(scene)
    with right:
        _training(scene)
    return _stability(scene)


def _silhouettes(scene: Scene) -> None:
    st.html('<h3 class="hs-depth">How many patterns</h3>')
    clustering = scene.found.patterns.clustering
    chosen = "HDBSCAN" if clustering.method == "hdbscan" else "shown"
    shared.draw(
        figures.silhouette_chart(
            scene.found.choices.tolist(),
            scene.found.silhouettes.tolist(),
            (clustering.n, clustering.silhouette),
            chosen_words=chosen,
            dark=shared.is_dark(),
        ),
        f"Silhouette by number of patterns; {clustering.n} are shown.",
        "patterns_silhouettes",
    )
    rule = (
        "The number was given."
        if clustering.method == "kmeans" and not len(clustering.choices)
        else "HDBSCAN found the number, and its silhouette is of the maps in a group alone."
        if clustering.method == "hdbscan"
        else "Chosen: the fewest whose silhouette is within 0.01 of the best."
    )
    unknown = "" if len(scene.found.choices) else " Choose by the silhouette to see other numbers."
    st.caption(
        f"Mean silhouette {number(clustering.silhouette)} with {clustering.n} patterns (−1 to 1; "
        f"higher: groups are farther apart than wide; of at most 2,000 maps). {rule}{unknown}"
    )


def _training(scene: Scene) -> None:
    st.html('<h3 class="hs-depth">How well the maps are learned</h3>')
    training = scene.found.patterns.training
    shared.draw(
        figures.training_chart(
            training.fitted_error.tolist(),
            training.watched_error.tolist(),
            (training.held_out_error, training.pca_error),
            dark=shared.is_dark(),
        ),
        f"Error by epoch; {number(training.held_out_error)} at the end on held-out images.",
        "patterns_training",
    )
    n = len(training.held_out)
    st.caption(
        f"{training.n_latent} numbers a map keep {training.explained:.0%} of the variance of "
        f"{n} held-out image{'s' * (n != 1)} (PCA with as many: "
        f"{training.explained_by_pca:.0%}); squared error {number(training.held_out_error)} "
        f"against {number(training.pca_error)}. Training stopped after "
        f"{len(training.fitted_error)} epochs and {training.seconds:.0f} s: "
        f"{_WHY.get(training.stopped_by, training.stopped_by)}."
    )


def _stability(scene: Scene) -> "Job[Any] | None":
    """Agreement over seeds: what was saved, or on demand."""
    from .... import HeadscopeError

    patterns = scene.found.patterns
    st.html('<h3 class="hs-depth">Would another seed find them, too?</h3>')
    if patterns.stability is not None:
        _agreement(patterns.stability)
        return None
    key = (scene.learned.key, st.session_state.get("patterns_how"))
    if st.session_state.get("patterns_seeds") != key:
        seconds = work.stability_seconds(patterns)
        st.caption(
            "Learns and groups the maps again with five seeds and tells how far the groups agree: "
            f"about {seconds:.0f} s, by what one training took."
        )
        st.button(
            "Try five seeds",
            key="patterns_try",
            on_click=lambda: st.session_state.update(patterns_seeds=key),
        )
        return None
    job = in_depth.start(
        "patterns seeds", key, "Stability", lambda job: work.stability(job, scene.found)
    )

    def cancel() -> None:
        st.session_state.pop("patterns_seeds", None)
        in_depth.stop("patterns seeds")

    if not job.wait(0.2):
        shared.waits(job, cancel, "patterns_cancel_seeds")
        return job
    try:
        if job.result is not None:
            _agreement(job.result)
    except HeadscopeError as error:
        st.error(str(error))
    return job


def _agreement(stability: Any) -> None:
    numbers = ", ".join(str(int(n)) for n in stability.n_clusters)
    anew = (
        "Another division of the images, another autoencoder and other starts each time"
        if stability.what == "all"
        else "In one latent space: the grouping alone was done anew"
    )
    st.markdown(
        f"Adjusted Rand index over {len(stability.seeds)} seeds: **{stability.mean:.2f}** in the "
        f"mean of all pairs, at least {stability.least:.2f} (1: the same groups, 0: chance)."
    )
    st.caption(f"Numbers of patterns that the seeds found: {numbers}. {anew}.")


# -- keeping ---------------------------------------------------------------------------------------


def save(subject: Subject, learned: work.Learned, found: work.Grouped) -> "Job[bool] | None":
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
    if study.is_one_file or not os.access(study.path, os.W_OK):
        st.caption(f"{name} cannot be written, so the patterns are not kept. {command}")
        return None
    if not learned_from(found, study):
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
