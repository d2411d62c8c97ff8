"""What the model sees in the picture, and the class that importance is about."""

from collections.abc import Sequence

import streamlit as st

from .. import selection
from ..figures import predictions
from ..linked import PREDICTIONS
from .mirror import mirroring

PREDICTED = -1


def show(
    classes: Sequence[int],
    probabilities: Sequence[float],
    labels: Sequence[str],
    *,
    target: int,
    fixed: bool,
) -> None:
    """The most probable classes as bars; unless it is `fixed`, the target can be chosen."""

    def take() -> None:
        told = st.session_state["predictions"].get("target")
        if isinstance(told, dict) and isinstance(index := told.get("index"), int):
            selection.change(target=index if index != int(classes[0]) else None)

    st.html('<h2 class="hs-label">Predictions</h2>')
    rows = predictions.payload(classes, probabilities, labels, target=target)
    PREDICTIONS(key="predictions", data={**rows, "fixed": fixed}, on_target_change=take)
    if fixed:
        name = labels[target] if 0 <= target < len(labels) else "none"
        st.caption(f"Target class of the study: **{name}**")
        return
    mirror = mirroring(
        "target",
        PREDICTED if selection.current().target is None else target,
        lambda index: selection.change(target=None if index < 0 else index),
    )
    with st.container(key="target_class"):
        st.selectbox(
            "Target class",
            [PREDICTED, *range(len(labels))],
            format_func=lambda index: (
                "Target: predicted class" if index < 0 else f"Target: {labels[index]}"
            ),
            label_visibility="collapsed",
            help="The class whose probability an ablation changes",
            **mirror,
        )
