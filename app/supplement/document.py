"""The HTML around the blocks."""

import base64
import hashlib
import html as markup
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import plotly

from .. import linked
from . import theme
from .blocks import packed

_FOLDER = Path(__file__).parent
_SHOWN = ("linked", "gallery", "predictions")
"""Components of the app that the page is made of."""
_ENTRY = "export default function "

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<noscript>
<p class="hs-sentence">This page draws itself: allow it JavaScript to see the study.</p>
</noscript>
<p class="hs-sentence" id="hs-opening" role="status">Opening the study…</p>
<script type="module">{script}</script>
{blocks}
</body>
</html>
"""


def html(title: str, blocks: Mapping[str, str]) -> bytes:
    """The file: what a study says stands in it packed, so that no word of it is read as HTML.

    Its policy keeps a browser from asking anybody for anything, and from running any script but
    those of headscope and plotly.
    """
    script, plotly_js = _script(), _plotly()
    told = {**blocks, "plotly": packed(plotly_js.encode())}
    return _PAGE.format(
        policy=markup.escape(_policy(script, plotly_js)),
        title=markup.escape(f"{title} · headscope"),
        style=_style(),
        script=script,
        blocks="\n".join(_block(name, text) for name, text in told.items()),
    ).encode()


def _block(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{markup.escape(name)}">{text}</script>'


def _policy(*scripts: str) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _script() -> str:
    """The app's components and what stands in for Python, in one module."""
    text = linked.script(*_SHOWN)
    for name in _SHOWN:
        text = text.replace(_ENTRY, f"function show{name.capitalize()}", 1)
    host = (path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.js")))
    text = "\n".join([text, "{", *host, "}"])  # a block: its names are its own
    # No part of a script may end it: in strings and comments, a backslash there means nothing.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _style() -> str:
    host = (_FOLDER / "host.css").read_text(encoding="utf-8")
    return "\n".join([theme.style(), linked.style(), host]).replace("</", "<\\/")


@cache
def _plotly() -> str:
    folder = Path(plotly.__file__).parent / "package_data"
    return (folder / "plotly.min.js").read_text(encoding="utf-8")
