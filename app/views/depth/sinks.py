"""Sinks: which tokens take attention whatever the query, and what happens without them."""

import html
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth, selection
from ...figures import sink_maps
from ...figures import sinks as figures
from ...figures.template import head_words, written
from ...jobs import Job
from ...measuring import sinks as measuring
from ...measuring.pictures import Pictures
from . import asking, without_sinks
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.sinks.image import LayerSinks
    from ....analysis.sinks.report import SinkReport

Head = tuple[int, int]
_MOST_ROWS = 10
_LIMITS = {
    "lift": "How many times its fair share a sink gets",
    "followers": "Queries that give it more than that",
    "value": "A small value (no-op)",
    "rank": "Output along one direction (broadcast)",
    "massive": "A massive activation, times the median",
    "tau": "φ of a token that its hidden state marks",
    "image_share": "Attention to patches of an image-centric head",
    "non_sink_share": "Of it, to patches that are no sinks",
}


def show(subject: Subject) -> "Job[Any] | None":
    """Sinks in the picture, over heads, in hidden states, and what is left without them."""
    checkpoint, crop = subject.checkpoint, subject.crop
    if checkpoint is None or crop is None:
        st.caption(
            "The checkpoint is not there (yet), so its sinks cannot be looked for. What a study "
            "keeps of them is among its numbers, under Why and Strength."
        )
        return None
    chosen = chosen_head(subject)
    here = in_depth.start(
        "sinks in the picture",
        (checkpoint.identity, sha256(crop.tobytes()).hexdigest()),
        "Sinks in the picture",
        lambda job: measuring.in_picture(job, checkpoint, crop),
    )
    here.wait(0.2)
    pictures = shared.on_what(subject)
    looking = None if pictures is None or pictures.n == 0 else _look(subject, pictures)
    in_picture: tuple[LayerSinks, ...] | None = asking.result(here)
    found: measuring.Sinks | None = asking.result(looking)
    if in_picture is None:
        if here.running:
            shared.unfinished()
            st.progress(here.done_share, text="Reading the picture's attention…")
    else:
        _picture(subject, in_picture[chosen[0]], chosen, found, pictures)
    removing: list[Job[Any] | None] = []
    if found is not None and pictures is not None:
        _heads(found.report, chosen, subject.name)
        _hidden(found, subject.name)
    elif pictures is None or pictures.n == 0:
        st.caption("There is no image that is done, so there is nothing over images yet.")
    ended = looking is None or not looking.running  # the choice of heads hangs on what it found
    if in_picture is not None and pictures is not None and pictures.n and ended:
        report = None if found is None else found.report
        removing = without_sinks.show(subject, pictures, in_picture, report, chosen)
    jobs = (here, looking, *removing)
    return next((job for job in jobs if job is not None and job.running), None)


def chosen_head(subject: Subject) -> Head:
    """The head of the page; before its study is there and anyone chose, the first."""
    now = selection.current()
    if now.layer is not None and now.head is not None:
        return now.layer, now.head
    return (0, 0) if subject.study is None else shared.chosen_head(subject.study)


def _look(subject: Subject, pictures: Pictures) -> "Job[measuring.Sinks] | None":
    checkpoint: Any = subject.checkpoint
    n = measuring.images_for(checkpoint, pictures)
    return asking.asked(
        "sinks",
        (checkpoint.identity, pictures.key, n),
        "Looking for sinks",
        lambda job: measuring.report(job, checkpoint, pictures),
        "Look for sinks in all heads",
    )


# -- the chosen head -------------------------------------------------------------------------------


def _picture(
    subject: Subject,
    sinks: "LayerSinks",
    chosen: Head,
    found: measuring.Sinks | None,
    pictures: Pictures | None,
) -> None:
    head, name = chosen[1], head_words(chosen)
    st.html(f'<h3 class="hs-depth">{name}: what each token gets from all queries</h3>')
    left, middle, right = st.columns([4, 5, 4], gap="medium")
    shown = sink_maps.panel(sinks, head)
    with left:
        if shown.on_grid:
            words = f"Attention that each patch gets in {name.lower()}, over the picture."
            without_sinks.draw_maps(subject.crop, [shown], words, "sinks_picture")
        else:
            st.caption(
                "The keys of this head are not patches on a grid, so they are not drawn over the "
                "picture; the bars name them."
            )
    with middle:
        shared.draw(
            sink_maps.keys_chart(sinks, head, dark=shared.is_dark()),
            f"Attention that the strongest tokens get in {name.lower()}.",
            "sinks_keys",
        )
    with right:
        st.markdown(here_words(sinks, head))
        if found is not None and pictures is not None:
            on = without_sinks.on_images(found.report.n_images, pictures)
            st.markdown(over_words(found.report, chosen, on))
    st.caption(
        "c, the mean attention that a token gets from the queries that can reach it. Framed: "
        "sinks. Fair share: what it would get if every query gave all it reaches alike."
    )


def here_words(sinks: "LayerSinks", head: int) -> str:
    """What takes attention in one head of one picture."""
    received, lift, limit = sinks.received[head], sinks.lift[head], float(sinks.limit[head])
    labels = list(sinks.keys.labels())
    there = np.flatnonzero(sinks.is_sink[head])
    order = there[np.argsort(-received[there], kind="stable")]
    most = int(np.nanargmax(received))
    first = int(order[0]) if len(order) else most
    share = written(100 * float(received[first] / lift[first]))
    gets = (
        f"gets {written(100 * float(received[first]))} % of the attention, "
        f"{written(float(lift[first]))} times its fair share ({share} %)"
    )
    if not len(order):
        but = (
            "above the limit, but fewer than half of the queries (or fewer than four) give it more "
            "than its share"
            if lift[most] > limit
            else f"a sink gets more than {written(limit)} times"
        )
        return f"**No sink in this picture.** The most, {labels[most]}, {gets}: {but}."
    others = [f"{labels[key]} ({written(100 * float(received[key]))} %)" for key in order[1:5]]
    more = f" Other sinks: {', '.join(others)}" if others else ""
    left_out = len(order) - 1 - len(others)
    more += f" and {left_out} more." if left_out > 0 else "." if others else ""
    return (
        f"**In this picture {labels[first]} is the sink.** It {gets}; the limit here is "
        f"{written(limit)} times.{more}"
    )


def over_words(report: "SinkReport", chosen: Head, on: str) -> str:
    """What the head's sink is over images, and what it does; `on` names the images."""
    from ....analysis.sinks.mechanism import MECHANISMS

    n = report.n_images
    sink = next((sink for sink in report.heads if (sink.layer, sink.head) == chosen), None)
    share = float(report.data["sink_share"].values[chosen])
    if sink is None:
        if n == 1:
            return "What a sink does is told of heads that have one."
        if not share:
            return f"Over {on}: no sink in any of them."
        return f"Over {on}: a sink in {written(100 * share)} %, which is less than half."
    mechanism = f"**{sink.mechanism.capitalize()}.** {MECHANISMS[sink.mechanism]}"
    if n == 1:
        return f"{mechanism} Whether it moves with the image is seen on two or more."
    where = (
        f"**It stays:** {sink.token.label} in {written(100 * sink.constancy)} % of images"
        if sink.is_fixed
        else f"**It moves with the image:** no token has it in more than "
        f"{written(100 * sink.constancy)} %"
    )
    longest = (
        f" In {written(100 * sink.longest)} % of images it is the longest token before the layer."
        if np.isfinite(sink.longest)
        else ""
    )
    return (
        f"Over {on}: a sink in {written(100 * share)} %, mean score {written(100 * sink.score)} %. "
        f"{where} (agreement of two images: cosine {written(sink.agreement)}).{longest}\n\n"
        f"{mechanism}"
    )


# -- all heads -------------------------------------------------------------------------------------


def _heads(report: "SinkReport", chosen: Head, name: str) -> None:
    heads, n = report.heads, report.n_images
    n_heads = int(report.data["n_heads"].sum())
    st.html('<h3 class="hs-depth">All heads</h3>')
    marked = selection.current().marked_heads
    chart = figures.overview_chart(report, chosen=chosen, marked=marked, dark=shared.is_dark())
    words = f"{n_heads} heads by sink score and concentration; {len(heads)} have a sink."
    shared.draw_heads(
        chart,
        words,
        "sinks_heads",
        rows=figures.head_rows(report),
        caption=f"{words} {name}, n = {_images(n)}.",
    )
    endless = int(np.isinf(figures.concentration(report)).sum())
    where = f"at least half of {n:,} images" if n > 1 else "this image"
    st.caption(
        f"**{len(heads)} of {n_heads} heads have a sink** in {where}. Score: what the token that "
        "gets most gets; concentration: that over what the median token gets. In a grey head that "
        "token is no sink: it is below the limit, or too few queries follow it. "
        + (
            f"{endless} heads are not drawn: their median token gets nothing at all. "
            if endless
            else ""
        )
        + "A click chooses the head, a box or lasso marks heads."
    )
    left, right = st.columns([5, 1], vertical_alignment="top")
    with left, st.expander("What is a sink here: the limits and where they come from"):
        _limits(report)
    with right:
        shared.offer(figures.head_rows(report), f"sinks {name}")


def _images(n: int) -> str:
    return f"{n:,} image{'s' * (n != 1)}"


def _limits(report: "SinkReport") -> None:
    lines = []
    for key, limit in report.limits.items():
        value = written(limit.value) if np.isfinite(limit.value) else "its own"
        lines.append(
            f"<tr><td>{html.escape(_LIMITS.get(key, key))}</td><td>{value}</td>"
            f"<td>{html.escape(limit.source.replace('`', ''))}</td></tr>"
        )
    st.html(
        '<table class="hs-compare"><thead><tr><th>Limit</th><th>Value</th><th>Source</th></tr>'
        f"</thead><tbody>{''.join(lines)}</tbody></table>"
    )


# -- hidden states ---------------------------------------------------------------------------------


def _hidden(found: measuring.Sinks, name: str) -> None:
    report = found.report
    st.html('<h3 class="hs-depth">Hidden states: long tokens and massive activations</h3>')
    if "token_norm" not in report.data:
        st.caption("No layer of this model gives tokens that its hidden state could be read of.")
        return
    about = f"{name}, mean over n = {_images(report.n_images)}."
    left, right = st.columns(2, gap="medium")
    with left:
        chart = figures.norms_chart(report, found.rows, dark=shared.is_dark())
        words = "The longest and the median token after each layer."
        shared.draw(chart, words, "sinks_norms", caption=f"{words} {about}")
    with right:
        chart = figures.activations_chart(report, dark=shared.is_dark())
        words = "The largest activation after each layer."
        shared.draw(chart, words, "sinks_activations", caption=f"{words} {about}")
    st.caption(
        f"Mean over {_images(report.n_images)}; on a logarithmic scale where they differ much."
    )
    if not report.massive:
        st.caption(_no_massive(report))
        return
    rows = figures.massive_rows(report)
    st.html(_massive_table(rows[:_MOST_ROWS]))
    st.caption(_massive_words(found, len(rows)))
    shared.offer(rows, f"massive activations {name}")


def _no_massive(report: "SinkReport") -> str:
    """Against which limit there is none."""
    ratio = report.data["largest_ratio"].values
    if not np.isfinite(ratio).any():
        return "No massive activation was found."
    image, layer = np.unravel_index(int(np.nanargmax(ratio)), ratio.shape)
    limit = float(report.data["massive_limit"].values[image, layer])
    return (
        "**No massive activation was found.** The largest is "
        f"{written(float(ratio[image, layer]))} times the median magnitude of its hidden state "
        f"(after layer {layer}); the limit there is {written(limit)} times: "
        f"{report.limits['massive'].source.partition(': ')[2]}."
    )


def _massive_table(rows: list[dict[str, Any]]) -> str:
    body = "".join(
        f"<tr><td>{row['layer']}</td><td>{html.escape(row['token'])}</td>"
        f"<td>{row['dimension']}</td><td>{written(row['value'])}</td>"
        f"<td>{written(row['times_the_median'])}</td><td>{written(row['limit'])}</td>"
        f"<td>{written(100 * row['images'])} %</td>"
        f"<td>{written(100 * row['images_by_sun_et_al'])} %</td></tr>"
        for row in rows
    )
    names = (
        "After layer",
        "Token",
        "Dimension",
        "Value",
        "Times the median",
        "Limit",
        "Images",
        "By Sun et al.",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<table class="hs-compare"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _massive_words(found: measuring.Sinks, n: int) -> str:
    report = found.report
    sentences = [f"The first {_MOST_ROWS} of {n}; the table as CSV has all." * (n > _MOST_ROWS)]
    sentences.append("Value, ratio and limit: mean over the images that have it.")
    for width, dimensions in report.sink_dimensions.items():
        sentences.append(
            f"Sink dimensions, of {width}: {', '.join(map(str, dimensions))} (massive in at least "
            "half of the images)."
        )
    tokens = {sink.token.label for sink in report.sink_tokens if sink.image_share >= 0.5}
    if tokens:
        named = sorted(tokens)[:8]
        more = f" and {len(tokens) - len(named)} more" if len(tokens) > len(named) else ""
        sentences.append(
            f"Tokens that they mark in at least half of the images: {', '.join(named)}{more}."
        )
    return " ".join(filter(None, sentences))
