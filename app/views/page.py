"""The page: its parts in order, and what each of them waits for."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from .. import linked, selection, services
from ..figures import atlas, layers, maps, predictions, profile
from ..jobs import Job
from ..linked import GUIDE
from . import board, heads, net, pictures, progress, source, target
from .depth import panel
from .depth.subject import Subject

if TYPE_CHECKING:
    from ... import Checkpoint, Study

BRIEF = 0.25
"""Seconds that the script itself waits for a job, so that what is quick appears at once."""


def show() -> None:
    """The whole page."""
    linked.serve()
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    st.html(f"<style>{style}</style>")
    st.session_state.pop("went", None)
    with st.sidebar:
        _guide()
        sidebar = _Sidebar(source.choose())
        scene, feed, said = sidebar.show()
    sentences = [*selection.notes(), *said]
    with st.container(key="said"):  # always: what follows would else be made anew
        if sentences:
            st.warning("  \n".join(sentences))
    try:
        panel.heed()
        heads.show(scene, feed, sidebar.subject)
        board.bring(sidebar.subject)
        panel.show(sidebar.subject)
    finally:  # also where a part asks for another run
        sidebar.shown.set()


def _guide() -> None:
    """The page's name, the tour, and what the last session looked at."""

    def go() -> None:
        search = st.session_state["guide"].get("went")
        if isinstance(search, str):
            selection.go_to(search)

    GUIDE(key="guide", on_went_change=go)


Drawn = tuple[heads.Scene, heads.Feed | None, list[str]]
"""What the plots draw, the maps for them, and sentences for the user."""


class _Sidebar:
    """Everything beside the plots, which also decides what the plots draw."""

    def __init__(self, choice: source.Choice) -> None:
        self.choice = choice
        self.pending: list[Job[Any]] = []
        """Jobs whose result was not there when it was needed."""
        self.said: list[str] = []
        self.subject = Subject()
        """What is shown below the linked plots."""
        self.shown = threading.Event()
        """Whether this run has sent all of the page."""

    def show(self) -> Drawn:
        loading = None
        if self.choice.source is not None:
            # A study's numbers need no checkpoint, and importing torch beside them slows them.
            after = self.shown if self.choice.study is not None else None
            loading = services.checkpoint(self.choice.source, after)
        checkpoint: Checkpoint | None = self._result(loading)
        source.details(self.choice, checkpoint, loading=loading in self.pending)
        if self.choice.study is not None:
            return self._of_study(self.choice.study, checkpoint)
        return self._of_session(checkpoint)

    def _of_study(self, study: "Study", checkpoint: "Checkpoint | None") -> Drawn:
        """On a study: its images and numbers; the checkpoint serves the maps alone."""
        data = study.data
        image = pictures.of_study(study)
        waiting = "The maps are on their way." if self.pending else "There are no maps."
        if checkpoint is not None and checkpoint.digest != data.attrs["model_digest"]:
            self.said.append(
                f"{data.attrs['model']} has other weights now than when this study was made, so "
                "its maps are not shown; the numbers are the study's own."
            )
            checkpoint = None
        crop = data["pixels"][image].values
        self.subject = Subject(checkpoint, study, crop=crop, target=_study_target(data, image))
        look: services.Look | None = None
        if checkpoint is not None:
            look = self._result(services.look(checkpoint, crop))
        if "top_class" in data:
            target.show(
                data["top_class"].values[image].tolist(),
                data["top_probability"].values[image].tolist(),
                study.labels,
                target=int(data["target"].values[image]),
                fixed=True,
            )
        progress.show(self.pending, None)
        among = _chosen_images(study)
        scene = replace(
            heads.of_study(study, image, among),
            waiting="" if look else waiting,
            feed=look.digest if look else None,
            complete=look is None or maps.fits(look.maps),
        )
        n_queries = tuple(layer.queries.n_tokens for layer in study.layer_layouts)
        self._fit(scene.n_heads, n_queries, study.model)
        return scene, _feed(look), self.said

    def _of_session(self, checkpoint: "Checkpoint | None") -> Drawn:
        """On a checkpoint and one picture, measured now."""
        picture = pictures.of_session(self.choice.source.name if self.choice.source else "")
        if checkpoint is None or picture is None:
            progress.show(self.pending, None)
            waiting = "Loading…" if self.pending else "There is no checkpoint."
            scene = heads.Scene(waiting=waiting)
            return scene, None, self.said
        crop = checkpoint.crop(picture.photograph)
        look: services.Look | None = self._result(services.look(checkpoint, crop))
        measuring: Job[Study] | None = None
        quick: Study | None = None
        aim: int | None = None
        if look is not None:
            aim = self._target(checkpoint)
            if look.probabilities is not None:
                classes, shares = predictions.top(look.probabilities)
                target.show(
                    classes.tolist(),
                    shares.tolist(),
                    checkpoint.labels,
                    target=int(classes[0]) if aim is None else aim,
                    fixed=False,
                )
            # What needs no ablation comes first: it takes a forward pass, importance many.
            quick = self._result(services.attention_study(checkpoint, picture.photograph))
            if quick is not None:
                measuring = services.study(checkpoint, picture.photograph, aim)
        whole: Study | None = self._result(measuring)
        study = whole or quick
        self.subject = Subject(checkpoint, whole, picture.photograph, crop, aim)
        cancelled = quick is not None and measuring is None
        progress.show(self.pending, measuring, cancelled=cancelled)
        sides = [
            layers.LayerSides(layer.layout.queries, layer.layout.keys, layer.kind)
            for layer in checkpoint.layers
        ]
        self._fit(checkpoint.n_heads, layers.n_queries(sides), checkpoint.name)
        scene = heads.Scene(
            n_heads=checkpoint.n_heads,
            layers=layers.payload(sides),
            size=checkpoint.preprocessing.size,
            image=picture.photograph.name,
            measured=whole is not None,
            waiting="Not measured" if cancelled else "Being measured…",
            feed=look.digest if look else None,
            complete=look is None or maps.fits(look.maps),
        )
        if study is not None:
            scene = replace(
                scene,
                metrics=atlas.payload(heads.numbers_of(study), 0, scene.n_heads),
                profile=profile.payload(study.data, 0, scene.n_heads, sides),
            )
        return scene, _feed(look), self.said

    def _target(self, checkpoint: "Checkpoint") -> int | None:
        """The chosen target class, if the checkpoint has it."""
        aim = selection.current().target
        if aim is None or aim < len(checkpoint.labels):
            return aim
        sentence = (
            f"{checkpoint.name} has {len(checkpoint.labels)} classes, so there is no class {aim}; "
            "the target is the predicted class."
        )
        selection.correct([sentence], target=None)
        return None

    def _fit(self, n_heads: tuple[int, ...], n_tokens: tuple[int, ...], name: str) -> None:
        """Drop what the selection has and the checkpoint has not."""
        fitted, notes = selection.current().fit(n_heads, n_tokens, name)
        if notes:
            changes = {
                key: getattr(fitted, key) for key in ("layer", "head", "token", "marked", "off")
            }
            selection.correct(notes, **changes)

    def _result(self, job: "Job[Any] | None") -> Any:
        """A job's result if it is there soon; a sentence in place where it failed."""
        from ... import HeadscopeError

        if job is None:
            return None
        if not job.wait(BRIEF):
            self.pending.append(job)
            return None
        try:
            return job.result
        except Exception as error:
            if isinstance(error, HeadscopeError):
                st.error(str(error))
            else:
                net.LOG.error("%s failed", job.title, exc_info=error)
                net.show(net.sentence(error, job.title))
            if st.button("Try again", key=f"retry {job.title}"):
                services.retry(job)
                st.rerun()
            return None


def _chosen_images(study: "Study") -> tuple[int, ...]:
    """The images that are chosen together, of those that the study has."""
    chosen = selection.current().chosen_images
    there = tuple(index for index in chosen if index < study.n_images)
    if len(there) < len(chosen):
        sentence = f"The study has {study.n_images} images, not all of those that the link chooses."
        selection.correct([sentence], images=selection.spanning(there))
    return there


def _study_target(data: Any, image: int) -> int | None:
    """The class that a study's numbers of an image are about."""
    target = int(data["target"].values[image]) if "target" in data else -1
    return target if target >= 0 else None


def _feed(look: services.Look | None) -> heads.Feed | None:
    if look is None:
        return None
    return lambda told: services.feed(look, services.Wanted.told(told, look))
