"""What can be read of a model's attention, checked against the model's own output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import HeadscopeError
from .interception import AttentionCall, Site, intercept
from .layout import TokenLayout

PARITY_LIMIT = 1e-4
"""Largest relative difference at which a reading counts as right.

In float32 a reading differs from a fused kernel by about 1e-6 (another order of summation); a
forgotten bias or rotary embedding differs by more than 1e-2.
"""

ROW_LIMIT = 1e-3
"""Largest distance of a row's sum from 1: far above rounding, far below any rescaling."""


@dataclass(frozen=True)
class Reading:
    """What capture makes of one attention module."""

    module: str
    kind: str
    """The module's class."""
    status: str
    """`"read"` or `"refused"`."""
    reason: str
    """Why it was refused; empty when it was read."""
    layer: int | None = None
    n_heads: int = 0
    queries: int = 0
    keys: int = 0
    channels: int = 0
    """Of all head outputs together."""
    parity: float | None = None
    """Largest difference between the module's output and the one made from the weights that were
    read, relative to the largest output; None where there is nothing to compare."""


@dataclass(frozen=True)
class CaptureReport:
    """What can be read of a model: every attention module, read or refused with the reason."""

    readings: tuple[Reading, ...]

    @property
    def layers(self) -> tuple[Reading, ...]:
        """The readings that are layers of a study, in the order in which they run."""
        return tuple(reading for reading in self.readings if reading.layer is not None)

    @property
    def refused(self) -> tuple[Reading, ...]:
        return tuple(reading for reading in self.readings if reading.layer is None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [asdict(reading) for reading in self.readings]

    @property
    def summary(self) -> str:
        """One sentence: how many layers were read, how well, and what was refused."""
        worst = max((reading.parity or 0.0 for reading in self.layers), default=0.0)
        text = f"{len(self.layers)} of {len(self.readings)} attention modules read"
        if self.layers:
            text += (
                f"; attention @ value differs from the model's own output by at most {worst:.1e}"
            )
        if self.refused:
            text += f"; {len(self.refused)} refused"
        return text + "."

    def __str__(self) -> str:
        lines = [f"{'layer':>5}  {'module':<24} {'heads':>5} {'queries':>7} {'keys':>5}  parity"]
        for reading in self.readings:
            layer = "–" if reading.layer is None else reading.layer
            parity = "" if reading.parity is None else f"{reading.parity:.1e}"
            lines.append(
                f"{layer:>5}  {reading.module:<24} {reading.n_heads:>5} {reading.queries:>7} "
                f"{reading.keys:>5}  {parity}"
            )
            if reading.reason:
                lines.append(f"{'':>7}refused: {reading.reason}")
        return "\n".join([*lines, self.summary])


def read(
    model: nn.Module, layout: TokenLayout, example: Float[Tensor, "1 channel height width"]
) -> tuple[CaptureReport, dict[Site, int]]:
    """Find every attention module of a model, and check what is read against its own output.

    Returns the report, and the layer of each site that can be read.

    Raises:
        HeadscopeError: no layer could be read.
    """
    calls: dict[Site, _Seen] = {}

    def on_call(call: AttentionCall) -> None:
        row_error = (call.weights.sum(-1) - 1).abs().max()
        shape = tuple(call.weights.shape)
        n_heads, queries, keys = shape[-3:]
        calls[call.site] = _Seen(
            n_heads, queries, keys, n_heads * call.value.shape[-1], float(row_error), len(shape)
        )

    with torch.inference_mode(), intercept(model, on_call), _record_io(model) as runs:
        output = model(example)
    if not isinstance(output, Tensor) or output.dim() != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise HeadscopeError(
            f"{type(model).__name__} gives {shape} for one image; expected one row of logits or "
            "features. Give it a pooling (global_pool) when it is built."
        )
    # Half precision rounds the two readings apart by a few of its own steps.
    limit = max(PARITY_LIMIT, 4 * torch.finfo(example.dtype).eps)

    modules = dict(model.named_modules())
    readings: list[Reading] = []
    layer_of: dict[Site, int] = {}
    for site, seen in calls.items():
        module = modules[site.module]
        parity = _parity(module, *runs[site.module])
        shared = sum(other.module == site.module for other in calls) > 1
        reason = _why_refused(seen, layout, parity, limit=limit, shared_module=shared)
        layer = None if reason else len(layer_of)
        if layer is not None:
            layer_of[site] = layer
        readings.append(
            Reading(
                str(site),
                type(module).__name__,
                "refused" if reason else "read",
                reason,
                layer,
                seen.n_heads,
                seen.queries,
                seen.keys,
                seen.channels,
                parity,
            )
        )
    ran = {site.module for site in calls}
    for name in _attention_modules(model):
        if name not in ran and not any(other.startswith(f"{name}.") for other in ran):
            kind = type(modules[name]).__name__
            reason = f"{kind} computed no softmax over keys; it has no map over the image"
            readings.append(Reading(name, kind, "refused", reason))
    report = CaptureReport(tuple(readings))
    if not report.layers:
        reasons = "; ".join(f"{r.module}: {r.reason}" for r in report.refused[:2])
        raise HeadscopeError(
            f"No attention of {type(model).__name__} could be read"
            + (f" ({reasons})." if reasons else ": it has no attention module that ran.")
        )
    return report, layer_of


@dataclass(frozen=True)
class _Seen:
    """What one attention looked like as it passed."""

    n_heads: int
    queries: int
    keys: int
    channels: int
    row_error: float
    """Largest distance of a row's sum from 1."""
    n_axes: int


def _why_refused(
    seen: _Seen, layout: TokenLayout, parity: float, *, limit: float, shared_module: bool
) -> str:
    """Empty where a site is one layer's attention from all tokens to all tokens."""
    if shared_module:
        return "several softmaxes share one module (differential attention): no single map"
    if seen.n_axes != 4:
        return f"its maps have {seen.n_axes} axes, not the four of image, head, query, key"
    if seen.queries != layout.n_tokens and seen.keys in (layout.n_patches, layout.n_tokens):
        return f"attention pooling: learned queries ({seen.queries}) have no place on the grid"
    if (seen.queries, seen.keys) != (layout.n_tokens, layout.n_tokens):
        return (
            f"{seen.queries} queries and {seen.keys} keys, where the model has {layout.n_tokens} "
            "tokens (windows, branches and pooled keys cannot be read yet)"
        )
    if not seen.row_error <= ROW_LIMIT:
        return f"the weights that meet the values do not sum to 1 (off by {seen.row_error:.1e})"
    if not parity <= limit:
        return f"its output differs by {parity:.1e} from the one made of the weights that were read"
    return ""


def _attention_modules(model: nn.Module) -> Sequence[str]:
    """Modules that are attention by their class's name: a census that capture has no part in."""
    named = [
        name
        for name, module in model.named_modules()
        if "attn" in type(module).__name__.lower() or "attention" in type(module).__name__.lower()
    ]
    return [name for name in named if not any(other.startswith(f"{name}.") for other in named)]


Run = tuple[tuple[Any, ...], dict[str, Any], Any]
"""Positional arguments, keyword arguments and output of a module's last call."""


@contextmanager
def _record_io(model: nn.Module) -> Iterator[dict[str, Run]]:
    """Keep the arguments and the output of every module's last call."""
    runs: dict[str, Run] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            runs[name] = (args, kwargs, output)

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            handle = module.register_forward_hook(keep(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield runs


def _parity(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> float:
    """Largest relative change of a module's output when its attention is made of the weights read.

    The module runs again on the same input; `weights @ value` takes the place of its own product
    and goes on through its projection.
    """

    fired = False

    def from_weights(call: AttentionCall) -> Tensor:
        nonlocal fired
        fired = True
        product = call.weights.to(call.value.dtype) @ call.value
        return product.reshape(call.output.shape)

    with torch.inference_mode(), intercept(module, from_weights):
        again = module(*args, **kwargs)
    if not fired:
        return float("inf")
    scale = output.abs().max().clamp_min(torch.finfo(output.dtype).tiny)
    return float((again - output).abs().max() / scale)
