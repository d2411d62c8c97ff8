"""Sinks as hidden states show them: token norms, massive activations, and sink dimensions."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ...models.checkpoint import Checkpoint
from ...models.layers import Layer
from ...models.sinks import robust_limit

MASSIVE_Z = 6.0
"""How far out a massive activation is, in robust standard deviations of ln |x|. The largest of a
million Gaussian numbers is at 2.4."""
LEAST_RATIO = 50.0
"""What is no more than this many times the median magnitude is not massive, however alike the
others are."""
SUN_VALUE, SUN_RATIO = 100.0, 1000.0
"""Sun et al., "Massive Activations in Large Language Models" (2024), section 2: |x| above 100, and
about 1000 times the median magnitude or more."""
KANG_TAU = 20.0
"""Kang et al., "See What You Are Told" (2025), section 4: φ(x) of a sink token is at least this."""
N_LARGEST = 8
"""Of each image and layer, how many of the largest activations are looked at."""

OnHidden = Callable[[Layer, Float[Tensor, "image token channel"]], None]


@contextmanager
def hidden_states(checkpoint: Checkpoint, on_layer: OnHidden) -> Iterator[None]:
    """Show what each layer's block gives (the residual stream after it), by token, while the
    context lasts. Layers whose block gives no tokens (pooling) are left out.
    """
    runs: dict[str, int] = {}

    def hook(name: str, layers: list[Layer]) -> Callable[..., None]:
        def see(_module: nn.Module, _args: Any, output: Any) -> None:
            run = runs.get(name, 0)
            runs[name] = run + 1
            for layer in layers:
                # Of a block that runs several times, each run is a layer of its own.
                if layer.sites[-1].call // layer.n_calls == run and layer.rows is not None:
                    values = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
                    on_layer(layer, layer.rows.take(values))

        return see

    def begin(_module: nn.Module, _args: Any) -> None:
        runs.clear()

    with ExitStack() as stack:
        stack.callback(checkpoint.model.register_forward_pre_hook(begin).remove)
        for name in dict.fromkeys(layer.block for layer in checkpoint.layers):
            layers = [layer for layer in checkpoint.layers if layer.block == name]
            module = checkpoint.model.get_submodule(name)
            stack.callback(module.register_forward_hook(hook(name, layers)).remove)
        yield


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """The size of one layer's activations in a batch; NaN where a hidden state is all 0."""

    median: Float[Tensor, " image"]
    """Of |x| over tokens and channels. Exact zeros are left out: nobody wrote them."""
    limit: Float[Tensor, " image"]
    """|x| over the median above which an activation is massive: exp(6 · 1.4826 MAD of ln |x|), and
    at least 50."""
    value: Float[Tensor, "image rank"]
    """The largest activations with their sign."""
    token: Int[Tensor, "image rank"]
    dimension: Int[Tensor, "image rank"]

    @property
    def ratio(self) -> Float[Tensor, "image rank"]:
        """|x| over the median."""
        return self.value.abs() / self.median[:, None]

    @property
    def massive(self) -> Tensor:
        """Which of them are massive, by the distribution."""
        return self.ratio > self.limit[:, None]

    @property
    def massive_by_sun(self) -> Tensor:
        """Which of them are massive by the thresholds of Sun et al."""
        return (self.value.abs() > SUN_VALUE) & (self.ratio > SUN_RATIO)


def magnitudes(hidden: Float[Tensor, "image token channel"]) -> Magnitudes:
    """How large the activations of a layer are, and the largest of them."""
    flat = hidden.flatten(1).to(torch.promote_types(hidden.dtype, torch.float32))
    size = flat.abs()
    written = torch.where(size > 0, size, torch.nan)
    median = written.nanmedian(-1).values
    limit = robust_limit(written / median[:, None], MASSIVE_Z).clamp_min(LEAST_RATIO)
    top = size.topk(min(N_LARGEST, size.shape[-1])).indices
    n_channels = hidden.shape[-1]
    return Magnitudes(median, limit, flat.gather(1, top), top // n_channels, top % n_channels)


def token_norms(
    hidden: Float[Tensor, "image token channel"],
) -> tuple[Float[Tensor, " image"], Float[Tensor, " image"], Int[Tensor, " image"]]:
    """The largest ‖x_t‖₂ over tokens t, the median, and which token has the largest."""
    norms = hidden.to(torch.promote_types(hidden.dtype, torch.float32)).norm(dim=-1)
    largest = norms.max(-1)
    return largest.values, norms.quantile(0.5, dim=-1), largest.indices


def sink_value(
    hidden: Float[Tensor, "image token channel"], dimensions: Int[Tensor, " dimension"]
) -> Float[Tensor, "image token"]:
    """φ(x) = max_{d in D} |x_d| / RMS(x) of each token, D the sink dimensions: between 0 and the
    square root of the number of channels, which it is where all of a token's energy lies in one.
    Kang et al. (2025), equation 4.
    """
    exact = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    largest = exact[..., dimensions.to(exact.device)].abs().amax(-1)
    rms = exact.square().mean(-1).sqrt()
    return torch.where(rms > 0, largest / rms, 0)


def tau_of(values: Float[Tensor, " value"], n_channels: int) -> float:
    """Above which φ a token is marked: the outlier limit of φ over all tokens and images of a
    layer, but where at least a sixteenth and at most half of its energy lies in one dimension.

    τ = 20 of Kang et al. is beyond what φ can be with 400 channels or fewer.
    """
    limit = float(robust_limit(values))
    return min(max(limit, (n_channels / 16) ** 0.5), (n_channels / 2) ** 0.5)
