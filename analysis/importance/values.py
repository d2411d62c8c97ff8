"""What is read of the model's output when heads are removed together: one number an image."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError
from ...models.registry import Registry

Compute = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Value:
    """One number for each image, larger where the model does better."""

    name: str
    long_name: str
    units: str
    description: str
    needs_classes: bool
    compute: Compute
    """From the outputs `set image output`, the clean ones `image output` and the target's class
    index of each image, all in float64: `set image`."""

    def applies(self, checkpoint: Checkpoint) -> bool:
        return self.needs_classes == checkpoint.has_classes


_VALUES = Registry[Value]("values of the output")


def _value(
    *, long_name: str, units: str, needs_classes: bool = True
) -> Callable[[Compute], Compute]:
    def register(function: Compute) -> Compute:
        name, description = function.__name__, " ".join((function.__doc__ or "").split())
        _VALUES.add(name, Value(name, long_name, units, description, needs_classes, function))
        return function

    return register


def values(checkpoint: Checkpoint) -> dict[str, Value]:
    """The values that apply to a checkpoint, by name."""
    return {name: value for name, value in _VALUES.all.items() if value.applies(checkpoint)}


def value_named(name: str, checkpoint: Checkpoint) -> Value:
    """A value by name.

    Raises:
        HeadscopeError: there is none of that name for this checkpoint.
    """
    known = values(checkpoint)
    if name not in known:
        raise HeadscopeError(
            f"There is no value {name!r} for {checkpoint.name}; there are: {', '.join(known)}."
        )
    return known[name]


@_value(long_name="Probability of the target", units="probability")
def probability(outputs: Tensor, clean: Tensor, target: Tensor) -> Float[Tensor, "set image"]:
    """p(target), from 0 to 1: how sure the model is of the target class."""
    del clean
    return _of_target(outputs.softmax(-1), target)


@_value(long_name="Accuracy", units="share of images")
def accuracy(outputs: Tensor, clean: Tensor, target: Tensor) -> Float[Tensor, "set image"]:
    """1 where the target is the likeliest class, else 0; the mean over images is the accuracy.
    Where the targets are the model's own predictions it is the share that did not flip.
    """
    del clean
    return (outputs.argmax(-1) == target).to(outputs.dtype)


@_value(long_name="Logit of the target", units="logit")
def logit(outputs: Tensor, clean: Tensor, target: Tensor) -> Float[Tensor, "set image"]:
    """The target's logit, any number. It does not saturate as a probability does, but means
    little across images or checkpoints: what adds to all logits alike changes no prediction.
    """
    del clean
    return _of_target(outputs, target)


@_value(long_name="Margin of the target", units="logit")
def margin(outputs: Tensor, clean: Tensor, target: Tensor) -> Float[Tensor, "set image"]:
    """Logit of the target − largest logit of the others: positive where the target is predicted.
    It does not saturate as a probability does.
    """
    del clean
    index = target.expand(outputs.shape[:-1]).unsqueeze(-1)
    others = outputs.scatter(-1, index, -float("inf")).amax(-1)
    return _of_target(outputs, target) - others


@_value(long_name="Cosine with the clean features", units="cosine", needs_classes=False)
def feature_similarity(
    outputs: Tensor, clean: Tensor, target: Tensor
) -> Float[Tensor, "set image"]:
    """cos(f, f′), with f and f′ the output features with all heads and without the set, from −1
    to 1; for models without classes. 1: nothing is lost.
    """
    del target
    return functional.cosine_similarity(outputs, clean.expand_as(outputs), dim=-1)


def _of_target(scores: Tensor, target: Tensor) -> Tensor:
    index = target.expand(scores.shape[:-1]).unsqueeze(-1)
    return scores.gather(-1, index).squeeze(-1)
