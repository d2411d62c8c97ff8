"""Which checkpoint: the opened study's, an embedded one, or any that timm can name."""

import html
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from .. import selection, services, studies
from .mirror import mirroring

if TYPE_CHECKING:
    from ... import Checkpoint, Study
    from ...models.layers import Layer
    from ...models.report import Reading

OPENED = "study "
"""Begins what stands for a study among the names of checkpoints."""


FIRST = "demo/supervised"
"""The checkpoint of a page that was opened with none."""


@dataclass(frozen=True)
class Choice:
    """What the page works on."""

    source: services.Source | None
    """None: nothing that can be loaded was named."""
    study: "Study | None" = None
    """The study that the page was opened with, where it is the choice."""


def choose() -> Choice:
    """The select box; what was typed is tried as a name."""
    name, study = _opened()
    known = services.known_checkpoints()
    chosen = selection.current().checkpoint
    if chosen is None:
        chosen = OPENED + name if name is not None else FIRST if FIRST in known else None
    names = [*(OPENED + each for each in studies.known()), *known]
    with st.container(key="checkpoints"):
        st.selectbox(
            "Checkpoint",
            names if chosen in (None, *names) else [*names, chosen],
            format_func=_titled,
            accept_new_options=True,
            placeholder="Choose, or type a name",
            help="A study or an embedded checkpoint, or type any timm name, hf-hub:owner/name, "
            "the path of a .safetensors or .pth file, or that of a study, and press Enter.",
            **mirroring("checkpoint", chosen, _take),
        )
    if chosen is None:
        st.caption("Choose a checkpoint or a study above, or type a name and press Enter.")
        return Choice(None)
    if study is not None:
        return Choice(source_of(study), study)
    now = selection.current()
    return Choice(services.Source(chosen, now.arch, now.weights != "random"))


def _titled(name: str) -> str:
    return studies.title(name.removeprefix(OPENED)) if name.startswith(OPENED) else name


def _opened() -> "tuple[str | None, Study | None]":
    """The chosen study, by name; None where it is a checkpoint, or a study that does not open."""
    from ... import HeadscopeError

    now = selection.current()
    if now.checkpoint is not None:
        return None, None
    # One that vanished while it is open goes on with what was read of it.
    opened: dict[str, Path] = st.session_state.setdefault("opened_studies", {})
    known, sentences = studies.known() | opened, []
    name = now.study if now.study is not None else studies.first()
    if name is not None and name not in known:
        sentences.append(
            f"There is no study {name} here: open it with headscope app --study {name}, or type "
            "its path where the checkpoint is chosen."
        )
        name = studies.first()
    study = None
    try:
        if name is not None:
            study = services.opened_study(known[name])
            if (trouble := services.trouble_with(known[name])) is not None:
                st.warning(trouble)
            elif name not in opened:
                studies.remember(known[name])
            opened[name] = known[name]
    except HeadscopeError as error:
        st.error(str(error))
        name = None
    if now.study != name:
        selection.correct(sentences, study=name)
    return name, study


def _take(told: str | None) -> None:
    name = told.strip() if isinstance(told, str) else None
    changes: dict[str, Any] = dict.fromkeys(("study", "arch", "weights", "target", "checkpoint"))
    path = None if name is None else studies.at(name)
    if path is not None:  # a study's place was typed
        studies.remember(path)
        name = OPENED + (studies.named(path) or str(path))
    if name is not None and name.startswith(OPENED):
        changes |= {"study": name.removeprefix(OPENED), "image": None, "images": None}
    else:
        changes["checkpoint"] = name or None
    selection.change(**changes)


def source_of(study: "Study") -> services.Source:
    told = json.loads(study.data.attrs["loaded_with"])
    size = told.pop("image_size", None)
    return services.Source(
        **{**told, "name": study.model}, image_size=tuple(size) if size else None
    )


def details(choice: Choice, checkpoint: "Checkpoint | None", *, loading: bool) -> None:
    """What the checkpoint is, how it wants its images, and how well it can be read."""
    if checkpoint is not None:
        _refusals(checkpoint)
    with st.expander("About this checkpoint"):
        if checkpoint is not None:
            _describe(checkpoint)
        elif loading:
            st.caption("It is being loaded.")
        source = choice.source
        if source is None or choice.study is not None or source.name.startswith("demo/"):
            return
        st.text_input(
            "Architecture",
            value=source.arch or "",
            key="arch",
            placeholder="vit_small_patch16_224",
            help="timm's name, for a weights file that does not name its own",
            on_change=lambda: selection.change(arch=st.session_state["arch"].strip() or None),
        )
        st.toggle(
            "Random weights",
            value=not source.pretrained,
            key="random",
            help="The architecture alone, with no download",
            on_change=lambda: selection.change(
                weights="random" if st.session_state["random"] else None
            ),
        )


def _describe(checkpoint: "Checkpoint") -> None:
    report = checkpoint.report
    facts: dict[str, Any] = {
        "Architecture": checkpoint.architecture,
        "Attention": f"{checkpoint.n_layers} layers, {_span(checkpoint.n_heads)} heads each",
        "Kinds": ", ".join(
            f"{kind} ({count})"
            for kind, count in Counter(layer.kind for layer in checkpoint.layers).items()
        ),
        "Tokens": " → ".join(dict.fromkeys(map(_tokens, checkpoint.layers))),
        "Classes": len(checkpoint.labels) or "none: features only",
        "Input": checkpoint.preprocessing.describe(),
        "Weights": f"sha256 {checkpoint.digest[:12]}…",
    }
    lines = "".join(
        f"<dt>{key}</dt><dd>{html.escape(str(value))}</dd>" for key, value in facts.items()
    )
    st.html(f'<dl class="hs-facts">{lines}</dl>')
    rows = "".join(map(_row, report.readings))
    st.html(
        f"<p class='hs-small'>{html.escape(report.summary)}</p>"
        "<div class='hs-report'><table><tr><th>layer</th><th>module</th><th>heads</th>"
        f"<th>parity</th></tr>{rows}</table></div>"
    )


def _refusals(checkpoint: "Checkpoint") -> None:
    """A sentence on the attention that the page cannot show, with the commonest reason."""
    report = checkpoint.report
    if report.refused:
        reasons = Counter(reading.reason for reading in report.refused)
        reason, count = reasons.most_common(1)[0]
        more = "" if count == len(report.refused) else f" ({count} of them)"
        sentence = (
            f"{len(report.refused)} of {len(report.readings)} attention modules are refused: "
            f"{reason}{more}. The others are shown."
        )
        st.html(f"<p class='hs-small hs-refused'>{html.escape(sentence)}</p>")


def _span(numbers: "tuple[int, ...]") -> str:
    """`"3"`, or `"3 to 24"`."""
    return " to ".join(str(number) for number in dict.fromkeys((min(numbers), max(numbers))))


def _tokens(layer: "Layer") -> str:
    """The query tokens of a layer: `"1 class + 14 × 14 patches of 16 px"`."""
    layout = layer.layout.queries
    parts = [
        f"{layout.kinds.count(kind)} {kind}" for kind in layout.present_kinds if kind != "patch"
    ]
    if layout.n_patches:
        rows, columns = layout.grid
        parts.append(f"{rows} × {columns} patches of {layout.patch_px[1]:.3g} px")
    return " + ".join(parts)


def _row(reading: "Reading") -> str:
    """One attention module of the capture report."""
    cells = (
        "–" if reading.layer is None else reading.layer,
        reading.module,
        reading.n_heads or "–",
        "" if reading.parity is None else f"{reading.parity:.0e}",
    )
    row = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
    beneath = reading.reason or reading.attention
    return (
        f"<tr>{row}</tr><tr class='hs-beneath'><td></td><td colspan='3'>{html.escape(beneath)}</td>"
        "</tr>"
    )
