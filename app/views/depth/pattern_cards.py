"""The patterns one by one, the chosen head's own, and how good the grouping is."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import in_depth, selection
from ...figures import patterns as figures
from ...figures import prototypes
from ...figures.palette import payload
from ...figures.template import head_name, head_words, number
from ...jobs import Job
from ...measuring import patterns as work
from . import subject as shared
from .subject import Subject

if TYPE_CHECKING:
    from ....analysis.patterns import Cluster, HeadPatterns, Projected

PER_ROW = 3
MOST_CARDS = 12
HEADS = 3
"""Heads named on a card."""
LEAST_SHARE = 0.005
"""Attention to other tokens that a card tells of."""
_WHY = {
    "patience": "its error on images set aside for that no longer fell",
    "epochs": "it had seen all epochs",
    "time": "its time was over, so another machine may find something else",
}


@dataclass(frozen=True, eq=False)
class Scene:
    """What the part shows."""

    subject: Subject
    learned: work.Learned
    found: work.Grouped
    places: np.ndarray
    """Of each map of this checkpoint: its image's place in the opened study; −1 where in none."""
    own: "Projected | None"
    """Maps that the patterns were not learned from."""
    own_words: str

    @property
    def chosen(self) -> tuple[int, int]:
        now = selection.current()
        if now.layer is not None and now.head is not None:
            return now.layer, now.head
        return shared.chosen_head(self.subject.study) if self.subject.study is not None else (0, 0)

    def image_name(self, row: int) -> str:
        """Of a map."""
        maps = self.found.patterns.maps
        return maps.origins[int(maps.origin[row])].images[int(maps.image[row])]

    def heads(self) -> "tuple[HeadPatterns, int] | None":
        """Patterns of each head on what the page is about, and on how many images."""
        from ....analysis.patterns.result import head_patterns

        if (self.places >= 0).any():
            return self.found.heads, self.found.n_images
        if self.own is None:
            return None
        maps, n = self.own.maps, self.found.patterns.clustering.n
        return head_patterns(maps, self.own.labels, n), len(np.unique(maps.image))

    def modal(self) -> np.ndarray | None:
        """The most frequent pattern of each head, by layer and head; −1 where there is none."""
        heads = self.heads()
        if heads is None or not len(heads[0].heads):
            return None
        found = heads[0]
        result = np.full(found.heads[:, 1:].max(0) + 1, -1)
        result[found.heads[:, 1], found.heads[:, 2]] = found.modal
        return result


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
    shared.draw_heads(chart, f"{head_words(chosen)}: {name} in {stability:.0%}.", "patterns_shares")


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
        [("map", here), ("reconstruction", again)],
        patterns.maps.form,
        ends,
        dark=shared.is_dark(),
    )
    st.html(
        f'<figure class="hs-map"><img src="{source}" style="max-width: 400px" '
        f'alt="Map of {head_words(scene.chosen).lower()} and its reconstruction"></figure>'
        + _scale(ends, patterns.maps.form)
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
                    st.html(_scale(own, form))


def _card(scene: Scene, cluster: "Cluster", medoid: np.ndarray, ends: list[float]) -> None:
    found = scene.found
    maps = found.patterns.maps
    row = cluster.medoid
    name = html.escape(cluster.name)
    source = prototypes.drawing(
        [("prototype", cluster.prototype), ("medoid", medoid)],
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


def _scale(ends: list[float], form: str) -> str:
    """The colours and their ends, of each channel."""
    bars = []
    colours = ", ".join(payload()["attention"])
    for axis, end in zip(prototypes.FORM_AXES[form], ends, strict=True):
        bars.append(
            f'<span>{axis.title}: 0</span><i style="background-image: linear-gradient(to right, '
            f'{colours})"></i><span>{number(100 * end)} %</span>'
        )
    return (
        '<figure class="hs-map"><figcaption style="max-width: 640px">'
        f"{'&emsp;'.join(bars)}</figcaption></figure>"
    )


# -- how good it is --------------------------------------------------------------------------------


def quality(scene: Scene) -> "Job[Any] | None":
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
        f"{len(training.fitted_error)} epochs and {training.seconds:.0f} s: {_WHY.get(training.stopped_by, training.stopped_by)}."
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
        shared.waits(job, cancel)
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
