"""Sinks switched off in some heads: the prediction, attention and a map, with and without."""

import html
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import selection
from ...figures import sink_maps
from ...figures.predictions import top
from ...figures.template import head_words, written
from ...jobs import Job
from ...measuring import pictures as sizes
from ...measuring import sinks as measuring
from ...measuring.pictures import Pictures
from . import asking
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.sinks.image import LayerSinks
    from ....analysis.sinks.report import SinkReport
    from ....models.layout import TokenLayout

Head = tuple[int, int]
_MASKED, _GIVEN = "masked", "redistributed"
_HOW = {_MASKED: "Masked", _GIVEN: "Redistributed"}
_CLASSES = 5


# -- switches --------------------------------------------------------------------------------------


def show(
    subject: Subject,
    pictures: Pictures,
    in_picture: "tuple[LayerSinks, ...]",
    report: "SinkReport | None",
    chosen: Head,
) -> "list[Job[Any] | None]":
    """The switches, and what they do; the jobs behind it."""
    checkpoint, crop = subject.checkpoint, subject.crop
    assert checkpoint is not None
    assert crop is not None
    st.html('<h3 class="hs-depth">Without sinks</h3>')
    first, second, third, fourth = st.columns([5, 4, 6, 6], vertical_alignment="bottom")
    with first:
        how = _how(second)
    with third:
        heads = _heads(report, chosen, checkpoint.n_heads)
    fitting, left_out = measuring.fitting(checkpoint, heads, how)
    if left_out:
        st.caption(left_out)
    if not fitting:
        st.caption("No head of this choice has sinks that could be removed; choose other heads.")
        return []
    if not _has_sinks(fitting, in_picture, report):
        st.caption(
            "These heads have no sink, neither in this picture nor in any image that was looked "
            "at, so nothing would change."
        )
        return []
    n = len(fitting)
    st.caption(f"Changed: {head_words(fitting[0]).lower() if n == 1 else f'{n} heads'}.")
    digest = sha256(crop.tobytes()).hexdigest()
    queries = checkpoint.layers[chosen[0]].layout.queries
    with fourth:
        query = _query(queries)
    key = (checkpoint.identity, how, fitting)
    quick = sizes.is_quick(checkpoint)
    here = asking.asked(
        "sinks removed here",
        (*key, digest, chosen, query),
        "This picture with and without sinks",
        lambda job: measuring.of_picture(job, checkpoint, crop, how, fitting, chosen, query),
        "Remove the sinks in this picture",
        at_once=quick,
    )
    n = measuring.images_for(checkpoint, pictures)
    over = asking.asked(
        "sinks removed",
        (*key, pictures.key, n),
        "Images with and without sinks",
        lambda job: measuring.over_images(job, checkpoint, pictures, how, fitting),
        f"Measure on {on_images(n, pictures)}",
        at_once=quick,
    )
    of_picture: measuring.OfPicture | None = asking.result(here)
    over_images: measuring.OverImages | None = asking.result(over)
    left, right = st.columns(2, gap="medium")
    if of_picture is not None:
        with left:
            _prediction(of_picture, checkpoint.labels)
    if over_images is not None:
        with right:
            _numbers(over_images, pictures, len(fitting))
    if of_picture is not None:
        label = None if query is None else list(queries.labels())[query]
        _maps(crop, of_picture, in_picture[chosen[0]], chosen, label, changed=chosen in fitting)
    return [here, over]


def _has_sinks(
    heads: tuple[Head, ...],
    in_picture: "tuple[LayerSinks, ...]",
    report: "SinkReport | None",
) -> bool:
    """Whether there is something to remove; without a report nobody knows of the other images."""
    if report is None:
        return True
    shares = report.data["sink_share"].values
    return any(
        shares[layer, head] > 0 or in_picture[layer].is_sink[head].any() for layer, head in heads
    )


def on_images(n: int, pictures: Pictures) -> str:
    """How many images of which, in words."""
    if n == 1:
        return "one image"
    return (
        f"{n:,} {pictures.words}"
        if n == pictures.n
        else f"{n:,} of {pictures.n:,} {pictures.words}"
    )


def _how(for_slider: Any) -> str:
    """The ablation, by name."""
    how = st.segmented_control(
        "Attention to sinks is",
        list(_HOW),
        format_func=_HOW.__getitem__,
        key="sinks_how",
        default=_MASKED,
        required=True,
        persist_state="session",
        help="Masked: as if no query could see a sink; the other keys share what it had, in "
        "proportion. Redistributed (Kang et al., 2025): sinks keep a part p, and the other "
        "patches get the rest.",
    )
    with for_slider:
        kept = st.slider(
            "p, kept by sinks",
            0.0,
            1.0,
            0.6,
            0.05,
            key="sinks_kept",
            disabled=how != _GIVEN,
        )
    return f"sinks:{_GIVEN}@{kept:g}" if how == _GIVEN else f"sinks:{_MASKED}"


def _heads(report: "SinkReport | None", chosen: Head, n_heads: tuple[int, ...]) -> tuple[Head, ...]:
    """The heads in which sinks are switched off.

    Names stay the same from head to head: the browser keeps the one that was chosen.
    """
    marked = selection.current().marked_heads
    every = tuple((layer, head) for layer, n in enumerate(n_heads) for head in range(n))
    choices: dict[str, tuple[Head, ...]] = {"chosen": (chosen,)}
    names = {"chosen": "The chosen head"}
    if marked:
        choices["marked"], names["marked"] = marked, "The marked heads"
    if report is not None:
        with_sink = tuple(sorted((sink.layer, sink.head) for sink in report.heads))
        centric = report.image_centric_heads
        if with_sink:
            choices["sinks"] = with_sink
            names["sinks"] = "Heads with a sink"
        if centric:
            choices["centric"] = centric
            names["centric"] = "Image-centric heads"
    choices["all"], names["all"] = every, "All heads"
    if st.session_state.get("sinks_which") not in choices:
        st.session_state["sinks_which"] = "chosen"
    which = st.selectbox(
        "In heads",
        list(choices),
        key="sinks_which",
        format_func=names.__getitem__,
        help="Image-centric (Kang et al.): at least a fifth of the attention goes to patches, and "
        "of that at least half to patches that are no sinks.",
    )
    return choices[which]


def _query(queries: "TokenLayout") -> int | None:
    """The query whose attention the maps show; None: mean over all."""
    token = page_query(queries)
    names = {"mean": "mean of queries", "query": "page's query"}
    chosen = st.segmented_control(
        "Maps of",
        list(names),
        format_func=names.__getitem__,
        key="sinks_query",
        default="mean",
        required=True,
        persist_state="session",
        help="The query is that of the linked plots above",
    )
    return token if chosen == "query" else None


def page_query(queries: "TokenLayout") -> int:
    """The query of the linked plots in a layer with these tokens."""
    now = selection.current()
    if now.token is not None and now.token < queries.n_tokens:
        return now.token
    labels = list(queries.labels())
    if now.place in labels:
        return labels.index(now.place)
    patches = np.flatnonzero(queries.is_patch)
    at = [part for part in (now.place or "").split(",") if part.replace(".", "", 1).isdigit()]
    if len(at) == 2 and len(patches):
        apart = ((queries.centres - np.array(at, float)) ** 2).sum(-1)
        return int(patches[apart.argmin()])
    prefix = np.flatnonzero(~queries.is_patch)
    if len(prefix):
        return int(prefix[0])
    rows, columns = queries.grid
    return int(patches[rows // 2 * columns + columns // 2])


# -- with and without ------------------------------------------------------------------------------


def _prediction(found: measuring.OfPicture, labels: Any) -> None:
    st.html('<h3 class="hs-depth">Prediction for this picture</h3>')
    if found.probabilities is None:
        cosine = float(found.output.cosine[0])
        st.markdown(f"Features with and without sinks: cosine **{written(cosine)}**.")
        st.caption("The model has no classes; 1: the features point the same way as before.")
        return
    before, after = found.probabilities.before, found.probabilities.after
    order = list(dict.fromkeys([*top(before, _CLASSES)[0].tolist(), int(after.argmax())]))
    rows = [
        f"<tr><td>{html.escape(_label(labels, index))}</td><td>{_percent(before[index])}</td>"
        f"<td>{_percent(after[index])}</td><td>{_points(after[index] - before[index])}</td></tr>"
        for index in order
    ]
    st.html(
        '<table class="hs-compare"><thead><tr><th>Class</th><th>With</th><th>Without</th>'
        f"<th>Change</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    if len(found.output.flips):
        st.markdown(f"**The prediction flips** to {_label(labels, int(after.argmax()))}.")
    elif np.array_equal(before, after):
        st.caption("Nothing changes by a bit: in this picture these heads have no sink.")
    else:
        st.caption("The likeliest class stays. Changes are in percentage points.")


def _label(labels: Any, index: int) -> str:
    return labels[index] if index < len(labels) else f"class {index}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(change: float) -> str:
    if abs(change) < 0.0005:
        return "0.0"
    return f"{100 * change:+.1f}".replace("-", "−")


def _numbers(found: measuring.OverImages, pictures: Pictures, n_heads: int) -> None:
    from ....analysis.metrics import attention_metrics

    n = found.n_images
    on = on_images(n, pictures)
    st.html(f'<h3 class="hs-depth">Attention in the changed heads, on {html.escape(on)}</h3>')
    rows = []
    for name, beside in found.metrics.items():
        metric = attention_metrics()[name]
        with_, without = (_typical(name, side) for side in (beside.before, beside.after))
        rows.append(
            f"<tr><td>{html.escape(metric.long_name)}</td><td>{written(with_)}</td>"
            f"<td>{written(without)}</td><td>{html.escape(metric.units)}</td></tr>"
        )
    st.html(
        '<table class="hs-compare"><thead><tr><th>Number</th><th>With sinks</th><th>Without</th>'
        f"<th>Units</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    st.markdown(_flips(found.output, n))
    st.caption(
        f"Mean over {n_heads} head{'s' * (n_heads != 1)} and {on} (concentration: median). Later "
        "layers see what the earlier ones left."
    )


def _typical(name: str, values: np.ndarray) -> float:
    """Concentration is infinite where most keys get nothing."""
    return float(np.median(values) if name == "sink_concentration" else values.mean())


def _flips(output: measuring.Output, n: int) -> str:
    if output.prediction is None or output.probability is None:
        cosine = output.cosine
        return f"Features with and without sinks: mean cosine **{written(float(cosine.mean()))}**."
    flips = len(output.flips)
    before, after = (
        float(side.mean()) for side in (output.probability.before, output.probability.after)
    )
    return (
        f"**The prediction flips on {flips} of {n} image{'s' * (n != 1)}.** Probability of the "
        f"class that was predicted: {_percent(before)} → {_percent(after)}"
        + (" (mean)." if n > 1 else ".")
    )


def _maps(
    crop: Any,
    found: measuring.OfPicture,
    sinks: "LayerSinks",
    chosen: Head,
    query: str | None,
    *,
    changed: bool,
) -> None:
    of, keys = "mean over queries" if query is None else f"query: {query}", sinks.keys
    st.html(
        f'<h3 class="hs-depth">{head_words(chosen)} with and without sinks ({html.escape(of)})</h3>'
    )
    before, after = found.attention.before, found.attention.after
    framed = sinks.is_sink[chosen[1]]
    panels = [
        sink_maps.Panel(
            "with sinks (framed)" if framed.any() else "with sinks", keys, before, framed
        ),
        sink_maps.Panel("without", keys, after, framed & False),
    ]
    left, right = st.columns([8, 5], gap="medium")
    with left:
        if panels[0].on_grid:
            draw_maps(crop, panels, f"{head_words(chosen)} with and without sinks.", "sinks_maps")
        else:
            st.caption("The keys of this head are not patches on a grid; the bars name them.")
    with right:
        order = _strongest(keys, before, after)
        labels = list(keys.labels())
        chart = sink_maps.beside_chart(
            [labels[key] for key in order],
            before[order].tolist(),
            after[order].tolist(),
            title="attention received (share)",
            dark=shared.is_dark(),
        )
        shared.draw(chart, "Attention that the strongest tokens get.", "sinks_beside")
    st.caption(
        "Both maps are on one scale, which ends at the largest of both. Tokens without a place in "
        "the image are among the bars."
        + (
            ""
            if changed
            else " This head is not one of those that were changed: what is different here comes "
            "from the layers before it."
        )
    )


def draw_maps(crop: Any, panels: list[sink_maps.Panel], words: str, key: str) -> None:
    """Maps over the picture, with their scale."""
    shared.draw(sink_maps.maps_chart(crop, panels, dark=shared.is_dark()), words, key)
    anchors, low, high = sink_maps.scale(panels)
    st.html(
        f'<figure class="hs-map"><figcaption><span>{low}</span><i style="background-image: '
        f'linear-gradient(to right, {", ".join(anchors)})"></i><span>{high}</span></figcaption>'
        "</figure>"
    )


def _strongest(keys: "TokenLayout", before: np.ndarray, after: np.ndarray) -> list[int]:
    """Prefix tokens, and the patches that get most before or after."""
    prefix = np.flatnonzero(~keys.is_patch).tolist()[:5]
    patches = np.flatnonzero(keys.is_patch)
    most = np.fmax(np.nan_to_num(before, nan=-1), np.nan_to_num(after, nan=-1))[patches]
    return prefix + patches[np.argsort(-most, kind="stable")][:4].tolist()
