"""The checkpoint that a study was made with."""

import json

from ..models.checkpoint import Checkpoint
from ..models.errors import HeadscopeError
from ..models.loading import load
from .study import Study


def checkpoint_of(study: Study, checkpoint: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint of a study, loaded as it was loaded then.

    Args:
        study: tells how it was loaded, and what the weights were.
        checkpoint: one that is loaded already; it is only checked.

    Raises:
        HeadscopeError: it is another one, its weights changed, or it was made by a function of the
            user's own, which is not run from what a file says.
    """
    told = json.loads(study.data.attrs["loaded_with"])
    if checkpoint is None:
        if told.get("factory"):
            raise HeadscopeError(
                f"The study's checkpoint was made by {told['factory']}: code, which is not run "
                "because a file names it; make the checkpoint yourself and give it."
            )
        if not told.get("name"):
            raise HeadscopeError(
                f"The study does not say how {study.model} was loaded; give the checkpoint."
            )
        size = told.pop("image_size", None)
        checkpoint = load(**told, image_size=None if size is None else (size[0], size[1]))
    if checkpoint.digest != study.model_digest:
        raise HeadscopeError(
            f"{checkpoint.name} is not the checkpoint of the study ({study.model}): its weights "
            "differ; give the one that the study was made with."
        )
    return checkpoint


def checkpoint_or_reason(study: Study, factory: str | None) -> tuple[Checkpoint | None, str]:
    """The checkpoint of a study, made by a `factory` where one is named; None, and why, where it
    does not load.

    Raises:
        HeadscopeError: what the factory makes is not the study's.
    """
    if factory is not None:
        from ..models.factory import from_factory

        return checkpoint_of(study, from_factory(factory)), ""
    try:
        return checkpoint_of(study), ""
    except HeadscopeError as error:
        return None, str(error)
