"""What can be read of a model's attention, checked against the model's own output."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .errors import MISFIT, HeadscopeError, first_line
from .geometry import SHARED_KEYS, SHIFTED, UnplacedError, place_rows
from .grouping import GIVEN, Group, given_rows, group_calls
from .interception import AttentionCall, Site, intercept
from .layers import Common, Layer
from .layout import PATCH, TokenLayout
from .masks import unreached, without_masked
from .projection import AtMap, LinearMaps, Projection
from .readout import Readout
from .runs import attention_modules, block_of, parity_of, record_runs, tensors_of
from .tracing import Choices, Trace, trace

PARITY_LIMIT = 1e-4
"""Largest relative difference at which a reading counts as right.

In float32 a reading differs from a fused kernel by about 1e-6 (another order of summation); a
forgotten bias or rotary embedding differs by more than 1e-2.
"""

ROW_LIMIT = 1e-3
"""Largest distance of a row's sum from 1: far above rounding, far below any rescaling."""


@dataclass(frozen=True)
class Reading:
    """What capture makes of one attention."""

    module: str
    kind: str
    """The module's class."""
    status: str
    """`"read"` or `"refused"`."""
    reason: str = ""
    """Why it was refused; empty when it was read."""
    attention: str = ""
    """Who attends to whom, in words: `"global"`, `"shifted windows"`, `"class attention"`, …"""
    layer: int | None = None
    n_heads: int = 0
    queries: int = 0
    """Tokens that attend."""
    keys: int = 0
    """Tokens that are attended to."""
    query_grid: tuple[int, int] = (0, 0)
    key_grid: tuple[int, int] = (0, 0)
    windows: int = 0
    channels: int = 0
    """Of all head outputs together."""
    prefix: tuple[str, ...] = ()
    """Kinds of the query tokens that are no patches."""
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
        width = max([len("module"), *(len(reading.module) for reading in self.readings)])
        lines = [
            f"{'layer':>5}  {'module':<{width}} {'heads':>5} {'queries':>8} {'keys':>8}  "
            f"{'parity':<8} attention"
        ]
        for reading in self.readings:
            layer = "–" if reading.layer is None else reading.layer
            parity = "" if reading.parity is None else f"{reading.parity:.1e}"
            sides = (
                _tokens(reading.queries, reading.query_grid),
                _tokens(reading.keys, reading.key_grid),
            )
            lines.append(
                f"{layer:>5}  {reading.module:<{width}} {reading.n_heads or '':>5} {sides[0]:>8} "
                f"{sides[1]:>8}  {parity:<8} {reading.attention}".rstrip()
            )
            if reading.reason:
                lines.append(f"{'':>7}refused: {reading.reason}")
        return "\n".join([*lines, self.summary])


class NothingReadError(HeadscopeError):
    """A model of which no attention could be read."""

    def __init__(self, sentence: str, report: CaptureReport, size: tuple[int, int]) -> None:
        super().__init__(sentence)
        self.report = report
        """Which attention modules were refused; empty where there are none."""
        self.size = size
        """Of the input, in pixels."""


def _tokens(count: int, grid: tuple[int, int]) -> str:
    """A grid and what is beside it: `"14×14+1"`."""
    if not count:
        return ""
    patches = grid[0] * grid[1]
    beside = f"+{count - patches}" if count > patches else ""
    return f"{grid[0]}×{grid[1]}{beside}" if patches else f"{count}"


def read(
    model: nn.Module,
    example: Float[Tensor, "1 channel height width"],
    prefix_kinds: tuple[str, ...],
    readout: Readout,
    layout: TokenLayout | None = None,
) -> tuple[CaptureReport, tuple[Layer, ...], Trace]:
    """Find every attention of a model, place its tokens, and check it against the model's output.

    Args:
        model: in evaluation mode.
        example: an input.
        prefix_kinds: kinds of the model's prefix tokens, in their order.
        readout: of the model's output.
        layout: the tokens of attentions whose own cannot be traced.

    Returns:
        The report, the layers that can be read, in the order in which they run, and the trace of
        places through the model.

    Raises:
        HeadscopeError: no layer could be read.
    """
    calls: dict[Site, _Seen] = {}
    choices = Choices()
    values: dict[str, Tensor] = {}

    def on_call(call: AttentionCall) -> None:
        again = values.get(call.site.module) is call.value
        values[call.site.module] = call.value
        errors = _row_error(call.weights), _unmixed_error(call), _row_limit(call.weights)
        shape = tuple(call.weights.shape)
        seen = _Seen(*errors, call.value.shape[-1], shape, again, unreached(call))
        calls[call.site] = seen
        given[call.site] = maps.now(call.output)

    maps, given = LinearMaps(), dict[Site, AtMap]()
    with (
        torch.inference_mode(),
        choices.record(),
        record_runs(model) as runs,
        maps.record(),
        intercept(model, on_call),
    ):
        readout(model(example))
    # Half precision rounds the two readings apart by a few of its own steps.
    limit = max(PARITY_LIMIT, 4 * torch.finfo(example.dtype).eps)
    size = (example.shape[-2], example.shape[-1])
    modules = dict(model.named_modules())
    called = {name: modules[name] for name in runs}
    attending = {site.module for site in calls}
    blocks = {name: block_of(name, attending, called) for name in attending}
    traced = Trace({}, {}, {})
    try:
        traced = (
            traced
            if not calls
            else trace(
                model,
                size,
                channels=example.shape[1],
                choices=choices.made,
                outputs=set(blocks.values()),
            )
        )
    except MISFIT as error:
        if layout is None:
            raise HeadscopeError(
                f"{type(model).__name__} runs, but where its tokens are cannot be traced: "
                f"{first_line(error)} Say it: wrap(…, layout=TokenLayout(…))."
            ) from error
    readings: list[Reading] = []
    layers: list[Layer] = []
    parities = {name: parity_of(modules[name], runs[name]) for name in {s.module for s in calls}}
    shapes = {site: seen.shape for site, seen in calls.items()}
    for group in group_calls(shapes, runs, traced, size, prefix_kinds, layout):
        site = group.sites[0]
        name, kind = site.module, type(modules[site.module]).__name__
        parity = parities[name]
        try:
            layer = _layer(
                len(layers),
                group,
                calls,
                traced,
                size,
                prefix_kinds,
                block=blocks[name],
                routed=bool(choices.made),
                output=next(iter(tensors_of(runs[blocks[name]][0][-1])), None),
                projection=maps.taking(group.geometry, [given[site] for site in group.sites]),
            )
            if not parity <= limit:
                raise UnplacedError(
                    f"its output differs by {parity:.1e} from the one made of the weights that "
                    "were read"
                )
        except UnplacedError as refusal:
            readings.append(Reading(str(site), kind, "refused", str(refusal), parity=parity))
            continue
        layers.append(layer)
        queries, keys = layer.layout.queries, layer.layout.keys
        readings.append(
            Reading(
                module=str(site),
                kind=kind,
                status="read",
                attention=layer.kind,
                layer=layer.index,
                n_heads=layer.n_heads,
                queries=queries.n_tokens,
                keys=keys.n_tokens,
                query_grid=queries.grid,
                key_grid=keys.grid,
                windows=layer.layout.n_windows,
                channels=layer.n_heads * calls[site].channels,
                prefix=tuple(kind for kind in queries.kinds if kind != PATCH),
                parity=parity,
            )
        )
    ran = {site.module for site in calls}
    for name in attention_modules(model):
        if name not in ran and not any(other.startswith(f"{name}.") for other in ran):
            kind = type(modules[name]).__name__
            reason = (
                f"{kind} computed no softmax over keys that meets values; it has no map over the "
                "image"
                if name in runs
                else f"{kind} did not run"
            )
            readings.append(Reading(name, kind, "refused", reason))
    report = CaptureReport(tuple(readings))
    if not report.layers:
        reasons = "; ".join(f"{r.module}: {r.reason}" for r in report.refused[:2])
        raise NothingReadError(
            f"No attention of {type(model).__name__} could be read"
            + (f" ({reasons})." if reasons else ": it has no attention module that ran."),
            report,
            size,
        )
    routed = any(layer.routed for layer in layers)
    common = Common.of([layer.layout for layer in layers], routed=routed)
    return report, tuple(replace(layer, common=common) for layer in layers), traced


@dataclass(frozen=True)
class _Seen:
    """What one attention looked like as it passed."""

    row_error: float
    """Largest distance from 1 of the sum of a row that meets the values."""
    unmixed_error: float
    """The same of the softmax before heads were mixed; infinite where they were not."""
    row_limit: float
    """What such an error may be for rounding alone."""
    channels: int
    """Of one head's output."""
    shape: tuple[int, ...]
    """Of the weights."""
    same_values: bool = False
    """It meets the values that the module's last attention met."""
    unreached: Tensor | None = None
    """As `masks.unreached` finds it."""


def _row_error(weights: Tensor) -> float:
    return float((weights.sum(-1) - 1).abs().max())


def _row_limit(weights: Tensor) -> float:
    """Half precision rounds each weight by up to half a step: a few steps in all."""
    return max(ROW_LIMIT, 4 * torch.finfo(weights.dtype).eps)


def _unmixed_error(call: AttentionCall) -> float:
    unmixed = call.unmixed
    if unmixed is None or unmixed.shape != call.weights.shape:
        return float("inf")
    return _row_error(unmixed) if _is_mix(call.weights, unmixed) else float("inf")


def _is_mix(weights: Tensor, unmixed: Tensor) -> bool:
    """Whether each map is a weighted sum of a softmax's maps and a constant: by least squares."""
    maps, mixed = (
        each.double().movedim(-3, -1).flatten(0, -2).cpu() for each in (unmixed, weights)
    )
    maps = torch.cat([maps, torch.ones_like(maps[:, :1])], dim=1)
    rest = maps @ torch.linalg.lstsq(maps, mixed).solution - mixed
    return float(rest.abs().max()) <= _row_limit(weights) * float(mixed.abs().max())


def _layer(
    index: int,
    group: Group,
    calls: Mapping[Site, _Seen],
    traced: Trace,
    size: tuple[int, int],
    prefix_kinds: tuple[str, ...],
    *,
    block: str,
    routed: bool,
    output: Tensor | None,
    projection: Projection | None,
) -> Layer:
    """One layer of the calls of one run; `output` is what its block gave.

    Raises:
        UnplacedError: they are no attention between tokens.
    """
    geometry, seen = group.geometry, calls[group.sites[0]]
    if geometry is None:
        raise UnplacedError(group.refusal)
    mixed = seen.row_error > seen.row_limit
    if mixed and seen.unmixed_error > seen.row_limit:
        raise UnplacedError(
            f"the weights that meet the values do not sum to 1 (off by {seen.row_error:.1e})"
        )
    kind = f"{geometry.kind}, talking heads" if mixed else geometry.kind
    if routed and geometry.kind == SHARED_KEYS:
        kind = "routed windows"
    if any(calls[site].same_values for site in group.sites):
        # Two softmaxes over the same values, one subtracted from the other (arXiv 2410.05258): the
        # first half of the layer's heads are the first ones, the second half the subtracted ones.
        kind = f"{kind}, differential"
    layout = geometry.layout
    if geometry.kind == SHIFTED:
        masked = [calls[site].unreached for site in group.sites]
        layout = without_masked(layout, geometry.axes, masked)
    try:
        rows = place_rows(traced.outputs[block], size, prefix_kinds)
    except (UnplacedError, KeyError):
        rows = None
    if geometry.kind == GIVEN and output is not None:
        rows = given_rows(output, geometry.layout.queries)
    return Layer(
        index,
        group.sites,
        geometry.axes,
        layout,
        kind,
        block,
        rows,
        Common.of([layout]),
        mixed=mixed,
        routed=routed,
        n_calls=group.n_calls,
        projection=projection,
    )
