"""The client-side components: plain JavaScript, no build step.

`LINKED` owns the linked plots and redraws them in the browser; `FEED` brings it the attention maps
and pixels, and `BRING` what each panel of the board draws, apart, so that they cross the wire once.
`AGAIN` asks for a fragment anew while something in it is under way.
Several scripts are joined into the one ES module of a component, which the browser loads once: a
script that is given to Streamlit travels with every drawing.
"""

import atexit
import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import plotly
import streamlit.components.v1 as components_v1
import streamlit.components.v2 as components_v2

_FOLDER = Path(__file__).parent


def _text(*names: str) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _board(suffix: str) -> list[str]:
    """Files of the board's panels; their names are the order on the page."""
    return [f"board/{path.name}" for path in sorted((_FOLDER / "board").glob(f"*.{suffix}"))]


_STYLE, _FOLDER_OF_SERVED = "style", "headscope_scripts"
_SCRIPTS: dict[str, tuple[str, ...]] = {}
"""Files of each component, in order; the last holds its entry."""


def style() -> str:
    """The style sheet of all components, with those of the board's panels."""
    return _text("linked.css", "atlas.css", "card.css", "what_if.css", *_board("css"))


def script(*names: str) -> str:
    """The sources of components, joined, each file once: an ES module."""
    return _text(*dict.fromkeys(file for name in names for file in _SCRIPTS[name]))


def _component(name: str, *scripts: str, html: str = "<div></div>") -> Any:
    _SCRIPTS[name] = scripts
    style_at, script_at = (_address(each) for each in (_STYLE, name))
    # isolate_styles=False: plotly's own style sheet does not reach into a shadow root.
    return components_v2.component(
        f"headscope_{name}",
        html=html,
        js="const load = (at) => import(new URL(at, document.baseURI).href);\n"
        f'const [, it] = await Promise.all([load("{style_at}"), load("{script_at}")]);\n'
        "export default it.default;",
        isolate_styles=False,
    )


@cache
def _served(name: str) -> str:
    """What the browser loads: the script of a component, or the style sheet of all, as a script."""
    if name != _STYLE:
        return script(name)
    put = "document.body.append(Object.assign(document.createElement('style'), {textContent: "
    return f"{put}{json.dumps(style())}}}));"


def _file_name(name: str) -> str:
    """It changes with what is in it, so that no browser keeps one of before."""
    return f"{name}-{hashlib.sha256(_served(name).encode()).hexdigest()[:12]}.js"


def _address(name: str) -> str:
    return f"component/{__name__}.{_FOLDER_OF_SERVED}/{_file_name(name)}"


@cache
def serve() -> None:
    """Let this server's pages load the scripts."""
    folder = Path(tempfile.mkdtemp(prefix="headscope-scripts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in (_STYLE, *_SCRIPTS):
        (folder / _file_name(name)).write_text(_served(name), encoding="utf-8")
    components_v1.declare_component(_FOLDER_OF_SERVED, path=str(folder))


FEED = _component("feed", "feed.js", "feed_entry.js")
BRING = _component("bring", "parts.js", "parts_entry.js")
AGAIN = _component("again", "again_entry.js")
GUIDE = _component(
    "guide",
    "basics.js",
    "tour.js",
    "lost.js",
    "last.js",
    "guide_entry.js",
    html='<div class="hs-brand"><h1>headscope</h1><button type="button" class="hs-help" '
    'aria-label="Show the tour" title="Show the tour">?</button></div>',
)
GALLERY = _component(
    "gallery",
    "basics.js",
    "gallery_entry.js",
    html='<div class="hs-gallery" role="group" aria-label="Pictures"></div>',
)
PREDICTIONS = _component(
    "predictions",
    "basics.js",
    "predictions_entry.js",
    html='<div class="hs-predictions" role="group" aria-label="Predictions"></div>',
)
EXPLANATION = _component(
    "explanation",
    "basics.js",
    "explanation_entry.js",
    html='<figure class="hs-map"></figure>',
)
WHAT_IF = _component(
    "what_if",
    "basics.js",
    "what_if_entry.js",
    html='<div class="hs-whatif"></div>',
)
SHEET = _component(
    "sheet",
    "basics.js",
    "profile.js",
    "sheet_entry.js",
    html='<div class="hs-sheet"></div>',
)
LINKED = _component(
    "linked",
    "basics.js",
    "feed.js",
    "tokens.js",
    "state.js",
    "about.js",
    "atlas.js",
    "montage.js",
    "overlay.js",
    "profile.js",
    "card_facts.js",
    "card_numbers.js",
    "card.js",
    "parts.js",
    "board.js",
    *_board("js"),
    "linked_entry.js",
    html='<div class="hs-root"></div>',
)


@cache
def plotly_address() -> str:
    """Where the page finds the plotly.js of the plotly wheel, relative to the page."""
    folder = Path(plotly.__file__).parent / "package_data"
    component = components_v1.declare_component("headscope_plotly", path=str(folder))
    return f"component/{component.name}/plotly.min.js"
