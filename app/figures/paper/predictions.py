"""What the model says of the images, and how often it is right."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from ....models.errors import HeadscopeError
from ..template import LIGHT, figure
from .base import PaperFigure, Request, maker

_MOST = 30


@maker("Accuracy and predictions")
def build(request: Request) -> PaperFigure:
    study, data = request.study, request.study.data
    if "top_class" not in data:
        raise HeadscopeError(f"{study.model} has no classes, so there are no predictions.")
    done = np.flatnonzero(data["done"].values)
    likeliest = data["top_class"].values[:, 0].astype(int)
    probability = data["top_probability"].values[:, 0].astype(float)
    label = data["label"].values.astype(int) if "label" in data else np.full(len(likeliest), -1)
    rows: list[dict[str, Any]] = [
        {
            "image": str(data["image"].values[i]),
            "label": study.labels[label[i]] if label[i] >= 0 else "",
            "prediction": study.labels[likeliest[i]],
            "probability": float(probability[i]),
            "right": "" if label[i] < 0 else ("yes" if label[i] == likeliest[i] else "no"),
        }
        for i in done.tolist()
    ]
    known = done[label[done] >= 0]
    if not len(known):
        n = len(done)
        words = f"Predictions of {n:,} images; what is in them is not known. "
        return PaperFigure(None, rows, words + request.words)
    right = label[known] == likeliest[known]
    mean = float(right.mean())
    low, high = _wilson(int(right.sum()), len(known))
    classes = np.unique(label[known])[:_MOST]
    shares = [float(right[label[known] == each].mean()) for each in classes]
    counts = [int((label[known] == each).sum()) for each in classes]
    spans = [_wilson(round(s * n), n) for s, n in zip(shares, counts, strict=True)]
    names = [
        f"{_short(study.labels[int(each)])} ({n})" for each, n in zip(classes, counts, strict=True)
    ]
    bars = go.Bar(
        x=shares,
        y=list(range(len(names))),
        orientation="h",
        marker={"color": LIGHT.accent},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [b - s for s, (_, b) in zip(shares, spans, strict=True)],
            "arrayminus": [s - a for s, (a, _) in zip(shares, spans, strict=True)],
            "color": LIGHT.text,
            "thickness": 1.5,
            "width": 3,
        },
    )
    made = figure(
        bars,
        dark=False,
        height=80 + 24 * len(names),
        xaxis={"title": {"text": "accuracy (share of images)"}, "tickformat": ".0%", "dtick": 0.25}
        | {"range": [0, 1.0]},
        yaxis={"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False}
        | {"range": [len(names) - 0.5, -0.5]},
        bargap=0.3,
        margin={"l": 8, "r": 16, "t": 10, "b": 8},
    )
    caption = (
        f"Accuracy by class in the image (number of images in brackets); over all {len(known):,} "
        f"images with a known class {mean:.1%} (Wilson 95 % interval {low:.1%} to {high:.1%}). "
        f"Bars: Wilson 95 % intervals. The table has every image. {request.words}"
    )
    return PaperFigure(made, rows, caption, keep_height=True)


def _wilson(k: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share of images (Wilson, JASA 22, 1927)."""
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def _short(name: str) -> str:
    name = name.split(",")[0] if len(name) > 40 else name
    return name if len(name) <= 40 else name[:39] + "…"
