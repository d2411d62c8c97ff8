"""What a family of models knows of itself beyond what is traced, and the registry of families."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from ..errors import HeadscopeError
from ..registry import Registry

_FAMILIES: "Registry[type[Family]]" = Registry("families for the module", folder=__package__)

_PREFIXES = {
    "class": ("cls", "class_token", "class_embed"),
    "distillation": ("dist",),
    "register": ("reg",),
}
"""How parameters are called that are prefix tokens, by the kind of the token."""


class Family:
    """Models that are built alike. This one serves all that need nothing of their own.

    Where tokens are is traced (`tracing`), and replaying works for any model (`replay`); a subclass
    adds what makes it faster, or what a size needs. In a file of this folder it registers itself
    for the modules that define its models.
    """

    modules: ClassVar[tuple[str, ...]] = ()
    """Modules whose model classes belong to the family, e.g. `"timm.models.vision_transformer"`."""

    def __init_subclass__(cls) -> None:
        for module in cls.modules:
            _FAMILIES.add(module, cls, file=cls.__module__)

    def prefix_kinds(self, model: nn.Module) -> tuple[str, ...]:
        """Kinds of the prefix tokens, in their order, by what parameters are called."""
        kinds: list[str] = []
        for kind, starts in _PREFIXES.items():
            for name, parameter in model.named_parameters():
                short = name.rpartition(".")[2]
                if short.startswith(starts) and parameter.dim() in (1, 2, 3):
                    kinds += [kind] * (parameter.shape[-2] if parameter.dim() > 1 else 1)
        if kinds == ["class"] * 2 and "distilled" in type(model).__name__.lower():
            kinds[1] = "distillation"  # PiT keeps both in one parameter
        return tuple(kinds)

    def check_size(self, model: nn.Module, image_size: tuple[int, int]) -> None:
        """Raise a HeadscopeError where the model surely cannot take (height, width) pixels."""
        embedding = getattr(model, "patch_embed", None)
        if not isinstance(embedding, PatchEmbed) or embedding.dynamic_img_pad:
            return
        height, width = (int(pixels) for pixels in embedding.patch_size)
        if image_size[0] % height or image_size[1] % width:
            # It would run on what is left when the last rows and columns are cut off.
            raise HeadscopeError(
                f"An input of {image_size[1]}×{image_size[0]} px (width × height) is no whole "
                f"number of {width}×{height} px patches."
            )

    def resize(self, model: nn.Module, image_size: tuple[int, int]) -> None:
        """Make a built model take an input of (height, width) pixels, as far as it must be made to.

        Raises:
            HeadscopeError: it cannot.
        """
        self.check_size(model, image_size)
        set_input_size = getattr(model, "set_input_size", None)
        if set_input_size is not None:
            set_input_size(img_size=image_size)

    def built_size(self, model: nn.Module) -> tuple[int, int] | None:
        """Input height and width that the model was built for; None where it takes any."""
        size = getattr(getattr(model, "patch_embed", None), "img_size", None)
        if isinstance(size, int):
            return size, size
        return None if size is None else (int(size[0]), int(size[1]))

    def blocks(self, model: nn.Module) -> Sequence[nn.Module] | None:
        """The blocks in the order in which they run, each mapping a hidden state to the next.

        None where the model is no such column.
        """
        del model
        return None

    def tail(
        self, model: nn.Module, hidden: Float[Tensor, "image token channel"]
    ) -> Float[Tensor, "image output"]:
        """The model's output for the hidden state that leaves the last block of a column."""
        del hidden
        raise LookupError(f"{type(model).__name__} is no column of blocks")

    def rows_read(self, model: nn.Module) -> slice:
        """The tokens of a column's last hidden state on which the output depends."""
        del model
        return slice(None)

    def block_from_heads(
        self, block: nn.Module, hidden: Tensor, heads: Tensor
    ) -> Float[Tensor, "image token channel"] | None:
        """A block's output for given head outputs, without its attention being computed again.

        `hidden` is the block's input; `heads` is `image head query channel`. None: no short cut.
        """
        del block, hidden, heads
        return None

    def block_rows(
        self, block: nn.Module, hidden: Tensor, rows: slice
    ) -> Float[Tensor, "image row channel"] | None:
        """Some rows of a block's output, without the others being computed. None: no short cut."""
        del block, hidden, rows
        return None


def family_of(model: nn.Module) -> Family:
    """The family of a model; one that needs nothing of its own has the common one."""
    return _FAMILIES.all.get(type(model).__module__, Family)()


def parameter_of(model: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter or buffer that a model may lack or hold as None."""
    return cast(torch.Tensor | None, getattr(model, name, None))
