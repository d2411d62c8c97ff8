"""Heads removed together: curves, and the synergy of pairs."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import streamlit as st

from ... import in_depth
from ...figures import removal as removal_figures
from ...figures import synergy as synergy_figures
from ...figures.template import head_words, number
from ...jobs import Job
from ...measuring import pictures as sizes
from ...measuring import together
from ...measuring.pictures import Pictures
from . import subject as shared
from .subject import Subject


def curves(subject: Subject) -> "Job[Any] | None":
    """What is left of the model as more and more heads go."""
    return _part("curves", subject, _draw_curves)


def synergy(subject: Subject) -> "Job[Any] | None":
    """Which pairs of heads matter more, or less, than the two apart."""
    return _part("synergy", subject, _draw_synergy)


Draw = Callable[[Subject, Pictures, together.Measured], None]


def _part(part: str, subject: Subject, draw: Draw) -> "Job[Any] | None":
    """Ask, wait and draw; the job that is under way."""
    from .... import HeadscopeError

    checkpoint = subject.checkpoint
    if checkpoint is None:
        st.caption(
            "The checkpoint is not there, so no head can be removed from it; the numbers of the "
            "ranking are the study's own."
            if subject.study is not None
            else "There is no checkpoint yet."
        )
        return None
    job = None
    try:
        left, right = st.columns(2)
        with left:
            pictures = shared.on_what(subject)
            variable = None
            if pictures is not None and subject.photograph is None and subject.study is not None:
                variable = shared.metric_of(subject.study)
        with right:
            value = _value(checkpoint)
        if pictures is None or pictures.n == 0:
            st.caption("There is no image that is done.")
            return None
        asked = _asked(subject, pictures, variable, value)
        job = _job(part, subject, asked)
        if job is not None and not job.running and not job.stopped:
            measured: Any = job.result  # raises what went wrong
            draw(subject, pictures, measured)
    except HeadscopeError as error:
        st.error(str(error))
        if job is not None and st.button("Try again", key=f"depth_again {part}"):
            in_depth.retry(job)
            st.rerun()
    return job


def _value(checkpoint: Any) -> str:
    from ....analysis.importance.values import values

    found = values(checkpoint)
    if st.session_state.get("depth_value") not in found:
        st.session_state["depth_value"] = next(iter(found))
    return st.selectbox(
        "Read of the output",
        list(found),
        key="depth_value",
        format_func=lambda name: f"{found[name].long_name} ({found[name].units})",
        help="The number whose change is the effect of removing heads",
    )


def _asked(subject: Subject, pictures: Pictures, variable: Any, value: str) -> together.Together:
    scores, metric, target = None, "", None
    if variable is not None and subject.study is not None:
        scores = variable.transpose("image", "layer", "head").values.astype(float)
        metric = str(variable.attrs.get("long_name", variable.name))
        target = subject.study.settings.get("target")
    elif pictures.n == 1:
        target = subject.target
    return together.Together(pictures, value, scores, metric, target)


def _job(part: str, subject: Subject, asked: together.Together) -> "Job[Any] | None":
    """The job, where it is quick or was asked for; else the button that asks."""
    checkpoint = subject.checkpoint
    if checkpoint is None:
        return None
    name = f"depth_asked {part}"
    here = (
        checkpoint.digest,
        asked.pictures.key,
        asked.value,
        asked.metric,
        asked.target,
    )
    kept, wanted = st.session_state.get(name, (None, None))
    if kept != here:
        wanted = None

    def want(yes: bool) -> None:  # noqa: FBT001
        st.session_state[name] = (here, yes)
        if not yes:
            in_depth.stop(part)

    if wanted is None and sizes.is_quick(checkpoint):
        wanted = True
    if not wanted:
        in_depth.stop(part)
        n = sizes.images_for(checkpoint, asked.pictures)
        st.caption(
            f"This removes heads together again and again, on {n:,} image{'s' * (n != 1)}: "
            + ("seconds." if sizes.is_quick(checkpoint) else "minutes for this checkpoint.")
        )
        st.button(
            "Compute", key=f"depth_compute {part}", type="primary", on_click=want, args=(True,)
        )
        return None
    job = in_depth.start(part, _key(checkpoint, asked), *_work(part, checkpoint, asked))
    if job.wait(0.2):
        return job
    shared.waits(job, lambda: want(yes=False))
    return job


def _key(checkpoint: Any, asked: together.Together) -> tuple[Any, ...]:
    scores = None if asked.scores is None else sha256(asked.scores.tobytes()).hexdigest()
    here = (checkpoint.identity, asked.pictures.key, asked.value, asked.target)
    return (*here, scores, asked.metric)


def _work(part: str, checkpoint: Any, asked: together.Together) -> tuple[str, Any]:
    if part == "curves":
        title, work = "Removing heads together", together.removal_curves
    else:
        title, work = "Removing heads in pairs", together.synergy
    return title, lambda job: work(job, checkpoint, asked)


def _images(pictures: Pictures, n: int) -> str:
    """On which images, in words; with the cap where there are more."""
    if pictures.n == 1:
        return "on this picture alone" if pictures.words == "this picture" else "on one image"
    if n < pictures.n:
        return f"on {n} of the {pictures.n:,} {pictures.words} (at most {n} are taken)"
    return f"on all {n} {pictures.words}"


def _draw_curves(subject: Subject, pictures: Pictures, measured: together.Measured) -> None:
    from ....analysis.importance.tables import curve_rows

    found = measured.found
    first, last = found.curves[0], found.curves[1]
    words = (
        f"{found.value.long_name} against the number of heads removed; area "
        f"{first.area:.3g} with the most important first, {last.area:.3g} with the least important."
    )
    n_orders = 0 if found.band is None else len(found.band.curves)
    said = (
        f"{found.value.long_name}, mean {_images(pictures, measured.n_images)}, by zero ablation. "
        f"The band reaches from the lowest to the highest of {n_orders} random orders: an order "
        "inside it says no more about importance than a die. Greedy removes at each step the head "
        f"that costs least after those before it; it stops after {measured.n_greedy} heads. "
        f"Order: {measured.metric[0].lower()}{measured.metric[1:]}, measured on the same images "
        "or on images of the same study, which flatters the order a little."
    )
    shared.draw(
        removal_figures.chart(found, dark=shared.is_dark()),
        words,
        "removal",
        rows=curve_rows(found),
        caption=f"{said} {subject.name}, n = {measured.n_images}.",
    )
    st.caption(said)
    st.caption(
        f"Area under the curve (mean height): {number(first.area)} most important first, "
        f"{number(last.area)} least important first, {_areas(found)} random."
    )
    shared.offer(curve_rows(found), f"removal {subject.name}")


def _areas(found: Any) -> str:
    if found.band is None:
        return "–"
    return f"{number(float(found.band.areas.min()))} to {number(float(found.band.areas.max()))}"


def _draw_synergy(subject: Subject, pictures: Pictures, measured: together.Measured) -> None:
    from ....analysis.importance.tables import synergy_rows

    found = measured.found
    rows = synergy_rows(found)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        words = f"Synergy of every pair of {len(found.heads)} heads, {found.value.units}."
        on = f"{subject.name}, n = {measured.n_images}, zero ablation."
        shared.draw(
            synergy_figures.chart(found, dark=shared.is_dark()),
            words,
            "synergy",
            rows=rows or None,
            caption=f"{words} Effect of both without the effects of each; positive: backups. {on}",
        )
    with right:
        st.markdown(
            "**Positive (orange): backups.** Together the two matter more than apart, as either "
            "can stand in for the other. **Negative (purple): they overlap**; what one takes away, "
            "the other cannot take away again. **Near 0: they add up.**"
        )
        if rows:
            st.markdown(_strongest(rows, found.value.units))
        st.caption(
            f"Synergy = effect of both − effects of each, in {found.value.long_name.lower()} "
            f"({found.value.units}), mean {_images(pictures, measured.n_images)}, by zero "
            f"ablation. The {len(found.heads)} heads are those at the top by "
            f"{measured.metric[0].lower()}{measured.metric[1:]}: a pair of perfect backups is not "
            "important alone, and may not be among them. Probabilities are bounded, so strong "
            "heads overlap by themselves; the logit tells that apart."
        )
        shared.offer(rows, f"synergy {subject.name}")


def _strongest(rows: list[dict[str, Any]], units: str) -> str:
    row = rows[0]
    first, second = ((row[f"layer_{x}"], row[f"head_{x}"]) for x in "ab")
    error = row["standard_error"]
    sure = f" ± {error:.2g}" if error == error else ""
    value = f"{row['synergy']:+.3g}".replace("-", "−")
    return (
        f"Strongest: {head_words(first).lower()}, and {head_words(second).lower()}: "
        f"{value}{sure} {units}."
    )
