"""The rules of relevance, as a mode in which any model runs.

Relevance goes backwards from a score S to the image: what a number x is owed is R = x · ∂̃S/∂x,
where ∂̃ is a derivative with some factors held constant. So the rules are few, a pass costs about
what its plain derivative does, and no module needs to be known (`Rules` says what each rule is).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..interception import MULTI_HEAD_BODY, SdpaArguments
from . import names
from .ledger import BIASES, CONSTANTS, OTHER, PREFIX, SOFTMAX, Ledger
from .linear import gamma_rule
from .norms import NORMS, standing_norm

Function = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """How relevance passes through what a network computes.

    Linear maps, convolutions, sums, averages and moves: in proportion to what each input
    contributes, R_i = Σ_j (x_i w_ij / z_j) R_j, which is the ε-rule with ε → 0 and what the plain
    derivative gives; with `gamma` > 0 the γ-rule, in which contributions of the sign of z_j count
    1 + γ times. What is divided by 0 there has no relevance to pass on. The others:
    """

    norms: bool = True
    """The standard deviation of a norm (and any root, norm or variance) is a constant."""
    activations: bool = True
    """An activation passes on all it is given: f(x) = x · [f(x)/x], the bracket a constant. A
    sigmoid is a gate: a constant factor of what it gates."""
    products: bool = True
    """Of two factors each takes half: attention and values, queries and keys, two branches of an
    MLP. Of a quotient the numerator takes all."""
    softmax: str = "taylor"
    """`"taylor"`: R_i = x_i (R_i − s_i Σ_j R_j), the first-order term about x of s = softmax(x),
    whose constant term s − ∂s/∂x · x keeps its part. `"constant"`: attention weights are constants
    and values take all."""
    gamma: float = 0.0
    """Of the γ-rule; 0: the ε-rule."""

    @classmethod
    def none(cls) -> "Rules":
        """Plain derivatives: relevance is input × derivative."""
        return cls(norms=False, activations=False, products=False)


@contextmanager
def propagate(
    rules: Rules, ledger: Ledger, *, of_pixels: Tensor | None = None
) -> Iterator["Propagation"]:
    """Let derivatives of what is computed within be those of the rules, on this thread.

    `of_pixels` is what the model is given, if one wants to know what embeds it.
    """
    with Propagation(rules, ledger, of_pixels) as mode:
        yield mode


@final
class Propagation(TorchFunctionMode):
    """Sees every function that is called, and holds constant what its rule says."""

    def __init__(self, rules: Rules, ledger: Ledger, of_pixels: Tensor | None) -> None:
        super().__init__()
        self._rules = rules
        self._ledger = ledger
        self._pixels = of_pixels
        self._in_multi_head = False
        self._readers: list[tuple[Any, Any]] = []
        self.without_rule: dict[str, None] = {}
        """Functions that no rule is about, by name; their plain derivative was taken."""

    def __torch_function__(
        self, func: Function, types: Any, args: Arguments = (), kwargs: Keywords | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled():
            return func(*args, **kwargs)
        result = self._seen(func, args, kwargs)
        if self._pixels is not None and any(arg is self._pixels for arg in args):
            self._readers += [(args, tensor) for tensor in _tensors((result,))]
        return result

    @property
    def embedding(self) -> tuple[Tensor, Tensor] | None:
        """Weights and result of the one convolution that reads the pixels, if nothing else does."""
        readers = [(args, made) for args, made in self._readers if made is not self._pixels]
        if len(readers) != 1 or readers[0][1].dim() != 4 or len(readers[0][0]) < 2:
            return None
        (_, weight, *_), made = readers[0]
        return (weight, made) if isinstance(weight, Tensor) and weight.dim() == 4 else None

    def _seen(self, func: Function, args: Arguments, kwargs: Keywords) -> Any:
        if func is functional.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        if not _active(args) and not _active(tuple(kwargs.values())):
            return func(*args, **kwargs)
        name = names.name_of(func)
        if name in names.PROPORTIONAL:
            return func(*args, **kwargs)
        if names.writes(func) and name not in names.AFFINE:
            # Its rule needs what was there before.
            changed = (args[0].clone(), *args[1:])
            result = self._by_rule(names.out_of_place(func), name, changed, kwargs)
            return args[0].copy_(result)
        return self._by_rule(func, name, args, kwargs)

    def _by_rule(self, func: Function, name: str, args: Arguments, kwargs: Keywords) -> Any:
        rules = self._rules
        if name in names.LINEAR:
            return self._linear(func, args, kwargs)
        if name in names.AFFINE:
            return self._affine(func, args, kwargs)
        if name == "batch_norm":
            return self._batch_norm(func, name, args, kwargs)
        if name == "scaled_dot_product_attention":
            return self._fused(SdpaArguments(*args, **kwargs))
        if name in names.SOFTMAX:
            return self._softmax(func, args, kwargs)
        if name in names.PRODUCTS and (rules.products or sum(1 for _ in _tensors(args)) < 2):
            return func(*self._shared(args), **kwargs)
        if name in names.SUMS_OF_PRODUCTS and rules.products:
            return self._sum_of_products(func, args, kwargs)
        if name in names.DIVISIONS and not _active(args[1:]):
            return func(*args, **kwargs)
        if name in names.DIVISIONS and rules.products:
            return func(args[0], args[1].detach(), *args[2:], **kwargs)
        if name in NORMS and rules.norms:
            return self._norm(name, args, kwargs)
        if name in ("var_mean", "std_mean") and rules.norms:
            spread, mean = func(*args, **kwargs)
            return spread.detach(), mean
        if rules.norms and (name in names.CONSTANT or _is_root(name, args)):
            return func(*args, **kwargs).detach()
        if name in names.ELEMENTWISE and rules.activations:
            return self._elementwise(func, args, kwargs)
        return self._by_derivative(func, name, args, kwargs)

    def _linear(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        names_of = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        x, weight, bias = names_of["input"], names_of["weight"], names_of.get("bias")
        gamma = self._rules.gamma
        if gamma and not weight.requires_grad:
            settings = {k: v for k, v in kwargs.items() if k not in ("input", "weight", "bias")}
            result, share = gamma_rule(func, x, weight, bias, args[3:], settings, gamma)
        else:
            result = func(*args, **kwargs)
            channel = -1 if names.name_of(func) == "linear" else 1
            share = None if bias is None else _times(_along(bias, result, channel))
        if share is not None:
            self._ledger.charge(BIASES, result, share, tokens_first=self._in_multi_head)
        return result

    def _affine(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        result = func(*args, **kwargs)
        if _constant(args) or _constant(tuple(kwargs.values())):
            several = isinstance(args[0], list | tuple)
            at_zero, zeros = names.out_of_place(func), _at_zero(args)
            self._ledger.charge(
                PREFIX if several else CONSTANTS,
                result,
                lambda slope: _times(at_zero(*zeros, **_at_zero_of(kwargs)))(slope),
            )
        return result

    def _sum_of_products(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        result = func(args[0], *self._shared(args[1:]), **kwargs)
        if not _active(args[:1]):
            offset = args[0] * kwargs.get("beta", 1)
            self._ledger.charge(CONSTANTS, result, _times(offset))
        return result

    def _shared(self, args: Arguments) -> Arguments:
        """The factors of a product, each of which is to take an equal share."""
        n_factors = sum(1 for _ in _tensors(args))
        if n_factors < 2:
            return args
        return _with_tensors(args, lambda factor: _slowed(factor, 1 / n_factors))

    def _softmax(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        weights = func(*args, **kwargs)
        if self._rules.softmax == "constant":
            return weights.detach()
        scores, given = args[0].detach(), weights.detach()
        dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)

        def share(slope: Tensor) -> Tensor:
            passed = given * (slope - (given * slope).sum(dim, keepdim=True))
            # A score of −∞ is of a key that is not there.
            return given * slope - passed * scores.masked_fill(given == 0, 0)

        self._ledger.charge(SOFTMAX, weights, share)
        return weights

    def _fused(self, attention: SdpaArguments) -> Tensor:
        value = attention.value_of_each_head
        with self:  # the steps of the fused function, one by one
            return attention.weights().to(value.dtype) @ value

    def _multi_head(self, args: Arguments, kwargs: Keywords) -> Any:
        before, self._in_multi_head = self._in_multi_head, True
        try:
            with self:
                return MULTI_HEAD_BODY(*args, **kwargs)
        finally:
            self._in_multi_head = before

    def _batch_norm(self, func: Function, name: str, args: Arguments, kwargs: Keywords) -> Tensor:
        order = ("input", "running_mean", "running_var", "weight", "bias", "training")
        given = dict(zip((*order, "momentum", "eps"), args, strict=False)) | kwargs
        if given.pop("training", False):
            return self._by_derivative(func, name, args, kwargs)
        given.pop("momentum", None)
        # Step by step: PyTorch's own derivative is wrong for one image (`sound_batch_norm`).
        proportional, offset = standing_norm(**given)
        result = proportional + offset
        self._ledger.charge(BIASES, result, _times(offset))
        return result

    def _norm(self, name: str, args: Arguments, kwargs: Keywords) -> Tensor:
        proportional, bias = NORMS[name](self._shared, *args, **kwargs)
        if bias is None:
            return proportional
        result = proportional + bias
        self._ledger.charge(BIASES, result, _times(bias))
        return result

    def _elementwise(self, func: Function, args: Arguments, kwargs: Keywords) -> Tensor:
        x, rest = args[0], args[1:]
        kwargs = {key: value for key, value in kwargs.items() if key != "inplace"}
        with torch.no_grad():
            # About 0 the quotient is taken a little beside it.
            tiny = math.sqrt(torch.finfo(x.dtype).eps)
            beside = x.masked_fill(x.abs() < tiny, tiny)
            at_zero = func(x.new_zeros(()), *rest, **kwargs)
            quotient = (func(beside, *rest, **kwargs) - at_zero) / beside
        result = x * quotient
        if bool((at_zero != 0).any()):
            result = result + at_zero
            self._ledger.charge(CONSTANTS, result, _times(at_zero))
        return result

    def _by_derivative(self, func: Function, name: str, args: Arguments, kwargs: Keywords) -> Any:
        """The plain derivative; what it does not account for is booked."""

        def watched(tensor: Tensor) -> Tensor:
            alias, value = tensor.view_as(tensor), tensor.detach()
            self._ledger.charge(OTHER, alias, lambda slope: -_times(value)(slope))
            return alias

        result = func(*_with_tensors(args, watched), **_with_tensors_of(kwargs, watched))
        for tensor in _tensors((result,)):
            if not _has_a_rule(name):
                self.without_rule.setdefault(name)
            self._ledger.charge(OTHER, tensor, _times(tensor.detach()))
        return result


def _has_a_rule(name: str) -> bool:
    known = (
        names.PRODUCTS
        | names.SUMS_OF_PRODUCTS
        | names.DIVISIONS
        | names.CONSTANT
        | names.ELEMENTWISE
    )
    piecewise = ("maximum", "minimum")  # of which the derivative says all
    return name in known or name in NORMS or name in ("var_mean", "std_mean", *piecewise)


def _is_root(name: str, args: Arguments) -> bool:
    exponent = args[1] if len(args) > 1 else None
    return name in ("pow", "float_power") and isinstance(exponent, int | float) and exponent < 1


def _times(offset: Tensor) -> Callable[[Tensor], Tensor]:
    # −∞ of a mask meets slope 0.
    return lambda slope: (slope * offset).masked_fill(slope == 0, 0)


def _along(bias: Tensor, result: Tensor, channel: int) -> Tensor:
    """A bias as it lies along the channels of a result."""
    return bias if channel == -1 else bias.view(-1, *(1,) * (result.dim() - 1 - channel))


def _slowed(tensor: Tensor, share: float) -> Tensor:
    """The same numbers, whose derivative is a share of itself."""
    alias = tensor.view_as(tensor)
    alias.register_hook(lambda slope: slope * share)
    return alias


def _tensors(args: Any) -> Iterator[Tensor]:
    """What comes of the image, lists and tuples opened."""
    for arg in args:
        if isinstance(arg, Tensor):
            if arg.requires_grad:
                yield arg
        elif isinstance(arg, list | tuple):
            yield from _tensors(arg)


def _active(args: Arguments) -> bool:
    return next(_tensors(args), None) is not None


def _constant(args: Any) -> bool:
    """Whether there is a number that does not come of the image."""
    return any(
        _constant(arg)
        if isinstance(arg, list | tuple)
        else isinstance(arg, int | float) or (isinstance(arg, Tensor) and not arg.requires_grad)
        for arg in args
    )


def _with_tensors(args: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same arguments, with another tensor in the place of each that comes of the image."""
    return type(args)(
        change(arg)
        if isinstance(arg, Tensor) and arg.requires_grad
        else _with_tensors(arg, change)
        if type(arg) in (list, tuple)
        else arg
        for arg in args
    )


def _with_tensors_of(kwargs: Keywords, change: Callable[[Tensor], Tensor]) -> Keywords:
    return dict(zip(kwargs, _with_tensors(tuple(kwargs.values()), change), strict=True))


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros((), dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


def _at_zero(args: Arguments) -> Arguments:
    return _with_tensors(args, _zeros)


def _at_zero_of(kwargs: Keywords) -> Keywords:
    return _with_tensors_of(kwargs, _zeros)
