"""Colours of quantities, the same everywhere: sequential, colour-blind safe, perceptually even."""

from plotly.colors import sequential

NUMBERS: tuple[str, ...] = tuple(sequential.Viridis)
"""Numbers of heads, low to high."""
ATTENTION: tuple[str, ...] = tuple(sequential.Inferno)
"""Attention weights, none to largest."""


def payload() -> dict[str, list[str]]:
    """Anchors of each scale, as the browser takes them."""
    return {"numbers": list(NUMBERS), "attention": list(ATTENTION)}
