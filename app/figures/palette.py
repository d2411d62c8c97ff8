"""Colours of quantities, the same everywhere: colour-blind safe, perceptually even."""

from plotly.colors import diverging, sequential

NUMBERS: tuple[str, ...] = tuple(sequential.Viridis)
"""Numbers of heads without a sign, low to high."""
SIGNED: tuple[str, ...] = tuple(diverging.PuOr_r)
"""Numbers of heads with a sign, from minus the largest to the largest: the middle is 0."""
ATTENTION: tuple[str, ...] = ("rgb(0,0,4)", *sequential.Inferno[1:])
"""Attention weights, none to largest; Streamlit takes "#000004" for a placeholder of its own."""


def payload() -> dict[str, list[str]]:
    """Anchors of each scale as "#rrggbb", as the browser takes them."""
    scales = {"numbers": NUMBERS, "signed": SIGNED, "attention": ATTENTION}
    return {name: [_hex(colour) for colour in scale] for name, scale in scales.items()}


def _hex(colour: str) -> str:
    if colour.startswith("#"):
        return colour
    return "#" + "".join(f"{int(part):02x}" for part in colour[4:-1].split(","))
