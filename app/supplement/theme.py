"""The app's colours and font as Streamlit's variables, where there is no Streamlit."""

import tomllib
from pathlib import Path
from typing import Any

_CONFIG = Path(__file__).parent.parent / ".streamlit" / "config.toml"
_NAMES = {
    "primaryColor": "--st-primary-color",
    "backgroundColor": "--st-background-color",
    "secondaryBackgroundColor": "--st-secondary-background-color",
    "textColor": "--st-text-color",
    "borderColor": "--st-border-color",
    "font": "--st-font",
    "baseRadius": "--st-base-radius",
}


def style() -> str:
    """Light and dark, by the reader's system or as `data-theme` of the page says."""
    told = tomllib.loads(_CONFIG.read_text(encoding="utf-8"))["theme"]
    dark = _rules(told["dark"], ':root:not([data-theme="light"])')
    chosen = _rules(told["dark"], ':root[data-theme="dark"]')
    return "\n".join(
        [
            _rule(":root", told),
            _rules(told["light"], ":root"),
            f"@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}",
            f"@media screen {{\n{chosen}\n}}",
        ]
    )


def _rules(theme: dict[str, Any], where: str) -> str:
    return f"{_rule(where, theme)}\n{_rule(f'{where} .hs-aside', theme['sidebar'])}"


def _rule(where: str, theme: dict[str, Any]) -> str:
    lines = "".join(f" {_NAMES[key]}: {theme[key]};" for key in _NAMES if key in theme)
    return f"{where} {{{lines} }}"
