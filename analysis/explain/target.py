"""What an explanation is of: one differentiable number for each image."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.errors import HeadscopeError

RUNNER_UP = "runner-up"
"""As `against`: each image's likeliest class beside the target."""

Classes = int | str | Int[Tensor, " image"] | None
Features = Float[Tensor, "*image output"] | Float[np.ndarray, "*image output"]


@final
@dataclass(frozen=True, eq=False)
class Target:
    """One number for each image: a logit, a difference of two, or a likeness of features.

    Logits and not probabilities: a softmax near 1 has no slope, and lets the other classes in.
    """

    words: str
    """What the number is: `"logit of 'cat'"`."""
    classes: Int[Tensor, " image"] | None = None
    against: Int[Tensor, " image"] | None = None
    features: Float[Tensor, "image output"] | None = None
    """Unit vectors; the number is the cosine (`is_cosine`) or the product with them."""
    is_cosine: bool = True

    @property
    def n_images(self) -> int:
        given = self.features if self.classes is None else self.classes
        assert given is not None
        return len(given)

    def score(
        self,
        output: Float[Tensor, "variant output"],
        images: Int[Tensor, " variant"] | slice = slice(None),
    ) -> Float[Tensor, " variant"]:
        """The number for each row of the model's output.

        `images` says which image of the batch each row is a variant of; by default they are the
        images themselves, in their order.
        """
        if self.classes is None:
            assert self.features is not None
            features = self.features[images].to(output)
            if self.is_cosine:
                return torch.cosine_similarity(output, features, dim=-1)
            return (output * features).sum(-1)
        score = output.gather(-1, self.classes[images, None])[:, 0]
        if self.against is None:
            return score
        return score - output.gather(-1, self.against[images, None])[:, 0]

    def take(self, images: slice) -> "Target":
        """The target of some of the images."""
        parts = (self.classes, self.against, self.features)
        taken = [None if part is None else part[images] for part in parts]
        return Target(self.words, *taken, is_cosine=self.is_cosine)


def target_of(
    checkpoint: Checkpoint,
    output: Float[Tensor, "image output"],
    target: Classes = None,
    *,
    against: Classes = None,
    features: Features | None = None,
) -> Target:
    """What is to be explained about a batch whose output is known.

    Args:
        checkpoint: from `load`.
        output: of the batch.
        target: a class by index or label, or one for each image; None: each image's prediction.
        against: a class to tell it from; `"runner-up"`: the likeliest other one.
        features: in the place of classes, a vector that the output is to be like: of another image,
            of a text. Without classes, None is the image's own output: what makes its features as
            strong as they are (the product with their direction; a cosine with itself is flat).

    Raises:
        HeadscopeError: there are no such classes, or the vector is no output of this model.
    """
    if features is not None:
        if target is not None or against is not None:
            raise HeadscopeError("Give either classes or features to explain, not both.")
        given = torch.as_tensor(features).to(output)
        if given.shape[-1:] != output.shape[-1:] or given.dim() > 2:
            raise HeadscopeError(
                f"The output of {checkpoint.name} has {output.shape[-1]} numbers an image, the "
                f"features to compare with are {tuple(given.shape)}."
            )
        if given.dim() == 2 and len(given) not in (1, len(output)):
            raise HeadscopeError(
                f"There are {len(given)} vectors of features for {len(output)} images; give one, "
                "or one for each."
            )
        unit = torch.nn.functional.normalize(given.reshape(-1, given.shape[-1]), dim=-1)
        return Target("likeness to the given features", features=unit.expand(len(output), -1))
    if not checkpoint.has_classes:
        if target is not None or against is not None:
            raise HeadscopeError(
                f"{checkpoint.name} has no classes: it computes features only. Give another "
                "image's features to explain the likeness to it."
            )
        own = torch.nn.functional.normalize(output.detach(), dim=-1)
        return Target("strength of the image's own features", features=own, is_cosine=False)
    of = _classes(checkpoint, output, target)
    words = f"logit of {_words(checkpoint, of, target)}"
    if against is None:
        return Target(words, classes=of)
    if isinstance(against, str) and against == RUNNER_UP and against not in checkpoint.labels:
        other = output.scatter(-1, of[:, None], -torch.inf).argmax(-1)
        return Target(f"{words} less that of the runner-up", classes=of, against=other)
    other = _classes(checkpoint, output, against)
    if bool((other == of).any()):
        raise HeadscopeError(
            f"{_words(checkpoint, other, against)} cannot be told from itself: for an image it is "
            "both the target and the class to tell it from. Name another one."
        )
    words = f"{words} less that of {_words(checkpoint, other, against)}"
    return Target(words, classes=of, against=other)


def _classes(checkpoint: Checkpoint, output: Tensor, given: Classes) -> Int[Tensor, " image"]:
    if given is None:
        return output.argmax(-1)
    if not isinstance(given, Tensor):
        index = checkpoint.class_index(given)
        return torch.full((len(output),), index, device=output.device)
    n_classes = len(checkpoint.labels)
    wrong = given.shape != (len(output),) or given.is_floating_point()
    if wrong or not ((given >= 0) & (given < n_classes)).all():
        raise HeadscopeError(
            f"The classes {given.tolist()} are not one for each of {len(output)} images; expected "
            f"indices 0 to {n_classes - 1}."
        )
    return given.to(output.device).long().clone()  # it may have been made in inference mode


def _words(checkpoint: Checkpoint, classes: Tensor, given: Classes) -> str:
    if given is None:
        return "the predicted class"
    if isinstance(given, Tensor) and len(given.unique()) != 1:
        return "each image's class"
    return repr(checkpoint.labels[int(classes[0])])
