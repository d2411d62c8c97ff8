"""A number over layers, with its interval."""

from ..strength import trend_chart
from ..template import head_name
from .base import PaperFigure, Request, maker, unit_words


@maker("Trend over layers", uses=("other",))
def build(request: Request) -> PaperFigure:
    from ....analysis.trends import trend

    metric = request.other_metric
    name, _, ablation = metric.key.partition(":")
    found = trend(request.study, name, ablation=ablation or None)
    made = trend_chart(found, metric.mean)
    layers = [
        {
            "layer": layer,
            "head": "all",
            "mean": float(found.mean[0, layer]),
            "low": float(found.low[0, layer]),
            "high": float(found.high[0, layer]),
            "n_images": int(found.n_images[0, layer]),
            "quantity": found.long_name,
            "unit": found.units,
        }
        for layer in range(found.mean.shape[1])
    ]
    heads = [
        {
            "layer": layer,
            "head": head_name((layer, head)),
            "mean": float(metric.mean[layer, head]),
            "low": float("nan"),
            "high": float("nan"),
            "n_images": int(found.n_images[0, layer]),
            "quantity": found.long_name,
            "unit": found.units,
        }
        for layer in range(found.mean.shape[1])
        for head in range(request.n_heads[layer])
    ]
    caption = (
        f"{unit_words(metric)} over layers: mean over the heads of a layer (line) and every head "
        f"(dots). Bars: {found.confidence:.0%} interval over images ({found.method}). "
        f"{found.reason} {request.words}"
    )
    return PaperFigure(made, layers + heads, " ".join(caption.split()))
