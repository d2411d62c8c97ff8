"""The patterns one by one, and the chosen head's own."""

import html
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from ... import selection
from ...figures import patterns as figures
from ...figures import prototypes
from ...figures.palette import payload
from ...figures.template import head_name, head_words, number
from . import subject as shared
from .pattern_scene import Scene

if TYPE_CHECKING:
    from ....analysis.patterns import Cluster

PER_ROW = 3
MOST_CARDS = 12
HEADS = 3
"""Heads named on a card."""
LEAST_SHARE = 0.005
"""Attention to other tokens that a card tells of."""
# -- the chosen head -------------------------------------------------------------------------------


def head(scene: Scene) -> None:
    """Shares of patterns of the heads of a layer, and the chosen head's map."""
    chosen, found = scene.chosen, scene.found
    st.html(f'<h3 class="hs-depth">{head_words(chosen)}</h3>')
    of = found.heads.heads[:, 1:]
    here = np.flatnonzero((of == np.array(chosen)).all(1))
    if not len(here):
        st.caption("No map of this head was learned from.")
        return
    row = int(here[0])
    names = found.patterns.names
    modal, stability = int(found.heads.modal[row]), float(found.heads.stability[row])
    name = names[modal] if modal >= 0 else figures.NONE_NAME
    n = found.n_images
    st.markdown(
        f"**{name}** in {stability:.0%} of {n:,} image{'s' * (n != 1)} (its stability); entropy "
        f"over patterns {number(float(found.heads.entropy[row]))} nats."
    )
    _map(scene)
    layer = np.flatnonzero(of[:, 0] == chosen[0])
    st.html(f'<h3 class="hs-depth">Patterns of the heads of layer {chosen[0]}</h3>')
    chart = figures.shares_chart(
        [(int(each), int(head)) for each, head in of[layer]],
        found.heads.shares[layer],
        names,
        chosen=chosen,
        n_images=n,
        dark=shared.is_dark(),
    )
    words = f"{head_words(chosen)}: {name} in {stability:.0%}."
    about = f"Patterns of the heads of layer {chosen[0]}, share of n = {n:,} images. {words}"
    shared.draw_heads(chart, words, "patterns_shares", caption=f"{about} {scene.subject.name}.")


def _map(scene: Scene) -> None:
    """The chosen head's map of the picture that is shown, and what the autoencoder makes of it."""
    found = _map_of(scene)
    if found is None:
        st.caption("Its map of this picture is not there (yet).")
        return
    here, again, words = found
    patterns = scene.found.patterns
    ends = prototypes.tops([here, again])
    source = prototypes.drawing(
        [("Map", here), ("Reconstruction", again)],
        patterns.maps.form,
        ends,
        dark=shared.is_dark(),
    )
    st.html(
        f'<figure class="hs-map"><img src="{source}" style="max-width: 400px" '
        f'alt="Map of {head_words(scene.chosen).lower()} and its reconstruction"></figure>'
        + _scale(ends, patterns.maps.form, named=False)
    )
    st.caption(words)


def _map_of(scene: Scene) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Map, reconstruction, and which map it is."""
    from ....analysis.patterns.maps import shares

    patterns, chosen = scene.found.patterns, scene.chosen
    maps, now = patterns.maps, selection.current()
    names = patterns.names
    own = scene.own
    if own is not None:
        wanted = own.maps.origins[0].images
        shown = wanted.index(now.image) if now.image in wanted else 0
        at = (own.maps.layer == chosen[0]) & (own.maps.head == chosen[1])
        rows = np.flatnonzero(at & (own.maps.image == shown))
        if len(rows):
            row = int(rows[0])
            decoded = patterns.autoencoder.maps(own.latents[row : row + 1])
            far = " It lies far from all patterns." if own.outlier[row] else ""
            words = (
                f"In {wanted[shown]}, which was not learned from; nearest pattern: "
                f"{names[own.labels[row]]}. Squared error {number(float(own.error[row]))}.{far}"
            )
            form = maps.form
            return shares(form, own.maps.values[row]), shares(form, decoded)[0], words
    rows = scene.found.rows
    of_head = (maps.layer[rows] == chosen[0]) & (maps.head[rows] == chosen[1])
    mine = rows[of_head]
    if not len(mine):
        return None
    study = scene.subject.study if scene.subject.photograph is None else None
    image = now.image
    if image is None and study is not None:
        image = str(study.data["image"].values[0])
    there = [int(row) for row in mine if scene.image_name(int(row)) == image]
    row = there[0] if there else int(mine[0])
    label = int(patterns.clustering.labels[row])
    name = names[label] if label >= 0 else figures.NONE_NAME
    words = f"In {scene.image_name(row)}: {name}." + (
        "" if there else " The image that is shown was not learned from; this is another."
    )
    return patterns.map(row), patterns.reconstruction(row), words


# -- cards -----------------------------------------------------------------------------------------


def show(scene: Scene) -> None:
    """A card a pattern: prototype and medoid, what they do, which heads have it."""
    clusters = scene.found.patterns.clusters
    drawn = clusters[:MOST_CARDS]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html('<h3 class="hs-depth">The patterns</h3>', width="content")
        common = (
            st.segmented_control(
                "Colours",
                ["one scale", "each its own"],
                default="one scale",
                key="patterns_scale",
                required=True,
                persist_state="session",
                label_visibility="collapsed",
            )
            == "one scale"
        )
    maps = [scene.found.patterns.map(each.medoid) for each in drawn]
    form = scene.found.patterns.maps.form
    everything = [*(each.prototype for each in drawn), *maps]
    ends = prototypes.tops(everything)
    if common:
        st.html(_scale(ends, form))
    st.caption(
        "Prototype: the group's centre, decoded. Medoid: the real map nearest to it. "
        + (
            "Left: attention by the key's offset from the query (the square is the query's own "
            "patch; up to 2 patches a cell each, farther ones in thirds of what is left). Right: "
            "attention that each place of the image receives. "
            if form == "offset"
            else "Regions are 4 × 4 over the image. "
        )
        + "Colours grow with the square root of the share. Names are proposals by fixed rules."
        + (
            f" The {MOST_CARDS} largest of {len(clusters)} are drawn."
            if len(clusters) > len(drawn)
            else ""
        )
    )
    for start in range(0, len(drawn), PER_ROW):
        columns = st.columns(PER_ROW, gap="medium")
        for cluster, medoid, column in zip(
            drawn[start : start + PER_ROW], maps[start : start + PER_ROW], columns, strict=False
        ):
            with column:
                own = ends if common else prototypes.tops([cluster.prototype, medoid])
                _card(scene, cluster, medoid, own)
                if not common:
                    st.html(_scale(own, form, named=False))


def _card(scene: Scene, cluster: "Cluster", medoid: np.ndarray, ends: list[float]) -> None:
    found = scene.found
    maps = found.patterns.maps
    row = cluster.medoid
    name = html.escape(cluster.name)
    source = prototypes.drawing(
        [("Prototype", cluster.prototype), ("Medoid", medoid)],
        maps.form,
        ends,
        dark=shared.is_dark(),
    )
    colour = figures.colour_of(cluster.index)
    st.html(
        f'<h3 class="hs-depth"><span style="color: {colour}">■</span> {name}: '
        f"{cluster.share:.0%} of the maps</h3>"
        f'<figure class="hs-map"><img src="{source}" alt="Prototype and medoid of {name}"></figure>'
    )
    medoid_of = head_name((int(maps.layer[row]), int(maps.head[row])))
    st.caption(
        f"{cluster.n_maps:,} maps. Medoid: {medoid_of} in {scene.image_name(row)}. "
        f"{_tokens(cluster)}"
    )
    _members(scene, cluster)


def _tokens(cluster: "Cluster") -> str:
    """Attention that the maps do not show, mean over members."""
    told = {"class": "the class token", "register": "registers", "other": "other tokens"}
    parts = [
        f"{cluster.statistics[key]:.0%} to {words}"
        for key, words in told.items()
        if cluster.statistics[key] >= LEAST_SHARE
    ]
    return f"Of the attention, {', '.join(parts)}." if parts else ""


def _members(scene: Scene, cluster: "Cluster") -> None:
    """The heads that have a pattern most, and the button that marks those that have it mostly."""
    heads = scene.found.heads
    share = heads.shares[:, cluster.index]
    order = [int(row) for row in np.argsort(-share, kind="stable")[:HEADS] if share[row] > 0]
    with st.container(horizontal=True, gap="small"):
        for row in order:
            layer, head = (int(each) for each in heads.heads[row, 1:])
            st.button(
                f"{head_name((layer, head))} · {share[row]:.0%}",
                key=f"patterns_head {cluster.index} {layer} {head}",
                type="tertiary",
                help=f"Choose {head_words((layer, head)).lower()}: this pattern in "
                f"{share[row]:.0%} of its images; stability {heads.stability[row]:.2f}",
                on_click=shared.change_everywhere,
                kwargs={"layer": layer, "head": head},
            )
        mostly = [
            (int(layer), int(head)) for _, layer, head in heads.heads[heads.modal == cluster.index]
        ]
        if mostly:
            n = len(mostly)
            st.button(
                f"Mark {n} head{'s' * (n != 1)}",
                key=f"patterns_mark {cluster.index}",
                icon=":material/select_all:",
                type="tertiary",
                help="Outline in all views the heads whose most frequent pattern this is; their "
                f"mean stability is {heads.stability[heads.modal == cluster.index].mean():.2f}",
                on_click=shared.change_everywhere,
                kwargs={"marked": selection.marking(mostly)},
            )


def _scale(ends: list[float], form: str, *, named: bool = True) -> str:
    """The colours and their ends, of each channel."""
    colours = ", ".join(payload()["attention"])
    bars = [
        f"<span>{f'{axis.title}: 0' if named else '0'}</span>"
        f'<i style="background-image: linear-gradient(to right, {colours})"></i>'
        f'<span style="white-space: nowrap">{number(100 * end)} %</span>'
        for axis, end in zip(prototypes.FORM_AXES[form], ends, strict=True)
    ]
    return (
        '<figure class="hs-map"><figcaption style="max-width: 640px">'
        f"{'<span></span>'.join(bars)}</figcaption></figure>"
    )
