"""What heads in depth is about, and what its parts share: choices, waiting, charts, tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from ... import selection
from ...figures.atlas import GROUPS, head_metrics
from ...figures.encode import csv, mean_over_images
from ...jobs import Job
from ...measuring import pictures
from ...measuring.pictures import Pictures
from . import printing

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .... import Checkpoint, Photograph, Study


BEHIND = "depth_behind"
"""Set where the rest of the page has to hear of a change that was made in the panel."""
UNFINISHED = "depth_unfinished"
"""Set where the panel drew something as under way."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What the panel is about."""

    checkpoint: "Checkpoint | None" = None
    """None: it is not there (yet), or has other weights than the study."""
    study: "Study | None" = None
    """The study that the page was opened with, or that of the picture; None while it is made."""
    photograph: "Photograph | None" = None
    """The picture; None where the page was opened with a study."""
    crop: "UInt8[np.ndarray, 'row column 3'] | None" = None
    """The picture that is shown, as the model sees it."""
    target: int | None = None
    """The class that importance is about; None: each image's prediction."""

    @property
    def name(self) -> str:
        """Of the checkpoint."""
        if self.checkpoint is not None:
            return self.checkpoint.name
        return self.study.model if self.study is not None else "headscope"


def chosen_head(study: "Study") -> tuple[int, int]:
    """The head of the linked plots; before anyone chose, the one that they show: the largest by
    the atlas' number."""
    now = selection.current()
    if now.layer is not None and now.head is not None:
        return now.layer, now.head
    metrics = head_metrics(study.head_metrics())
    metrics = sorted(metrics, key=lambda metric: GROUPS.index(metric.group))  # as the atlas lists
    metric = next((each for each in metrics if each.key == now.metric), None)
    metric = metric or next(iter(metrics), None)
    if metric is None:
        return 0, 0
    values = metric.values
    if len(values) > 1 and now.scope == "mean":
        values = values[[i for i in now.chosen_images if i < len(values)] or slice(None)]
    elif len(values) > 1:
        names = [str(name) for name in study.data["image"].values]
        values = values[[names.index(now.image) if now.image in names else 0]]
    shown = mean_over_images(values)
    if not np.isfinite(shown).any():
        return 0, 0
    layer, head = np.unravel_index(int(np.nanargmax(shown)), shown.shape)
    return int(layer), int(head)


def key_of(study: "Study") -> tuple[Any, ...]:
    """What tells a study from others, and from itself with more images done.

    The settings hold the images' digests, the target and the seed.
    """
    return str(study.path), study.model_digest, study.data.attrs["settings"], study.n_done


def is_dark() -> bool:
    """Whether the browser shows the dark theme, as far as it has said so."""
    return getattr(st.context.theme, "type", None) == "dark"


def on_what(subject: Subject) -> Pictures | None:
    """The images to measure on; without a study opened there is a choice."""
    if subject.photograph is None:
        return None if subject.study is None else pictures.of_study(subject.study)
    if subject.checkpoint is None:
        return None
    here, many = pictures.one_picture(subject.photograph), pictures.many(subject.checkpoint)
    names = {"one": "This picture", "many": many.words.capitalize()}
    chosen = st.segmented_control(
        "Measured on",
        list(names),
        format_func=lambda name: names[name],
        key="depth_images",
        default="one",
        required=True,
        persist_state="session",
    )
    return many if chosen == "many" else here


def importance(study: "Study") -> dict[str, Any]:
    """The importance metrics of a study, each in every ablation: key → variable."""
    found = [each for each in study.head_metrics() if "ablation" in each.coords]
    names = [str(each.name) for each in found]
    return {
        f"{each.name}:{each.coords['ablation'].item()}"
        if names.count(str(each.name)) > 1
        else str(each.name): each
        for each in found
    }


def label(variable: Any) -> str:
    """What a variable is called, with its ablation."""
    name = str(variable.attrs.get("long_name", variable.name))
    return f"{name} · {variable.coords['ablation'].item()} ablation"


def metric_of(study: "Study") -> Any:
    """The chosen importance metric of a study, with the select box; None where it has none."""
    found = importance(study)
    if not found:
        st.caption("This study was made without importance, so there is no order of heads.")
        return None
    if st.session_state.get("depth_metric") not in found:
        st.session_state["depth_metric"] = next(iter(found))
    key = st.selectbox(
        "Importance",
        list(found),
        key="depth_metric",
        format_func=lambda key: label(found[key]),
        help="What is compared with and without each head",
    )
    return found[key]


def unfinished() -> None:
    """Said where something is drawn as under way, which may have ended before all is drawn."""
    st.session_state[UNFINISHED] = True


def waits(job: Job[Any], cancel: Callable[[], None], key: str = "depth_cancel") -> None:
    """How far a job is, with the button that stops it; `key` where there may be two."""
    unfinished()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    text = job.text or "Waiting for other work"
    bar.progress(job.done_share, text=f"{job.title}: {text[0].lower()}{text[1:]}")
    button.button("Cancel", key=key, on_click=cancel, width="stretch")


def draw(
    figure: "go.Figure",
    words: str,
    key: str,
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
    caption: str = "",
) -> None:
    """A chart, in its own colours; `words` stand for it where it cannot be seen.

    `rows` and `caption` go with it where it is exported.
    """
    st.plotly_chart(
        figure,
        key=key,
        theme=None,
        alt=words,
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
    )
    printing.menu(figure, words, key, rows=rows, caption=caption)


def draw_heads(
    figure: "go.Figure",
    words: str,
    key: str,
    *,
    rows: Sequence[Mapping[str, Any]] | None = None,
    caption: str = "",
) -> None:
    """A chart whose points are heads, `(layer, head)` first in their custom data; a
    point at layer −1 stands for none.

    A click chooses the head, a box or lasso marks heads, in all views. `rows` and `caption` go with
    it where it is exported.
    """
    st.plotly_chart(
        figure,
        key=key,
        theme=None,
        alt=words,
        config={"displaylogo": False},
        on_select=lambda: _take(key),
        selection_mode=("points", "box", "lasso"),
    )
    printing.menu(figure, words, key, rows=rows, caption=caption)


def _take(key: str) -> None:
    picked = st.session_state[key].selection
    heads = [(int(layer), int(head)) for layer, head, *_ in _custom(picked) if layer >= 0]
    if not heads:  # clicked again, or beside everything: nothing is taken back
        return
    if picked.box or picked.lasso:
        change_everywhere(marked=selection.marking(heads))
    else:
        change_everywhere(layer=heads[-1][0], head=heads[-1][1])


def _custom(picked: Any) -> list[Any]:
    return [point["customdata"] for point in picked.points if "customdata" in point]


def change_everywhere(**changes: Any) -> None:
    """Change the selection from within the panel: all of the page follows."""
    selection.change(**changes)
    st.session_state[BEHIND] = True


def offer(rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """A table as a CSV file."""
    st.download_button(
        "Table as CSV",
        csv(rows),
        file_name=f"{name.replace('/', '-')}.csv",
        mime="text/csv",
        on_click="ignore",
        key=f"csv {name}",
        type="tertiary",
        icon=":material/download:",
    )
