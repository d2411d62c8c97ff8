"""Looks for sinks: one pass over the images, and another where there are sink dimensions."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ...models.capture import watch
from ...models.checkpoint import Checkpoint, Images
from ...models.layers import Layer, LayerAttention
from ...models.layout import TokenLayout
from ...models.sinks import LEAST_FOLLOWERS, LEAST_LIFT, ROBUST_Z, KeyAttention, SinkRule
from .batches import BATCH_SIZE, batches, held
from .hidden import (
    KANG_TAU,
    LEAST_RATIO,
    MASSIVE_Z,
    Magnitudes,
    hidden_states,
    magnitudes,
    sink_value,
    tau_of,
    token_norms,
)
from .mechanism import BROADCAST_THEIRS, NO_OP_THEIRS, head_numbers, mechanism, rank_limit
from .report import (
    ATTENTION,
    HIDDEN,
    Limit,
    MassiveActivation,
    SinkReport,
    SinkToken,
    TokenPlace,
    dataset,
    over_images,
)

IMAGE_SHARE, NON_SINK_SHARE = 0.2, 0.5
"""Of Kang et al. (2025), section 5: a head whose patches get less is none of the image, and an
image-centric head gives at least ρ of it to patches that are no sinks."""
IN_HALF = 0.5


def find_sinks(
    checkpoint: Checkpoint,
    images: Images,
    *,
    lift: float | None = None,
    image_share: float = IMAGE_SHARE,
    non_sink_share: float = NON_SINK_SHARE,
    batch_size: int = BATCH_SIZE,
    progress: Callable[[int], None] | None = None,
) -> SinkReport:
    """Sinks of attention, massive activations, and what each sink does.

    Args:
        checkpoint: from `load`.
        images: of any source, or a batch ready for the model.
        lift: how many times its share a key must get to be a sink; None: what is an outlier among
            the keys of its own head and image (`KeyAttention.limit`).
        image_share: attention to patches that an image-centric head has at least.
        non_sink_share: of it, what goes to patches that are no sinks: ρ of Kang et al.
        batch_size: images in one forward pass; nothing depends on it.
        progress: told how many images are done; a second pass counts on.

    Raises:
        HeadscopeError: there is no image, or one cannot be read.
    """
    images = held(images)
    seen = _Seen(checkpoint, SinkRule(lift))
    n_images = 0
    for batch in batches(checkpoint, images, batch_size):
        with checkpoint.lock, torch.inference_mode(), hidden_states(checkpoint, seen.hidden):
            watch(checkpoint, batch, seen.attention)
        n_images += len(batch)
        if progress is not None:
            progress(n_images)
    of_heads = {name: seen.of_heads(name) for name in ATTENTION}
    of_layers = {name: seen.of_layers(name) for name in HIDDEN if name in seen.layer_numbers}
    massive, dimensions = seen.massive(n_images)
    tokens, taus = (), np.full(checkpoint.n_layers, np.nan)
    if dimensions:
        marked = _Marked(checkpoint, dimensions)
        for batch in batches(checkpoint, images, batch_size):
            with checkpoint.lock, torch.inference_mode(), hidden_states(checkpoint, marked.see):
                checkpoint.run(batch)
        tokens, taus, largest, counts = marked.finish(n_images)
        of_layers |= {"sink_value": largest, "n_sink_tokens": counts}

    without = of_heads["n_sinks"] == 0
    rank = rank_limit(of_heads["rank_one"][without])
    mechanisms = mechanism(
        of_heads["value_ratio"], of_heads["value_limit"], of_heads["rank_one"], rank
    )
    over_all = over_images(checkpoint, of_heads, of_layers, mechanisms)
    with np.errstate(invalid="ignore"):
        centric = (of_heads["image_share"].mean(0) >= image_share) & (
            of_heads["non_sink_share"].mean(0) >= non_sink_share
        )
    over_all |= {
        "mechanism_of_image": (mechanisms, "What the sink does, by image", "", "As `mechanism`."),
        "sink_agreement": (
            seen.agreement(n_images),
            "Agreement of what keys get",
            "cosine",
            "Mean cosine between c of two different images; 1: the same in all.",
        ),
        "image_centric": (centric, "Looks at the image", "", "Image-centric after Kang et al."),
    }
    data = dataset(of_heads, of_layers, over_all, checkpoint.n_heads)
    data["tau"] = (
        ("layer",),
        taus,
        {"long_name": "Limit of φ", "units": "ratio", "description": "τ of each layer."},
    )
    keys = tuple(layer.layout.keys for layer in checkpoint.layers)
    limits = _limits(of_heads, lift, rank, taus, image_share, non_sink_share)
    return SinkReport(checkpoint.name, data, massive, dimensions, tokens, limits, keys)


class _Seen:
    """Takes in attention and hidden states as they pass."""

    def __init__(self, checkpoint: Checkpoint, rule: SinkRule) -> None:
        self._checkpoint = checkpoint
        self._rule = rule
        self._heads: dict[str, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self._layers: dict[str, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        self._directions: dict[int, Tensor] = {}
        """By layer, the sum over images of what keys get, each of length 1."""
        self._found: dict[int, dict[tuple[int, int], list[tuple[float, float, float, bool]]]] = {}
        self._images_with: dict[tuple[int, int], int] = defaultdict(int)
        """By layer and dimension, the images in which it is massive in some token."""
        self._tokens: dict[int, TokenLayout] = {}
        self._widths: dict[int, int] = {}

    @property
    def layer_numbers(self) -> set[str]:
        return set(self._layers)

    def attention(self, layer: LayerAttention) -> None:
        for image in layer.images:
            keys = KeyAttention.of(image)
            sinks = self._rule.sinks(keys)
            numbers = head_numbers(image, keys, sinks)
            received = keys.received.nan_to_num(nan=-1)
            most = received.max(-1)
            found = {
                "sink_score": most.values,
                "sink_concentration": most.values / keys.received.nanquantile(0.5, dim=-1),
                "sink_token": most.indices,
                "n_sinks": sinks.sum(-1),
                "sink_lift": keys.lift.nan_to_num(nan=-1).amax(-1),
                "lift_limit": keys.limit
                if self._rule.lift is None
                else torch.full_like(keys.limit, self._rule.lift),
                **vars(numbers),
            }
            for name, values in found.items():
                self._heads[name][layer.layer].append(values.double().cpu())
            exact = keys.received.nan_to_num().double().cpu()
            direction = (exact / exact.norm(dim=-1, keepdim=True)).sum(0)
            before = self._directions.get(layer.layer, torch.zeros_like(direction))
            self._directions[layer.layer] = before + direction

    def hidden(self, layer: Layer, values: Tensor) -> None:
        largest, middle, token = token_norms(values)
        sizes = magnitudes(values)
        found = {
            "token_norm": largest,
            "token_norm_median": middle,
            "token_norm_token": token,
            "magnitude_median": sizes.median,
            "largest_ratio": sizes.ratio[:, 0],
            "massive_limit": sizes.limit,
        }
        for name, numbers in found.items():
            self._layers[name][layer.index].append(numbers.double().cpu())
        self._widths[layer.index] = values.shape[-1]
        assert layer.rows is not None  # or the hidden state would not be here
        self._tokens[layer.index] = layer.rows.layout
        self._keep_massive(layer.index, sizes)

    def _keep_massive(self, layer: int, sizes: Magnitudes) -> None:
        kept = self._found.setdefault(layer, defaultdict(list))
        of_images: set[tuple[int, int]] = set()
        for image, rank in sizes.massive.nonzero().tolist():
            place = int(sizes.token[image, rank]), int(sizes.dimension[image, rank])
            of_images.add((image, place[1]))
            kept[place].append(
                (
                    float(sizes.value[image, rank]),
                    float(sizes.ratio[image, rank]),
                    float(sizes.limit[image]),
                    bool(sizes.massive_by_sun[image, rank]),
                )
            )
        for _, dimension in of_images:
            self._images_with[layer, dimension] += 1

    def of_heads(self, name: str) -> np.ndarray:
        """`image layer head`, NaN for heads that a layer does not have."""
        layers, n_heads = self._heads[name], self._checkpoint.n_heads
        found = [torch.cat(layers[layer]) for layer in range(len(n_heads))]
        stacked = np.full((len(found[0]), len(n_heads), max(n_heads)), np.nan)
        for layer, values in enumerate(found):
            stacked[:, layer, : n_heads[layer]] = values.numpy()
        return stacked

    def of_layers(self, name: str) -> np.ndarray:
        """`image layer`, NaN for layers without hidden states by token."""
        layers = self._layers[name]
        found = {layer: torch.cat(values).numpy() for layer, values in layers.items()}
        n_images = len(next(iter(found.values())))
        stacked = np.full((n_images, self._checkpoint.n_layers), np.nan)
        for layer, values in found.items():
            stacked[:, layer] = values
        return stacked

    def agreement(self, n_images: int) -> np.ndarray:
        """Mean cosine between two images: (‖Σ u‖² − n) / (n (n − 1)); NaN for one image."""
        n_heads = self._checkpoint.n_heads
        found = np.full((len(n_heads), max(n_heads)), np.nan)
        for layer, total in self._directions.items() if n_images > 1 else ():
            squares = total.square().sum(-1).numpy()
            found[layer, : n_heads[layer]] = (squares - n_images) / (n_images * (n_images - 1))
        return found

    def massive(
        self, n_images: int
    ) -> tuple[tuple[MassiveActivation, ...], Mapping[int, tuple[int, ...]]]:
        """Massive activations, the largest first, and sink dimensions by width."""
        listed, dimensions = [], defaultdict(set)
        for layer, places in self._found.items():
            layout = self._tokens[layer]
            for (token, dimension), found in places.items():
                value, ratio, limit, sun = np.array(found, dtype=float).mean(0).tolist()
                share = len(found) / n_images
                listed.append(
                    MassiveActivation(
                        layer,
                        TokenPlace.of(layout, token),
                        dimension,
                        value,
                        ratio,
                        limit,
                        share,
                        sun * share,
                    )
                )
        for (layer, dimension), count in self._images_with.items():
            if count >= IN_HALF * n_images:
                dimensions[self._widths[layer]].add(dimension)
        listed.sort(key=lambda one: -one.ratio)
        return tuple(listed), {width: tuple(sorted(dims)) for width, dims in dimensions.items()}


class _Marked:
    """Takes in φ of every token, once the sink dimensions are known."""

    def __init__(self, checkpoint: Checkpoint, dimensions: Mapping[int, tuple[int, ...]]) -> None:
        self._n_layers = checkpoint.n_layers
        self._dimensions = {width: torch.tensor(dims) for width, dims in dimensions.items()}
        self._values: dict[int, list[Tensor]] = defaultdict(list)
        self._of: dict[int, tuple[TokenLayout, int]] = {}

    def see(self, layer: Layer, values: Tensor) -> None:
        width = values.shape[-1]
        if width in self._dimensions:
            assert layer.rows is not None  # or the hidden state would not be here
            self._of[layer.index] = layer.rows.layout, width
            found = sink_value(values, self._dimensions[width])
            self._values[layer.index].append(found.double().cpu())

    def finish(
        self, n_images: int
    ) -> tuple[tuple[SinkToken, ...], np.ndarray, np.ndarray, np.ndarray]:
        """Marked tokens, τ of each layer, and by `image layer` the largest φ and how many."""
        taus = np.full(self._n_layers, np.nan)
        largest, counts = (np.full((n_images, self._n_layers), np.nan) for _ in range(2))
        listed: list[SinkToken] = []
        for layer, found in self._values.items():
            values, (layout, width) = torch.cat(found), self._of[layer]
            tau = taus[layer] = tau_of(values.flatten(), width)
            largest[:, layer] = values.amax(-1).numpy()
            above = values > tau
            counts[:, layer] = above.sum(-1).numpy()
            listed += [
                SinkToken(
                    layer,
                    TokenPlace.of(layout, token),
                    float(values[:, token].mean()),
                    float(above[:, token].double().mean()),
                    float((values[:, token] >= KANG_TAU).double().mean()),
                )
                for token in above.any(0).nonzero()[:, 0].tolist()
            ]
        return tuple(listed), taus, largest, counts


def _limits(
    of_heads: Mapping[str, np.ndarray],
    lift: float | None,
    rank: float,
    taus: np.ndarray,
    image_share: float,
    non_sink_share: float,
) -> dict[str, Limit]:
    def typical(values: np.ndarray) -> float:
        found = values[np.isfinite(values)]
        return float(np.median(found)) if len(found) else float("nan")

    own = (
        f"each head and image its own (`lift_limit`; this is their median): median + {ROBUST_Z:g} "
        f"robust standard deviations of ln lift over its keys, at least {LEAST_LIFT:g}"
    )
    return {
        "lift": Limit(typical(of_heads["lift_limit"]), own if lift is None else "given"),
        "followers": Limit(
            LEAST_FOLLOWERS, "share of queries that give a sink more than its share"
        ),
        "value": Limit(
            typical(of_heads["value_limit"]),
            "each head and image its own (`value_limit`; this is their median): outliers among the "
            f"values of the other keys, between {NO_OP_THEIRS:g} and {BROADCAST_THEIRS:g}, which "
            "are the limits of arXiv 2606.08105",
        ),
        "rank": Limit(
            rank,
            "median share along one direction of heads and images without a sink, between 2/3 "
            "(stable rank 1.5, arXiv 2606.08105) and 0.9",
        ),
        "massive": Limit(
            float("nan"),
            f"each layer and image its own (`massive_limit`): {MASSIVE_Z:g} robust standard "
            f"deviations of ln |x|, at least {LEAST_RATIO:g} times the median; Sun et al. (2024): "
            "above 100 and 1000 times the median",
        ),
        "tau": Limit(
            typical(taus),
            "each layer its own (`tau`; this is their median): outliers among φ of its tokens; "
            f"Kang et al. (2025): {KANG_TAU:g}",
        ),
        "image_share": Limit(image_share, "Kang et al. (2025), section 5"),
        "non_sink_share": Limit(non_sink_share, "ρ of Kang et al. (2025), section 5"),
    }
