"""Heads of two checkpoints: atlases, their difference, one against the other, means of layers."""

from typing import Any

import numpy as np
import streamlit as st

from ...figures import compare_atlas as figures
from ...figures import compare_layers as layer_figures
from ...figures import compare_scatter as scatter_figures
from ...figures.atlas import HeadMetric
from ...figures.template import head_name, number
from ...jobs import Job
from . import subject as shared
from .compare_scene import Scene, criteria, matching_of, metric_of

_PAIRED = "compare_paired"
POSITION, FUNCTION = "by position", "by matched head"


def atlases(scene: Scene) -> "Job[Any] | None":
    """A and B on one scale, and B − A."""
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    with left:
        metric = metric_of(scene)
    if metric is None:
        return None
    sides = [scene.mean(side, metric.key) for side in (0, 1)]
    if sides[0] is None or sides[1] is None:
        _one(scene, metric, sides)
        return None
    alike = scene.heads(0) == scene.heads(1)
    ways = [POSITION, FUNCTION] if alike else [FUNCTION]
    if st.session_state.get(_PAIRED) not in ways:
        st.session_state[_PAIRED] = ways[0]
    with middle:
        paired = st.segmented_control(
            "Difference",
            ways,
            key=_PAIRED,
            required=True,
            help="Head by head in the same place, or each head of A with the head of B that does "
            "the same. Heads of two trainings have no common order.",
        )
    job, found = None, None
    if paired == FUNCTION:
        with right:
            by = criteria()
        job, found = matching_of(scene, by)
        if found is None:
            _draw(scene, metric, sides, None, {}, "")
            return job
        partner = dict(found.partner)
    else:
        partner = {head: head for head in scene.heads(0)}
    difference = np.full(sides[0].shape, np.nan)
    for first, second in partner.items():
        difference[first] = sides[1][second] - sides[0][first]
    _draw(scene, metric, sides, difference, partner, paired or POSITION)
    return job


def _one(scene: Scene, metric: HeadMetric, sides: list[np.ndarray | None]) -> None:
    """The atlas of the only study that has the number."""
    has = 0 if sides[0] is not None else 1
    st.info(
        f"{metric.label} is not in the study of {'AB'[1 - has]}, {scene.names[1 - has]}, so there "
        f"is no difference; this is {'AB'[has]} alone. Analyse both with the same metrics."
    )
    values: Any = sides[has]
    panel = figures.Atlas(
        f"{'AB'[has]} · {scene.names[has]}",
        values,
        figures.words(values, metric.unit, there=scene.heads(has)),
        {head: head for head in scene.heads(0)} if has == 0 else {},
    )
    figure = figures.chart(
        [panel],
        None,
        label=metric.label,
        unit=metric.unit,
        signed=metric.signed,
        chosen=scene.chosen,
        dark=shared.is_dark(),
    )
    shared.draw_heads(figure, f"{metric.label} of all heads of {scene.names[has]}", "compare one")


def _draw(
    scene: Scene,
    metric: HeadMetric,
    sides: Any,
    difference: np.ndarray | None,
    partner: dict[tuple[int, int], tuple[int, int]],
    paired: str,
) -> None:
    back = {second: first for first, second in partner.items()}
    own = {head: head for head in scene.heads(0)}
    with_b = {
        head: f"B: {head_name(other)} {number(float(sides[1][other]))} {metric.unit}"
        for head, other in partner.items()
    }
    panels = [
        figures.Atlas(
            f"A · {scene.names[0]}",
            sides[0],
            figures.words(sides[0], metric.unit, with_b, scene.heads(0)),
            own,
        ),
        figures.Atlas(
            f"B · {scene.names[1]}",
            sides[1],
            figures.words(sides[1], metric.unit, there=scene.heads(1)),
            back,
        ),
    ]
    third = None
    if difference is not None:
        alone = {head: "no match in B" for head in scene.heads(0) if head not in partner}
        third = figures.Atlas(
            "B − A, " + paired,
            difference,
            figures.words(difference, metric.unit, with_b | alone, scene.heads(0)),
            own,
        )
    figure = figures.chart(
        panels,
        third,
        label=metric.label,
        unit=metric.unit,
        signed=metric.signed,
        chosen=scene.chosen,
        dark=shared.is_dark(),
    )
    words = f"{metric.label} of all heads of {scene.names[0]} and {scene.names[1]} on one scale"
    shared.draw_heads(figure, words + (", and the difference" if third else ""), "compare atlases")
    of_all = metric.values.shape[0] == 1 and scene.a.n_images > 1
    mean = "a number of all images of each study" if of_all else f"mean {scene.on}"
    told = f"{metric.label}{f' ({metric.unit})' if metric.unit else ''}, {mean}. "
    told += "A and B share one scale of colours. "
    if difference is not None:
        n = len(partner)
        largest = _largest(difference)
        told += f"The difference is of {n} heads" + (
            f"; the largest: {largest}. " if largest else ". "
        )
        if n < len(scene.heads(0)):
            told += "Empty cells have no match in B."
        shared.offer(_rows(scene, sides, difference, partner), f"difference {scene.subject.name}")
    st.caption(told + " Click a head to choose it, or in B the head of A that it goes with.")


def _largest(difference: np.ndarray) -> str:
    if not np.isfinite(difference).any():
        return ""
    layer, head = np.unravel_index(int(np.nanargmax(np.abs(difference))), difference.shape)
    return f"{head_name((int(layer), int(head)))} {number(float(difference[layer, head]))}"


def _rows(scene: Scene, sides: Any, difference: np.ndarray, partner: Any) -> list[dict[str, Any]]:
    del scene
    return [
        {
            "layer_a": first[0],
            "head_a": first[1],
            "layer_b": second[0],
            "head_b": second[1],
            "a": float(sides[0][first]),
            "b": float(sides[1][second]),
            "difference": float(difference[first]),
        }
        for first, second in sorted(partner.items())
    ]


# -- one against the other -------------------------------------------------------------------------


def scatter(scene: Scene) -> "Job[Any] | None":
    """A number of matched heads in A against the same in B, with ρ."""
    from ....analysis.association import association

    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        metric = metric_of(scene)
    with right:
        by = criteria()
    if metric is None:
        return None
    values = [scene.values(side, metric.key) for side in (0, 1)]
    first, second = values
    if first is None or second is None:
        lacks = 0 if first is None else 1
        st.info(
            f"{metric.label} is not in the study of {'AB'[lacks]}, {scene.names[lacks]}; choose "
            "another number, or analyse both with the same metrics."
        )
        return None
    job, found = matching_of(scene, by)
    if found is None:
        return job
    if not found.pairs:
        st.caption("No head of A matches one of B, so there is no pair to draw: see Matching.")
        return job
    means = [scene.mean(side, metric.key) for side in (0, 1)]
    points = [
        scatter_figures.Point(
            pair.first,
            pair.second,
            float(means[0][pair.first]),  # pyright: ignore[reportOptionalSubscript]
            float(means[1][pair.second]),  # pyright: ignore[reportOptionalSubscript]
            pair.score,
        )
        for pair in found.pairs
    ]
    figure = scatter_figures.chart(
        points,
        metric.label,
        metric.unit,
        scene.names,
        chosen=scene.chosen,
        dark=shared.is_dark(),
    )
    words = (
        f"{metric.label} of {len(points)} matched heads in {scene.names[0]} and {scene.names[1]}"
    )
    shared.draw_heads(figure, words, "compare scatter")
    layers_a, heads_a = zip(*(pair.first for pair in found.pairs), strict=True)
    layers_b, heads_b = zip(*(pair.second for pair in found.pairs), strict=True)
    rho = association(first[:, layers_a, heads_a][:, None], second[:, layers_b, heads_b][:, None])
    sure = (
        f" (95 % interval over images {number(rho.low)} to {number(rho.high)})"
        if rho.low == rho.low
        else ""
    )
    told = (
        f"Spearman's ρ = {number(rho.rho)}{sure} over {rho.n_heads} matched heads, means "
        f"{scene.on}. "
        if rho.rho == rho.rho
        else ""
    )
    st.caption(
        f"{told}{rho.reason} Above the dashed line a head has more of it in B. Heads that match "
        "nothing are left out; heads are matched by what they do, so a high ρ is partly what they "
        "were matched for."
    )
    return job


# -- layers ----------------------------------------------------------------------------------------


def layers(scene: Scene) -> None:
    """Means over the heads of each layer, and the paired difference."""
    from .... import HeadscopeError
    from ....analysis.compare import compare
    from ....analysis.trends import interval_of, mean_of

    metric = metric_of(scene)
    if metric is None:
        return
    values = [scene.values(side, metric.key) for side in (0, 1)]
    if values[0] is None or values[1] is None:
        lacks = 0 if values[0] is None else 1
        st.info(
            f"{metric.label} is not in the study of {'AB'[lacks]}, {scene.names[lacks]}; choose "
            "another number, or analyse both with the same metrics."
        )
        return
    name, _, mode = metric.key.partition(":")
    difference, why = None, ""
    try:
        difference = compare(scene.a, scene.b, name, ablation=mode or None, shared_only=True)
    except HeadscopeError as error:
        why = str(error)
    sides = [interval_of(mean_of(each, (2,)), 0.95, "bca") for each in values if each is not None]
    figure = layer_figures.chart(
        sides,
        None if difference is None else difference.layers,
        metric.label,
        metric.unit,
        scene.names,
        dark=shared.is_dark(),
    )
    shared.draw(figure, f"{metric.label} over the layers of both checkpoints", "compare layers")
    told = f"Mean over the heads of a layer and {scene.on}; bars: 95 % intervals over images."
    told += f" {sides[0].reason}" if sides[0].reason else ""
    if difference is not None:
        low, high = float(difference.whole.low[0]), float(difference.whole.high[0])
        sure = f" ({number(low)} to {number(high)})" if low == low else ""
        told += (
            f" Over all heads: A {number(float(difference.means[0]))}, B "
            f"{number(float(difference.means[1]))}, B − A paired image by image "
            f"{number(float(difference.whole.mean[0]))}{sure} {metric.unit}."
        )
        if difference.layers is None:
            told += " The checkpoints differ in the number of layers, so layers have no difference."
    st.caption(f"{told} {why}")
