"""How good patterns are: silhouettes by number, errors of the training."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from .template import colours, figure


def silhouette_chart(
    choices: Sequence[int],
    silhouettes: Sequence[float],
    chosen: tuple[int, float],
    *,
    chosen_words: str,
    dark: bool = False,
) -> go.Figure:
    """Mean silhouette by number of clusters; the number that is shown stands out."""
    paint = colours(dark=dark)
    line = go.Scatter(
        x=[int(k) for k in choices],
        y=[float(s) if np.isfinite(s) else None for s in silhouettes],
        mode="lines+markers",
        name="k-means",
        line={"color": paint.faint, "width": 1.5},
        marker={"size": 6, "color": paint.faint},
        hovertemplate="%{x} patterns<br>silhouette %{y:.3f}<extra></extra>",
    )
    k, value = chosen
    mark = go.Scatter(
        x=[k],
        y=[value if np.isfinite(value) else None],
        mode="markers",
        name=chosen_words,
        marker={"size": 13, "color": paint.accent, "symbol": "diamond"},
        hovertemplate="%{x} patterns<br>silhouette %{y:.3f}<extra></extra>",
    )
    return figure(
        *([line] if len(choices) else []),
        mark,
        dark=dark,
        height=260,
        xaxis={"title": {"text": "number of patterns"}, "zeroline": False, "dtick": 1},
        yaxis={"title": {"text": "mean silhouette<br>(−1 to 1)"}, "rangemode": "tozero"},
        showlegend=True,
    )


def training_chart(
    fitted: Sequence[float],
    watched: Sequence[float],
    held_out: tuple[float, float],
    *,
    dark: bool = False,
) -> go.Figure:
    """Errors by epoch, and of the held-out images at the end: the autoencoder's and PCA's."""
    paint = colours(dark=dark)
    n = max(len(fitted), 1)
    shown = "epoch %{x}<br>%{y:.4f}<extra></extra>"
    own, pca = held_out
    traces = [
        go.Scatter(
            x=list(range(1, len(fitted) + 1)),
            y=[float(each) for each in fitted],
            name="images that it learns from",
            mode="lines",
            line={"color": paint.faint, "width": 1.5},
            hovertemplate=shown,
        ),
        go.Scatter(
            x=list(range(len(watched))),
            y=[float(each) for each in watched],
            name="images that end the training",
            mode="lines",
            line={"color": paint.second, "width": 2},
            hovertemplate=shown,
        ),
        go.Scatter(
            x=[0, n],
            y=[pca, pca],
            name="held-out images, PCA",
            mode="lines",
            line={"color": paint.third, "width": 1.5, "dash": "dash"},
            hovertemplate="PCA: %{y:.4f}<extra></extra>",
        ),
        go.Scatter(
            x=[0, n],
            y=[own, own],
            name="held-out images, autoencoder",
            mode="lines",
            line={"color": paint.accent, "width": 1.5, "dash": "dash"},
            hovertemplate="autoencoder: %{y:.4f}<extra></extra>",
        ),
    ]
    return figure(
        *traces,
        dark=dark,
        height=260,
        xaxis={"title": {"text": "epoch (0: PCA, where it begins)"}, "zeroline": False},
        yaxis={"title": {"text": "squared error of a map<br>(of √share)"}, "rangemode": "tozero"},
        showlegend=True,
        legend={"font": {"size": 11}},
    )
