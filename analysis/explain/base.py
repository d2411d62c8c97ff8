"""What an explanation is, and the registry of methods."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.registry import Registry
from .target import Target


@dataclass(frozen=True, eq=False)
class Question:
    """What a method is asked: why these images have these scores."""

    checkpoint: Checkpoint
    batch: Float[Tensor, "image channel row column"]
    """Ready for the model; a plain tensor, which may be differentiated by."""
    target: Target
    output: Float[Tensor, "image output"]
    """Of the batch."""
    seed: int = 0
    """Of what is drawn at random."""
    tell: Callable[[float], None] = field(default=lambda _: None)
    """Told how far the method is, 0…1; what it raises stops the method."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The map that a method gives for each image, unscaled."""

    values: Float[np.ndarray, "image row column"]
    """On the cells that the method itself speaks of: patches of some layer's grid, or pixels."""
    residual: Float[np.ndarray, " image"] | None = None
    """Score − Σ values − what the method sets apart (a baseline's score, say): of methods whose
    parts sum to the whole. None for those that claim no such thing."""
    where: str = ""
    """What was read, where the method chooses: `"blocks.11.norm1"`."""
    heads: Float[np.ndarray, "image layer head row column"] | None = None
    """The map's parts by head, where the method has them; NaN where a layer has no such head."""
    notes: tuple[str, ...] = ()
    """Sentences on what a reader must know of this very result."""
    apart: Mapping[str, Float[np.ndarray, " image"]] = field(default_factory=dict)
    """What of the residual the method can name: `"biases"`, `"softmax"`, …"""


@dataclass(frozen=True)
class Option:
    """A choice that a method leaves to its user."""

    help: str
    choices: tuple[Any, ...] = ()
    """Empty: any value between `least` and `most`."""
    least: float | None = None
    most: float | None = None
    default: Any = None


Compute = Callable[..., Answer]
WhyNot = Callable[[Checkpoint], str]


@dataclass(frozen=True)
class Method:
    """A way to explain an output by a map over the image."""

    name: str
    """As it is typed: `"grad-cam"`."""
    long_name: str
    description: str
    """What is computed (formula), how to read it, source, where we deviate."""
    compute: Compute
    """`(question, **options)` to an answer."""
    options: Mapping[str, Option]
    signed: bool
    """Whether negative values mean that a place speaks against the target."""
    of_target: bool
    """Whether it speaks of the target at all; else it shows where the model looks, or what is
    there, and is the same for every class."""
    slow: bool
    """Takes hundreds of forward passes."""
    why_not: WhyNot
    """Why it does not fit a checkpoint, in a sentence; empty where it does."""


_METHODS = Registry[Method]("explanation methods", folder=__package__)


def explanation(
    *,
    long_name: str,
    signed: bool,
    of_target: bool = True,
    slow: bool = False,
    why_not: WhyNot = lambda _: "",
    **options: Option,
) -> Callable[[Compute], Compute]:
    """Register a function as the method of its name (`grad_cam` is typed `grad-cam`).

    Its docstring is the description; its keyword-only parameters are the options, each with an
    `Option` of the same name here and its default in the signature.
    """

    def register(function: Compute) -> Compute:
        parameters = {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        if parameters.keys() != options.keys():
            raise ValueError(f"options of {function.__name__}: {[*parameters]} ≠ {[*options]}")
        name = function.__name__.replace("_", "-")
        method = Method(
            name,
            long_name,
            " ".join((function.__doc__ or "").split()),
            function,
            {
                key: Option(**(vars(option) | {"default": parameters[key]}))
                for key, option in options.items()
            },
            signed=signed,
            of_target=of_target,
            slow=slow,
            why_not=why_not,
        )
        _METHODS.add(name, method, file=function.__module__)
        return function

    return register


def explanations() -> Mapping[str, Method]:
    """Every registered method by name."""
    return _METHODS.all
