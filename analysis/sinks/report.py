"""Where the sinks of a checkpoint are, what they do, and by what thresholds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...models.checkpoint import Checkpoint
from ...models.layout import TokenLayout
from .mechanism import NONE, mechanism_of_heads


@dataclass(frozen=True)
class Limit:
    """A threshold that a report went by."""

    value: float
    """NaN where it is each head's or layer's own: the median of those is in `data`."""
    source: str
    """Where it comes from."""


@dataclass(frozen=True)
class TokenPlace:
    """A token of a layer, in words and on the grid."""

    index: int
    label: str
    """`"class"`, `"register 2"`, `"patch 3, 7"` (row, column)."""
    kind: str

    @classmethod
    def of(cls, layout: TokenLayout, index: int) -> "TokenPlace":
        """By its index in a layout."""
        return cls(index, list(layout.labels())[index], layout.kinds[index])


@dataclass(frozen=True)
class MassiveActivation:
    """One channel of one token that is far larger than all others of its hidden state."""

    layer: int
    token: TokenPlace
    dimension: int
    value: float
    """Mean over the images in which it is massive, in the units of the hidden state."""
    ratio: float
    """|value| over the median magnitude of the hidden state: mean over the same images."""
    limit: float
    """The ratio above which it counts: mean over the same images."""
    image_share: float
    """Of all images, how many have it."""
    by_sun: float
    """Of all images, in how many it is above 100 and above 1000 times the median (Sun et al.)."""


@dataclass(frozen=True)
class SinkToken:
    """A token that its hidden state marks as a sink (Kang et al.)."""

    layer: int
    token: TokenPlace
    sink_value: float
    """φ: its largest sink dimension over its root mean square, mean over the images."""
    image_share: float
    """Of all images, in how many φ is above the layer's τ."""
    by_kang: float
    """Of all images, in how many φ is at least 20."""


@dataclass(frozen=True)
class HeadSink:
    """The sink of one head, over images."""

    layer: int
    head: int
    token: TokenPlace
    """The key that gets most attention in most images."""
    score: float
    """Mean over images."""
    concentration: float
    """Median over images."""
    sink_share: float
    """Of the images, how many have a sink in this head."""
    constancy: float
    """Of the images, in how many the sink is that token."""
    agreement: float
    """Mean cosine between what keys get in one image and in another."""
    longest: float
    """Of the images, in how many the sink is the token of the largest norm before the layer: a
    sink that hidden states show. NaN where that is not known."""
    mechanism: str
    image_centric: bool

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same token in at least half of the images: a sink by its place, where
        others move with what is in the image."""
        return self.constancy >= 0.5


@dataclass(frozen=True, eq=False)
class SinkReport:
    """Sinks of a checkpoint over a set of images, from attention and from hidden states.

    `data` has the numbers of every image: `image layer head` of attention, `image layer` of hidden
    states, `layer head` over all images. Each variable has `long_name`, `units`, `description`.
    """

    model: str
    data: xr.Dataset
    massive: tuple[MassiveActivation, ...]
    """The largest first."""
    sink_dimensions: Mapping[int, tuple[int, ...]]
    """D_sink by the number of channels: those massive in at least half of the images in some layer
    of that width."""
    sink_tokens: tuple[SinkToken, ...]
    limits: Mapping[str, Limit]
    keys: tuple[TokenLayout, ...]
    """The keys of each layer: where a token index of `data` lies."""

    @property
    def n_images(self) -> int:
        return self.data.sizes["image"]

    @property
    def heads(self) -> tuple[HeadSink, ...]:
        """The heads with a sink in at least half of the images, the highest score first."""
        data, found = self.data, []
        for layer, head in np.argwhere(data["mechanism"].values != NONE).tolist():
            at = data.isel(layer=layer, head=head)
            if at["mechanism"].item() == "":
                continue
            found.append(
                HeadSink(
                    layer,
                    head,
                    TokenPlace.of(self.keys[layer], int(at["modal_token"])),
                    float(at["sink_score"].mean()),
                    float(at["sink_concentration"].median()),
                    float(at["sink_share"]),
                    float(at["sink_constancy"]),
                    float(at["sink_agreement"]),
                    float(at["sink_longest"]),
                    str(at["mechanism"].item()),
                    bool(at["image_centric"]),
                )
            )
        return tuple(sorted(found, key=lambda sink: -sink.score))

    @property
    def image_centric_heads(self) -> tuple[tuple[int, int], ...]:
        """`(layer, head)` of the heads that look at the image beside its sinks (Kang et al.)."""
        centric = self.data["image_centric"].values
        return tuple((layer, head) for layer, head in np.argwhere(centric).tolist())

    @property
    def has_none(self) -> bool:
        """Whether there is neither a head with a sink nor a massive activation."""
        return not self.heads and not self.massive

    def describe(self) -> str:
        """A few lines for people."""
        heads = self.heads
        n_heads = int(self.data["n_heads"].sum())
        lines = [
            f"{self.model}: {len(heads)} of {n_heads} heads have a sink ({self.n_images} images)"
        ]
        lines += [
            f"  layer {sink.layer} head {sink.head}: {_where(sink)}, score {sink.score:.2f}, "
            f"concentration {sink.concentration:.1f}, {sink.mechanism}"
            for sink in heads
        ]
        lines.append(f"{len(self.massive)} massive activations")
        lines += [
            f"  layer {one.layer}, {one.token.label}, dimension {one.dimension}: {one.value:.4g}, "
            f"{one.ratio:.0f} times the median (limit {one.limit:.0f}), in {one.image_share:.0%}"
            for one in self.massive
        ]
        return "\n".join(lines)


def _where(sink: HeadSink) -> str:
    if sink.is_fixed:
        return f"{sink.token.label} (in {sink.constancy:.0%} of images)"
    return f"a {sink.token.kind} token that moves with the image"


ATTENTION = {
    "sink_score": ("Sink score", "share", "max_j c_j, c_j the mean attention that key j gets."),
    "sink_concentration": ("Sink concentration", "ratio", "max_j c_j / median_j c_j."),
    "sink_token": ("Token that gets most attention", "token", "argmax_j c_j."),
    "n_sinks": ("Sinks", "keys", "Keys above the head's limit, from at least half of the queries."),
    "sink_lift": (
        "Lift of the strongest key",
        "ratio",
        "max_j of c_j over what it would be if no query chose.",
    ),
    "lift_limit": (
        "Limit of the lift",
        "ratio",
        "exp(median + 3.5 · 1.4826 MAD) of ln lift over the head's keys, and at least 4.",
    ),
    "value_ratio": (
        "Value of the sink",
        "ratio",
        "‖v_s‖ / median ‖v_j‖ of keys that are no sinks.",
    ),
    "value_limit": ("Limit of a small value", "ratio", "Below it, the sink's value is small."),
    "output_ratio": (
        "Output of the head",
        "ratio",
        "Median ‖o_i‖ / median ‖v_j‖, where it has a sink.",
    ),
    "rank_one": (
        "Output along one direction",
        "share",
        "σ₁² / Σ σ² of the output `query channel`.",
    ),
    "image_share": ("Attention to patches", "share", "Mean over queries."),
    "non_sink_share": ("Of it, to no sinks", "share", "The visual non-sink ratio of Kang et al."),
}
"""Long name, units and what it is, of each number by image, layer and head."""
HIDDEN = {
    "token_norm": ("Largest token norm", "norm", "max_t ‖x_t‖₂ after the layer."),
    "token_norm_median": ("Median token norm", "norm", "median_t ‖x_t‖₂ after the layer."),
    "token_norm_token": ("Token of largest norm", "token", "argmax_t ‖x_t‖₂."),
    "magnitude_median": ("Median magnitude", "activation", "median of |x|, exact zeros left out."),
    "largest_ratio": ("Largest activation", "ratio", "max |x| / median |x|."),
    "massive_limit": (
        "Limit of a massive activation",
        "ratio",
        "exp(6 · 1.4826 MAD) of ln |x|, and at least 50.",
    ),
    "sink_value": ("Largest φ", "ratio", "max_t max_{d in D} |x_td| / RMS(x_t); NaN without D."),
    "n_sink_tokens": ("Tokens marked", "tokens", "Those with φ above the layer's τ."),
}
"""The same, by image and layer."""


def over_images(
    checkpoint: Checkpoint,
    data: Mapping[str, np.ndarray],
    of_layers: Mapping[str, np.ndarray],
    mechanisms: np.ndarray,
) -> dict[str, tuple[np.ndarray, str, str, str]]:
    """Numbers `layer head` from those of every image: values, long name, units, description."""
    tokens = data["sink_token"]
    there = np.arange(tokens.shape[2])[None] < np.array(checkpoint.n_heads)[:, None]
    modal = np.full(there.shape, np.nan)
    constancy = modal.copy()
    for layer, head in np.argwhere(there).tolist():
        found, counts = np.unique(tokens[:, layer, head], return_counts=True)
        modal[layer, head] = found[counts.argmax()]
        constancy[layer, head] = counts.max() / len(tokens)
    longest = np.full(there.shape, np.nan)
    for layer in range(1, checkpoint.n_layers):
        before, own = checkpoint.layers[layer - 1].rows, checkpoint.layers[layer].layout.keys
        if before is not None and before.layout == own:
            same = tokens[:, layer] == of_layers["token_norm_token"][:, layer - 1, None]
            longest[layer] = np.where(there[layer], same.mean(0), np.nan)
    share = np.where(there, (data["n_sinks"] > 0).mean(0), np.nan)
    heads = np.where(there, mechanism_of_heads(mechanisms), "")
    return {
        "mechanism": (heads, "What the sink does", "", "none, no-op, broadcast or mixed"),
        "sink_share": (share, "Images with a sink", "share", "Of the images, by head."),
        "modal_token": (modal, "Most frequent sink", "token", "The token of most images."),
        "sink_constancy": (
            constancy,
            "Constancy of the sink",
            "share",
            "Share of the images whose most attended token is the most frequent one.",
        ),
        "sink_longest": (
            longest,
            "The sink is the longest token",
            "share",
            "Share of the images whose most attended token has the largest norm before the layer.",
        ),
    }


def dataset(
    of_heads: Mapping[str, np.ndarray],
    of_layers: Mapping[str, np.ndarray],
    over_all: Mapping[str, tuple[np.ndarray, str, str, str]],
    n_heads: tuple[int, ...],
) -> xr.Dataset:
    """Everything with its names."""
    variables: dict[str, xr.Variable] = {}

    def add(
        name: str, dims: tuple[str, ...], values: np.ndarray, told: tuple[str, str, str]
    ) -> None:
        long_name, units, description = told
        attributes = {"long_name": long_name, "units": units, "description": description}
        variables[name] = xr.Variable(dims, values, attributes)

    for name, values in of_heads.items():
        add(name, ("image", "layer", "head"), values, ATTENTION[name])
    for name, values in of_layers.items():
        add(name, ("image", "layer"), values, HIDDEN[name])
    for name, (values, *told) in over_all.items():
        dims = ("image", "layer", "head")[-values.ndim :]
        add(name, dims, values, (told[0], told[1], told[2]))
    add("n_heads", ("layer",), np.array(n_heads), ("Heads of the layer", "heads", ""))
    return xr.Dataset(variables)


Progress = Callable[[int], None]
"""Told how many images are done."""
