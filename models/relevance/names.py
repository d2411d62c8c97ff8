"""Which functions are alike for relevance: by the names that PyTorch gives them."""

from collections.abc import Callable
from typing import Any, cast

import torch


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


LINEAR = frozenset({"linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"})
"""Weights, and a bias as the third argument."""

AFFINE = _set(
    """add sub subtract rsub cat concat concatenate hstack vstack stack where masked_fill lerp
    index_put masked_scatter scatter"""
)
"""Linear in what comes of the image; a constant among the arguments adds something of its own."""

PRODUCTS = _set(
    """mul multiply matmul mm bmm mv dot inner outer einsum tensordot bilinear rmatmul"""
)
SUMS_OF_PRODUCTS = frozenset({"addmm", "baddbmm", "addbmm", "addmv", "addcmul"})
DIVISIONS = frozenset({"div", "divide", "true_divide", "truediv"})

ELEMENTWISE = _set(
    """gelu silu mish hardswish hardtanh relu6 elu selu celu softplus tanh erf softsign logsigmoid
    tanhshrink softshrink hardshrink threshold exp expm1 log1p sin pow square float_power clamp
    clamp_min clamp_max clip"""
)
"""Functions of one number, other than the piecewise proportional ones."""

CONSTANT = _set(
    """sigmoid hardsigmoid sqrt rsqrt reciprocal norm vector_norm linalg_vector_norm matrix_norm var
    std rdiv rtruediv"""
)
"""Gates, and statistics that features are divided by: the signal takes all."""

SOFTMAX = frozenset({"softmax"})

PROPORTIONAL = _set(
    """abs adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d affine_grid alpha_dropout amax amin avg_pool1d avg_pool2d avg_pool3d
    bfloat16 broadcast_to broadcast_tensors channel_shuffle chunk clone conj contiguous copy cpu
    cuda cummax cumsum detach diag_embed diagonal diff double dropout dropout1d dropout2d dsplit
    expand expand_as feature_dropout fft fft2 fill flatten flip float fold gather get getitem grad
    half hsplit identity ifft ifft2 imag index_add index_copy index_select interpolate irfft
    irfft2 is_complex is_floating_point iter kthvalue leaky_relu masked_select max max_pool1d
    max_pool2d
    max_pool3d mean meshgrid min moveaxis movedim nan_to_num narrow neg negative
    new_empty new_full new_ones new_zeros pad permute pixel_shuffle pixel_unshuffle pos prelu ravel
    real register_hook relu repeat repeat_interleave requires_grad reshape reshape_as resolve_conj
    resolve_neg rfft rfft2 roll rot90 rrelu select select_scatter setitem slice_scatter sort split
    split_with_sizes squeeze sum swapaxes swapdims t take take_along_dim tensor_split tile to topk
    transpose tril triu type type_as unbind unflatten unfold unsqueeze upsample upsample_bicubic2d
    upsample_bilinear2d upsample_nearest2d view view_as view_as_complex view_as_real vsplit
    zero zeros_like ones_like empty_like full_like"""
)
"""f(x) = x · f′(x): moves, sums, averages, and what picks or scales numbers by their sign."""


def name_of(func: Callable[..., Any]) -> str:
    """What a function is called whichever way it is written: `+`, `add`, `add_`, `+=`: `"add"`."""
    name = getattr(func, "__name__", "").strip("_")
    return name[1:] if writes(func) and name in _IN_PLACE_OPERATORS else name


def writes(func: Callable[..., Any]) -> bool:
    """Whether it changes its first argument."""
    name = getattr(func, "__name__", "")
    if name.startswith("__"):
        return name.strip("_") in _IN_PLACE_OPERATORS
    return name.endswith("_")


def out_of_place(func: Callable[..., Any]) -> Callable[..., Any]:
    """The same function that leaves its arguments as they are."""
    if not writes(func):
        return func
    return cast(Callable[..., Any], getattr(torch.Tensor, name_of(func), func))


_IN_PLACE_OPERATORS = frozenset({"iadd", "isub", "imul", "itruediv", "idiv", "ipow", "imatmul"})
