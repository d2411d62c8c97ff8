"""The most probable classes of one image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int


def top(
    probabilities: Float[np.ndarray, " label"], n: int = 5
) -> tuple[Int[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
    """The `n` most probable classes and their probabilities, largest first."""
    order = np.argsort(-probabilities, kind="stable")[:n]
    return order, probabilities[order]


def payload(
    classes: Sequence[int], probabilities: Sequence[float], labels: Sequence[str], *, target: int
) -> dict[str, Any]:
    """Rows for the browser; `target` is the class that importance is about."""
    return {
        "target": int(target),
        "rows": [
            {
                "index": int(index),
                "name": labels[index] if index < len(labels) else f"class {index}",
                "probability": float(probability),
            }
            for index, probability in zip(classes, probabilities, strict=True)
            if index >= 0
        ],
    }
