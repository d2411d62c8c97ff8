"""Which checkpoint: the opened study's, an embedded one, or any that timm can name."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from .. import selection, services

if TYPE_CHECKING:
    from ... import Checkpoint, Study

OPENED = "study"
"""Stands for the opened study among the names of checkpoints."""


@dataclass(frozen=True)
class Choice:
    """What the page works on."""

    source: services.Source | None
    """None: nothing that can be loaded was named."""
    study: "Study | None" = None
    """The study that the page was opened with, where it is the choice."""


def choose() -> Choice:
    """The select box, and the options for checkpoints that do not describe themselves."""
    from ... import HeadscopeError

    path = services.study_path()
    study = None
    if path is not None:
        try:
            study = services.opened_study(path)
        except HeadscopeError as error:
            st.error(str(error))
    known = services.known_checkpoints()
    now = selection.current()
    if now.checkpoint is None and now.study != OPENED and study is None and known:
        now = replace(now, checkpoint=known[0] if "demo/supervised" not in known else "demo/supervised")
    names = [OPENED] * (study is not None) + list(known)
    chosen = now.checkpoint or (OPENED if study is not None else None)
    if chosen is not None and chosen not in names:
        names.append(chosen)
    st.session_state["checkpoint"] = chosen
    st.selectbox(
        "Checkpoint",
        names,
        key="checkpoint",
        format_func=lambda name: f"Study {path.name}" if name == OPENED and path else name,
        accept_new_options=True,
        placeholder="Choose, or type a name",
        on_change=_take,
        help="An embedded checkpoint, or type any timm name, hf-hub:owner/name, or the path of a "
        ".safetensors or .pth file, and press Enter.",
    )
    if chosen is None:
        return Choice(None)
    if chosen == OPENED and study is not None:
        return Choice(_source_of(study), study)
    return Choice(services.Source(chosen, now.arch, now.weights != "random"))


def _take() -> None:
    name = st.session_state["checkpoint"]
    name = name.strip() if isinstance(name, str) else None
    if name == OPENED:
        selection.change(study=OPENED, checkpoint=None, arch=None, weights=None, target=None, image=None)
    else:
        selection.change(study=None, checkpoint=name, arch=None, weights=None, target=None)


def _source_of(study: "Study") -> services.Source:
    attributes = study.data.attrs
    return services.Source(str(attributes["model"]), str(attributes.get("architecture")) or None)


def details(choice: Choice, checkpoint: "Checkpoint | None", *, loading: bool) -> None:
    """What the checkpoint is, how it wants its images, and how well it can be read."""
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
    layout = checkpoint.layout
    prefix = [kind for kind in dict.fromkeys(layout.kinds) if kind != "patch"]
    counts = [f"{layout.kinds.count(kind)} {kind}" for kind in prefix]
    rows, columns = layout.grid
    tokens = " + ".join([*counts, f"{rows} × {columns} patches of {layout.patch_px[1]:g} px"])
    heads = set(checkpoint.n_heads)
    per_layer = f"{heads.pop()} heads each" if len(heads) == 1 else f"{checkpoint.n_heads} heads"
    facts: dict[str, Any] = {
        "Architecture": checkpoint.architecture,
        "Attention": f"{checkpoint.n_layers} layers, {per_layer}",
        "Tokens": tokens,
        "Classes": len(checkpoint.labels) or "none: features only",
        "Input": checkpoint.preprocessing.describe(),
        "Weights": f"sha256 {checkpoint.digest[:12]}…",
    }
    lines = "".join(f"<dt>{key}</dt><dd>{_escaped(str(value))}</dd>" for key, value in facts.items())
    st.html(f'<dl class="hs-facts">{lines}</dl>')
    st.caption(checkpoint.report.summary)
    st.dataframe(
        [
            {
                "layer": row["layer"],
                "module": row["module"],
                "heads": row["n_heads"],
                "parity": None if row["parity"] is None else f"{row['parity']:.0e}",
                "status": row["reason"] or row["status"],
            }
            for row in checkpoint.report.rows
        ],
        hide_index=True,
        height=180,
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
