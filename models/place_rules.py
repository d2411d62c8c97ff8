"""What functions of features mean for places: the rules by which a model runs on coordinates."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_map

from .along import Along, along_of
from .places import (
    FAINT,
    PAYLOADS,
    RULES,
    Arguments,
    Options,
    Places,
    main_of,
    move,
    places_in,
    prefix_beside,
    prefix_like,
    settle,
    settled,
)


def _set(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Written in part: what was one place for many is written out first."""
    target = args[0]
    if isinstance(target, Places):
        target.data = target.main.contiguous()
        target.keys = None if target.keys is None else target.keys.contiguous()
    return move(func, args, kwargs)


def _keep(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """What leaves a place where it is: the first places among the arguments."""
    del func
    return places_in((args, kwargs))[0]


def _cast(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Places stay what they are; a parameter may take their precision."""
    if isinstance(args[0], Places):
        return args[0]
    return func(*tree_map(main_of, args), **tree_map(main_of, kwargs))


def _view(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Places that repeat themselves lie otherwise in memory than features: copied if need be."""
    sizes = not isinstance(args[-1], torch.dtype)
    return move(Tensor.reshape if sizes else func, args, kwargs)


def _sum(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Two streams of tokens meet, or scores and a bias, or places and parameters."""
    del func, kwargs
    a, b = args[:2]
    if not (isinstance(a, Places) and isinstance(b, Places)):
        return _spread(a if isinstance(a, Places) else b, a, b)
    if (a.keys is None) != (b.keys is None):
        return _spread(b if a.keys is None else a, a, b)
    along = a.along if a.dim() >= b.dim() else b.along
    keys = None if a.keys is None else _met(a.keys, cast(Tensor, b.keys), along)
    return Places.of(_met(a.main, b.main, along), along, keys)


def _met(a: Tensor, b: Tensor, along: Along | None) -> Tensor:
    """The mean of two; along axes on which both only repeat themselves, it is taken once."""
    shape = torch.broadcast_shapes(a.shape, b.shape)
    a, b = a.expand(shape), b.expand(shape)
    for axis, strides in enumerate(zip(a.stride(), b.stride(), strict=True)):
        if not any(strides):
            a, b = a.narrow(axis, 0, 1), b.narrow(axis, 0, 1)
    return settled(a + b, along).expand(shape)


def _first(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Gates, scales and differences: the places of the larger, else the first."""
    del func
    both = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    places = [a for a in both if isinstance(a, Places)]
    with_keys = [a for a in places if a.keys is not None]
    return _spread(max(with_keys or places, key=Tensor.numel), *both)


def _spread(places: Places, *operands: Any) -> Places:
    """Places in the shape to which the operands broadcast."""
    shape = torch.broadcast_shapes(*(a.shape for a in operands if isinstance(a, Tensor)))
    if places.shape == shape:
        return places
    main = places.main.expand(shape)
    keys = None if places.keys is None else places.keys.expand(shape)
    return Places.of(main, places.along, keys)


def _linear(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    del func
    places, weight = args[0], kwargs["weight"] if "weight" in kwargs else args[1]
    return _per_channel(places, -1, weight.shape[0])


def _blend(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """What averages tokens as it is."""
    return settle(move(func, args, kwargs))


def _per_channel(places: Places, dim: int, channels: int) -> Places:
    def spread(tensor: Tensor) -> Tensor:
        shape = list(tensor.shape)
        shape[dim] = channels
        if not tensor.stride(dim):
            return tensor.narrow(dim, 0, 1).expand(shape)
        return settled(tensor.mean(dim, keepdim=True), places.along).expand(shape)

    keys = None if places.keys is None else spread(places.keys)
    return Places.of(spread(places.main), places.along, keys)


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
_OF_KERNEL = ("stride", "padding", "output_padding")


def _convolution(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    transposed = "transpose" in func.__name__
    names = (*_TRANSPOSED, "dilation") if transposed else _CONVOLUTION
    given = dict(zip(names, args, strict=False)) | kwargs
    places, weight = given["input"], given["weight"]
    channels = weight.shape[1] * given.get("groups", 1) if transposed else len(weight)
    options = {key: given[key] for key in (*_OF_KERNEL, "dilation") if key in given}
    kernel = weight.new_ones(1, 1, *weight.shape[2:], dtype=places.dtype) / weight[0, 0].numel()

    def average(tensor: Tensor) -> Tensor:
        mean = tensor.mean(1, keepdim=True)
        out = func(mean, kernel, None, **options)
        # Of the same size: each place stays its own, at the border too.
        out = mean if out.shape == mean.shape else settled(out, places.along)
        return out.expand(-1, channels, *out.shape[2:])

    keys = None if places.keys is None else average(places.keys)
    return Places.of(average(places.main), places.along, keys)


def _max_pool(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    del func
    names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, args, strict=False)) | kwargs
    options = {k: given[k] for k in names[1:4] if k in given}
    options["ceil_mode"] = bool(given.get("ceil_mode", False))
    places = given["input"]
    return settle(Places.of(functional.avg_pool2d(places.main, **options), places.along))


def _average(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """A maximum over tokens lies, for all that is known of its place, amid them."""
    name = func.__name__
    places = args[0]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    if dim is None:
        return func(places.main)
    mean = move(Tensor.mean, (places, dim), {"keepdim": keep})
    return mean if name.startswith("a") else (mean, None)


def _product(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    """Scores tell the places of queries and keys; weights @ values are where the queries are."""
    del func, kwargs
    equation = args[:1] if isinstance(args[0], str) else ()
    operands = args[len(equation) :]
    if len(operands) == 1:  # einsum takes a list too
        operands = tuple(operands[0])
    beside = next(x for x in operands if isinstance(x, Places))
    a, b = (prefix_beside(x, beside) for x in operands[:2])

    if equation:
        left, right = _einsum_sides(equation[0], a, b)
    else:
        shape = (*torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        left, right = (lambda: _line(a, -1, shape)), (lambda: _line(b, -2, shape))
    if (
        isinstance(a, Places)
        and a.keys is not None
        and _share_queries(a.main[..., 0], a.keys[..., 0, :])
    ):
        return _per_channel(Places.of(a.keys.transpose(-2, -1), a.along), -1, b.shape[-1])
    if isinstance(a, Places) and (a.keys is not None or not isinstance(b, Places)):
        return left()
    if isinstance(b, Places) and (b.keys is not None or not isinstance(a, Places)):
        return right()
    scores, keys = left(), right()
    return Places.of(scores.main, scores.along, keys.main)


def _share_queries(queries: Tensor, keys: Tensor) -> bool:
    """Whether all windows have the same queries, one for each key (GC-ViT's global queries).

    Then a row is not where its query comes from, but where its window's token is.

    Args:
        queries: places of queries, `window ... token`.
        keys: places of keys.
    """
    if queries.dim() < 2 or queries.shape != keys.shape or len(queries) % PAYLOADS:
        return False

    def same(line: Tensor) -> bool:
        windows = line.unflatten(0, (PAYLOADS, -1))
        return bool((windows - windows[:, :1]).abs().max() < FAINT)

    return same(queries) and not same(keys)


def _line(places: Any, axis: int, shape: tuple[int, ...]) -> Places:
    """Places of rows (axis -1) or of columns (axis -2), the same along the whole line."""
    tensor = places.main
    tensor = tensor.mean(axis, keepdim=True) if tensor.stride(axis) else tensor.narrow(axis, 0, 1)
    return Places.of(settled(tensor, places.along).expand(shape), places.along)


def _einsum_sides(equation: str, a: Any, b: Any) -> tuple[Callable[[], Places], ...]:
    """Each side with ones in the place of the other."""

    def side(of: Places, position: int) -> Places:
        ones = [torch.ones_like(main_of(one), dtype=torch.float64) for one in (a, b)]

        def times(tensor: Tensor) -> Tensor:
            pair = [tensor if at == position else ones[at] for at in (0, 1)]
            return torch.einsum(equation, *pair)

        along = of.along
        if along is not None:
            numbers = along.numbers(of.main, PAYLOADS)
            along = along_of(times(numbers) / times(ones[position]), PAYLOADS)
        return Places.of(settled(times(of.main), along), along)

    return (lambda: side(a, 0)), (lambda: side(b, 1))


def _attention(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    del func
    names = ("query", "key", "value")
    given = dict(zip(names, args, strict=False)) | kwargs
    query, value = given["query"], given["value"]
    if not isinstance(query, Places):
        query = prefix_beside(query, next(x for x in given.values() if isinstance(x, Places)))
    query = query if isinstance(query, Places) else prefix_like(query)
    key = given["key"]
    if isinstance(key, Places) and _share_queries(query.main[..., 0], key.main[..., 0]):
        query = key
    return _per_channel(query, -1, value.shape[-1])


def _interpolate(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    # Bicubic weights are negative too: a place may only be averaged.
    if kwargs.get("mode") == "bicubic":
        kwargs = kwargs | {"mode": "bilinear"}
    return _blend(func, args, kwargs)


def _pad(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    # Whatever it is filled with is in no place.
    return move(func, args[:2], {key: kwargs[key] for key in ("pad",) if key in kwargs})


def _softmax(func: Callable[..., Any], args: Arguments, kwargs: Options) -> Any:
    del func, kwargs
    scores = args[0]
    keys = scores.main if scores.keys is None else scores.keys
    return Places.of(scores.main, scores.along, keys)


_SAME = (
    "layer_norm batch_norm group_norm rms_norm instance_norm normalize native_layer_norm gelu relu "
    "relu6 silu hardswish hardsigmoid hardtanh sigmoid tanh leaky_relu prelu elu selu celu mish "
    "softplus softsign logsigmoid exp log log1p sqrt rsqrt neg abs square pow clamp clamp_min "
    "clamp_max masked_fill dropout alpha_dropout feature_dropout "
    "erf sin cos nan_to_num reciprocal requires_grad fill zero"
)
_SCALES = (
    "mul rmul imul div rdiv truediv rtruediv itruediv true_divide rsub maximum minimum addcmul lerp"
)
RULES |= {
    **dict.fromkeys(_SAME.split(), _keep),
    **dict.fromkeys(("to", "type_as", "float", "double", "half", "bfloat16", "type"), _cast),
    "view": _view,
    **dict.fromkeys(("add", "radd", "iadd", "sub", "isub"), _sum),
    **dict.fromkeys(_SCALES.split(), _first),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose2d"), _convolution),
    **dict.fromkeys(("matmul", "bmm", "rmatmul", "einsum"), _product),
    **dict.fromkeys(("max", "min", "amax", "amin"), _average),
    "max_pool2d": _max_pool,
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
    "interpolate": _interpolate,
    "setitem": _set,
    "pad": _pad,
    "softmax": _softmax,
    **dict.fromkeys(
        ("mean", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"), _blend
    ),
}
