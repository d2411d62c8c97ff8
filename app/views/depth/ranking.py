"""The first part of heads in depth: which heads are the most important, and how surely."""

import html
from typing import TYPE_CHECKING, Any

import streamlit as st

from ... import in_depth, selection
from ...figures import ranking as figures
from ...figures.template import head_words, number
from ...jobs import Job
from ...measuring import race
from ...measuring.pictures import Pictures
from ..mirror import mirroring
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.importance.ranking import Head, Ranking

LEVEL = 0.05
"""Below which two heads are called different."""
_RACE = "depth_race"


def show(subject: Subject) -> "Job[race.Standing] | None":
    """The ranking of the study, or of a race; the job that is under way."""
    from .... import HeadscopeError

    try:
        if subject.photograph is None:  # there is no choice of images
            pictures = shared.on_what(subject)
            columns = st.columns([4, 3])
        else:
            first, *columns = st.columns([3, 4, 3])
            with first:
                pictures = shared.on_what(subject)
        if pictures is not None and pictures.n > 1 and subject.photograph is not None:
            return _of_race(subject, pictures)
        _of_study(subject, *columns)
    except HeadscopeError as error:
        st.error(str(error))
    return None


# -- of a study ------------------------------------------------------------------------------------


def _of_study(subject: Subject, for_metric: Any, for_head: Any) -> None:
    from ....analysis.importance.ranking import ranking
    from ....analysis.importance.tables import ranking_rows

    study = subject.study
    if study is None or study.n_done == 0:
        st.caption("There is nothing to rank yet.")
        return
    with for_metric:
        variable = shared.metric_of(study)
    if variable is None:
        return
    scores = variable.transpose("image", "layer", "head").values.astype(float)
    scores = scores[study.data["done"].values.astype(bool)]
    flags, about = _disagree(study, str(variable.name))
    found = ranking(
        scores, label=shared.label(variable), units=str(variable.attrs["units"]), flagged=flags
    )
    if not found.heads:
        st.caption("No head has a score by this metric on these images.")
        return
    with for_head:
        chosen = _chosen(found)
    n = len(scores)
    sentences = [
        f"Mean over {n:,} image{'s' * (n != 1)}; a dot a head.",
        f"Bars: {found.interval}." if found.interval else "",
        f"No bars: {found.reason}" if found.reason and not found.interval else found.reason,
        about,
    ]
    said = " ".join(filter(None, sentences))
    _chart(found, chosen, f"{found.label}. {said} {study.model}, n = {n:,}.")
    st.caption(said)
    _compare(found, scores, chosen)
    shared.offer(ranking_rows(found), f"ranking {subject.name}")


def _chart(found: "Ranking", chosen: "Head | None", caption: str) -> None:
    from ....analysis.importance.tables import ranking_rows

    n = len(found.heads)
    if n > figures.MOST:
        st.caption(f"The {figures.MOST} most important of {n} heads; the table has all.")
    first = head_words(found.heads[0]).lower()
    words = f"{found.label}: {n} heads in order of importance; the first is {first}."
    shared.draw(
        figures.chart(found, chosen=chosen, dark=shared.is_dark()),
        words,
        "ranking",
        rows=ranking_rows(found),
        caption=caption,
    )


def _disagree(study: Any, metric: str) -> tuple[Any, str]:
    """Heads about which zero and mean ablation disagree, and a sentence on them."""
    from ....analysis.importance.disagreement import disagreement

    there = study.data["ablation"].values.tolist() if "ablation" in study.data else []
    if not {"zero", "mean"} <= set(there):
        return None, ""
    if study.n_done < 2:
        return None, "Whether zero and mean ablation disagree is seen on two images or more."
    found = disagreement(study, metric=metric)
    n = int(found.flagged.sum())
    if not n:
        return found.flagged, "Zero and mean ablation disagree about no head."
    heads = "1 head" if n == 1 else f"{n} heads"
    return found.flagged, (
        f"Diamonds: zero and mean ablation disagree about {heads} (another sign, or a rank that "
        f"moves by more than {found.moved:.0%} of all heads, at {found.level:.0%}): what zeroing "
        "says of them may come from a state that the model never sees."
    )


def _chosen(found: "Ranking") -> "Head | None":
    """The head of the linked plots, or the first; the select box chooses it for both."""
    now = selection.current()
    at = (now.layer, now.head)
    chosen = at if at in found.heads else found.heads[0]
    st.selectbox(
        "Head to compare",
        found.heads,
        format_func=lambda head: f"{head_words(head)} (rank {found.heads.index(head) + 1})",
        **mirroring("depth_chosen", chosen, _choose),
    )
    return chosen  # pyright: ignore[reportReturnType]


def _choose(chosen: "Head") -> None:
    layer, head = chosen
    shared.change_everywhere(layer=layer, head=head)


def _compare(found: "Ranking", scores: Any, chosen: "Head | None") -> None:
    """Is the chosen head different from its neighbours in rank?"""
    from ....analysis.importance.intervals import compare_heads

    near = [] if chosen is None else found.neighbours(chosen)
    if chosen is None or not near or len(scores) < 2:  # the caption has said why
        return
    result = compare_heads(scores, [(chosen, other) for other in near])
    name = head_words(chosen).lower()
    st.html(f'<h3 class="hs-depth">Is {name} different from its neighbours in rank?</h3>')
    if result.reason:
        st.caption(result.reason)
        return
    rows = []
    for other, difference, p in zip(near, result.difference, result.adjusted, strict=True):
        verdict = "different" if p < LEVEL else "not told apart"
        rows.append(
            f"<tr><td>{head_words(other)}</td><td>{(found.rank(other) or 0) + 1}</td>"
            f"<td>{number(float(difference))}</td><td>{float(p):.3g}</td><td>{verdict}</td></tr>"
        )
    units = html.escape(found.units)
    st.html(
        '<table class="hs-compare"><thead><tr><th>Neighbour</th><th>Rank</th>'
        f"<th>Difference, {units}</th><th>p, corrected</th><th>At 5 %</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
    st.caption(
        f"Paired sign-flip test on {int(result.n_images.max()):,} images; p by Holm for "
        f"{len(near)} comparisons. Difference: {name} minus its neighbour. The neighbours were "
        "found on the same images, which makes p slightly too small."
    )


# -- of a race -------------------------------------------------------------------------------------


def _of_race(subject: Subject, pictures: Pictures) -> Any:
    """The race over many pictures: its start, its course, and what it found."""
    checkpoint = subject.checkpoint
    if checkpoint is None:
        return None
    here = (checkpoint.digest, pictures.key)
    kept, job = st.session_state.get(_RACE, (None, None))
    if kept != here:
        in_depth.stop("race")
        job = None
    if job is not None and not job.running and not job.stopped:
        standing = job.result  # raises what went wrong
    else:
        standing = None if job is None else job.so_far
    go_on = None
    if job is None:
        k = min(race.TOP, max(1, sum(checkpoint.n_heads) // 2))
        st.caption(
            "Every head is left out in turn, on one batch of images after the other, those first "
            f"of which the model is least sure. It ends as soon as the {k} most important heads "
            f"are known at 95 %, or all {pictures.n:,} {pictures.words} are measured."
        )
        go_on = f"Measure over the {pictures.words}"
    elif job.running:
        shared.waits(job, lambda: in_depth.stop("race"))
    elif job.stopped:
        go_on = "Go on"
    if job is not None and standing is not None:
        _standing(standing, pictures, checkpoint.name, ended=not job.running)
    if go_on and st.button(go_on, key="depth_race_start", type="primary"):
        contest = (standing and standing.contest) or race.Contest(checkpoint, pictures)
        key = (checkpoint.identity, pictures.key)
        job = in_depth.start("race", key, "Measuring heads", contest.run)
        st.session_state[_RACE] = (here, job)
    return job


def _standing(standing: race.Standing, pictures: Pictures, name: str, *, ended: bool) -> None:
    from ....analysis.importance.tables import ranking_rows

    found = standing.ranking
    if ended:
        st.markdown(f"**{sentence(standing, pictures)}**")
    said = (
        f"Mean over the images that each head was measured on; a decided head is measured no more, "
        "and one that was measured on all has no bar. "
        f"Bars: {found.interval}. Decisions rest on pairs of heads, so bars may overlap."
        if not found.reason
        else found.reason
    )
    n = standing.result.n_images
    _chart(found, _at(found), f"{found.label}. {said} {name}, n = {n:,} {pictures.words}.")
    st.caption(said)
    if ended:
        shared.offer(ranking_rows(found), f"race {name}")


def _at(found: "Ranking") -> "Head | None":
    now = selection.current()
    at = (now.layer, now.head)
    return at if at in found.heads else None  # pyright: ignore[reportReturnType]


def sentence(standing: race.Standing, pictures: Pictures) -> str:
    """What a race found, in one sentence."""
    result, k = standing.result, standing.k
    seen = f"{result.n_images:,} of {result.n_images_in_all:,} {pictures.words}"
    if not result.decided:
        return (
            f"Stopped after {seen}: {len(result.top)} of the {k} most important heads are known "
            "at 95 %."
        )
    if result.n_images == result.n_images_in_all:
        return (
            f"All {result.n_images:,} {pictures.words} were measured: the {k} most important heads "
            "on them are known."
        )
    return (
        f"The {k} most important heads are known at 95 % after {seen}, with "
        f"{result.share_of_ablations:.0%} of the ablations that all of them would take."
    )
