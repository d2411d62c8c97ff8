"""Images that two checkpoints see differently."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from ... import services
from . import subject as shared
from .compare_scene import Scene

if TYPE_CHECKING:
    from ....analysis.changes import PredictionChanges

MOST = 500
"""Rows of the table."""
_ALL, _ROWS = "compare_all", "compare_predictions"


def show(scene: Scene) -> None:
    """Counts, who is right, and the images; a click on one chooses it."""
    from .... import HeadscopeError
    from ....analysis.changes import changed_predictions

    try:
        found = changed_predictions(scene.a, scene.b)
    except HeadscopeError as error:
        st.info(str(error))
        return
    if not found.same_classes:
        n = len(set(scene.a.labels)), len(set(scene.b.labels))
        common = len(set(scene.a.labels) & set(scene.b.labels))
        st.info(
            f"The checkpoints have other classes ({n[0]:,} in A, {n[1]:,} in B, {common:,} of the "
            "same name), so a prediction may differ because a class is not there."
        )
    left, right = st.columns([3, 2], gap="medium")
    with right:
        _counts(found)
    with left:
        _images(scene, found)


def _counts(found: "PredictionChanges") -> None:
    n, changed = len(found.changed), found.n_changed
    st.markdown(
        f"**{changed:,} of {n:,} predictions differ** ({changed / n:.0%}); "
        f"{n - changed:,} are the same."
    )
    known = int(found.known.sum())
    if not known:
        st.caption(
            "What is in the images is not known, so nobody is right or wrong: analyse with labels."
        )
        return
    table = found.table
    rows = [
        {"": "A right", "B right": int(table[1, 1]), "B wrong": int(table[1, 0])},
        {"": "A wrong", "B right": int(table[0, 1]), "B wrong": int(table[0, 0])},
    ]
    st.table(rows)
    accuracy = found.accuracy
    p = found.p_value
    shown = "< 0.001" if p < 0.001 else f"= {p:.3f}"
    st.caption(
        f"Accuracy A {accuracy[0]:.1%}, B {accuracy[1]:.1%}, on {known:,} labelled "
        f"image{'s' * (known != 1)}. McNemar's exact test that both are right equally often: "
        f"p {shown}, from the {int(table[1, 0] + table[0, 1])} images that only one gets right."
    )


def _images(scene: Scene, found: "PredictionChanges") -> None:
    everything = st.toggle(
        "Also those that agree",
        key=_ALL,
        help="Sorted by how much the probability differs, after those whose class differs",
    )
    order = [int(i) for i in found.order() if everything or found.changed[i]]
    if not order:
        st.caption("Every prediction is the same class in A and in B.")
        return
    names = scene.a.data["image"].values
    rows = [_row(scene, found, i, str(names[found.images[0, i]])) for i in order[:MOST]]
    on_study = scene.subject.photograph is None

    def take() -> None:
        cells = st.session_state[_ROWS].selection.cells
        if cells:
            shared.change_everywhere(image=rows[int(cells[0][0])]["Name"])

    options: dict[str, Any] = {}
    if on_study:
        options = {"on_select": take, "selection_mode": "single-cell"}
    st.dataframe(
        rows,
        hide_index=True,
        key=_ROWS,
        row_height=56,
        column_config={
            "Image": st.column_config.ImageColumn(width=70),
            "p A": st.column_config.NumberColumn(format="percent", width=60),
            "p B": st.column_config.NumberColumn(format="percent", width=60),
        },
        **options,
    )
    more = f" The first {MOST} of {len(order):,} are shown." if len(order) > MOST else ""
    click = " Click a row to look at the image." if on_study else ""
    st.caption(
        "p: probability of the likeliest class. First the images whose class differs, those that "
        f"both are surest of in the lead.{more}{click}"
    )
    shared.offer(_export(scene, found), f"predictions {scene.subject.name}")


def _row(scene: Scene, found: "PredictionChanges", i: int, name: str) -> dict[str, Any]:
    at = int(found.images[0, i])
    data = scene.a.data
    digest = str(data["image_digest"].values[at])
    source = services.thumbnail(
        f"{data.attrs.get('model_digest', '')} {digest}", lambda: data["pixels"][at].values
    )
    row: dict[str, Any] = {
        "Image": source,
        "A": found.names[i][0].split(",")[0],
        "p A": float(found.probability[0, i]),
        "B": found.names[i][1].split(",")[0],
        "p B": float(found.probability[1, i]),
    }
    if found.known.any():
        label = found.label[i]
        row["In it"] = "not known" if label is None else label.split(",")[0]
        row["Right"] = (
            "–"
            if label is None
            else " and ".join(
                side for side, right in zip("AB", found.right[:, i], strict=True) if right
            )
            or "neither"
        )
    return row | {"Name": name}


def _export(scene: Scene, found: "PredictionChanges") -> list[dict[str, Any]]:
    names = scene.a.data["image"].values[found.images[0]]
    return [
        {
            "image": str(names[i]),
            "class_a": found.names[i][0],
            "probability_a": float(found.probability[0, i]),
            "class_b": found.names[i][1],
            "probability_b": float(found.probability[1, i]),
            "changed": bool(found.changed[i]),
            "label": found.label[i] or "",
        }
        for i in np.asarray(found.order()).tolist()
    ]
