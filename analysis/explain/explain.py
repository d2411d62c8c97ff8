"""The front door: maps over images for one decision, by any method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ...models.batch_norm import sound_batch_norm
from ...models.checkpoint import Checkpoint, Images
from ...models.errors import HeadscopeError
from .base import Answer, Method, Option, Question, explanations
from .target import Classes, Features, Target, target_of


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a batch of images has the scores that it has: a signed map for each, unscaled."""

    method: Method
    options: Mapping[str, Any]
    values: Float[np.ndarray, "image row column"]
    """On cells of `cell_px`; what they mean is the method's to say. Comparable between images of
    one method, not between methods."""
    cell_px: tuple[float, float]
    """Height and width of a cell, in pixels of the model's input."""
    target: str
    """What was explained, in words."""
    classes: Int[np.ndarray, " image"] | None
    """The class of each image that was explained; None where it was no class."""
    score: Float[np.ndarray, " image"]
    residual: Float[np.ndarray, " image"] | None
    """What of the score the map does not account for; None where the method makes no such claim."""
    heads: Float[np.ndarray, "image layer head row column"] | None
    """Parts by head, where the method has them."""
    where: str
    """What of the model was read, where the method chooses."""
    notes: tuple[str, ...]
    apart: Mapping[str, Float[np.ndarray, " image"]]
    """What of the residual the method can name: `"biases"`, `"softmax"`, …"""


def explain(
    checkpoint: Checkpoint,
    images: Images,
    method: str = "grad-cam",
    *,
    target: Classes | Target = None,
    against: Classes = None,
    features: Features | None = None,
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    **options: Any,
) -> Explanation:
    """A map over each image for one decision of the model.

    Args:
        checkpoint: from `load`.
        images: one or several, or a batch ready for the model.
        method: one of `explanations()`.
        target: class by index or label, or one for each image; None: each image's prediction. Or
            what `target_of` made of an output.
        against: contrastive: a class that the target is told from; `"runner-up"`: the next likely.
        features: in the place of classes, a vector of features that the output is to be like.
        batch_size: images in one pass.
        seed: of what is drawn at random.
        progress: told the share that is done; whatever it raises stops the work.
        options: of the method.

    Raises:
        HeadscopeError: no such method, option or class, or the method does not fit the model.
    """
    chosen = method_of(method)
    reason = chosen.why_not(checkpoint)
    if reason:
        raise HeadscopeError(f"{chosen.long_name} does not fit {checkpoint.name}: {reason}")
    settings = _settings(chosen, options)
    batch = checkpoint.batch(images)
    with torch.inference_mode(mode=False):
        # What was made in inference mode has no part in derivatives: neither images nor target.
        batch = batch.clone()
        output = torch.cat([checkpoint.run(part) for part in batch.split(batch_size)]).clone()
        if isinstance(target, Target):
            aim = target
        else:
            aim = target_of(checkpoint, output, target, against=against, features=features)
    answers: list[Answer] = []
    for start in range(0, len(batch), batch_size):
        images_of = slice(start, min(len(batch), start + batch_size))

        def tell(share: float, part: slice = images_of) -> None:
            if progress is not None:
                progress((part.start + share * (part.stop - part.start)) / len(batch))

        question = Question(
            checkpoint, batch[images_of], aim.take(images_of), output[images_of], seed, tell
        )
        tell(0)
        with torch.inference_mode(mode=False), sound_batch_norm():
            answers.append(chosen.compute(question, **settings))
        tell(1)
    values = np.concatenate([answer.values for answer in answers])
    height, width = checkpoint.preprocessing.size
    return Explanation(
        method=chosen,
        options=settings,
        values=values,
        cell_px=(height / values.shape[1], width / values.shape[2]),
        target=aim.words,
        classes=None if aim.classes is None else aim.classes.cpu().numpy(),
        score=aim.score(output).double().cpu().numpy(),
        residual=_joined([answer.residual for answer in answers]),
        heads=_joined([answer.heads for answer in answers]),
        where=answers[0].where,
        notes=tuple(dict.fromkeys(note for answer in answers for note in answer.notes)),
        apart=_joined_by_name(answers),
    )


def method_of(name: str) -> Method:
    """A method by name.

    Raises:
        HeadscopeError: there is none of that name.
    """
    methods = explanations()
    if name not in methods:
        raise HeadscopeError(f"There is no method {name!r}; there are: {', '.join(methods)}.")
    return methods[name]


def _settings(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: option.default for name, option in method.options.items()}
    for name, value in given.items():
        if name not in settings:
            known = ", ".join(settings) or "none"
            raise HeadscopeError(
                f"{method.long_name} has no option {name!r}; its options: {known}."
            )
        _check_option(method, name, method.options[name], value)
        settings[name] = value
    return settings


def _check_option(method: Method, name: str, option: Option, value: Any) -> None:
    if value == option.default:
        return
    if option.choices and value not in option.choices:
        expected = f"one of {', '.join(map(str, option.choices))}"
    elif option.least is not None and not (
        isinstance(value, int | float) and value >= option.least
    ):
        expected = f"a number from {option.least:g}"
    elif option.most is not None and not (isinstance(value, int | float) and value <= option.most):
        expected = f"a number up to {option.most:g}"
    else:
        return
    raise HeadscopeError(f"{method.long_name} takes as {name} {expected}, not {value!r}.")


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _joined_by_name(answers: list[Answer]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for answer in answers for name in answer.apart)
    return {
        name: np.concatenate(
            [answer.apart.get(name, np.zeros(len(answer.values))) for answer in answers]
        )
        for name in names
    }
