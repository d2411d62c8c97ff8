"""What headscope must know of a family beyond what capture sees, and the registry of families."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import HeadscopeError
from ..layout import TokenLayout
from ..registry import Registry

_FAMILIES: "Registry[type[Family]]" = Registry("families for the module", folder=__package__)


class Family(ABC):
    """Models that are built alike: where their tokens are, and how to go on from one layer.

    A subclass in a file of this folder registers itself for the modules that define its models.
    """

    modules: ClassVar[tuple[str, ...]]
    """Modules whose model classes belong to the family, e.g. `"timm.models.vision_transformer"`."""

    def __init_subclass__(cls) -> None:
        for module in cls.modules:
            _FAMILIES.add(module, cls)

    @abstractmethod
    def layout(self, model: nn.Module, image_size: tuple[int, int]) -> TokenLayout:
        """The tokens of a layer, for an input of (height, width) pixels."""

    @abstractmethod
    def resize(self, model: nn.Module, image_size: tuple[int, int]) -> None:
        """Make the model take an input of (height, width) pixels.

        Raises:
            HeadscopeError: it cannot.
        """

    @abstractmethod
    def built_size(self, model: nn.Module) -> tuple[int, int] | None:
        """Input height and width that the model was built for; None where it takes any."""

    @abstractmethod
    def blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        """The blocks in the order in which they run; each maps a hidden state to the next."""

    @abstractmethod
    def tail(
        self, model: nn.Module, hidden: Float[Tensor, "image token channel"]
    ) -> Float[Tensor, "image output"]:
        """The model's output for the hidden state that leaves the last block."""

    @abstractmethod
    def rows_read(self, model: nn.Module) -> slice:
        """The tokens of the last hidden state on which the output depends."""

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


def readable_modules() -> tuple[str, ...]:
    """Modules whose models can be read."""
    return tuple(sorted(_FAMILIES.all))


def family_of(model: nn.Module) -> Family:
    """The family of a model.

    Raises:
        HeadscopeError: no family claims the module that defines the model's class.
    """
    module = type(model).__module__
    if module not in _FAMILIES.all:
        short = ", ".join(name.rpartition(".")[2] for name in readable_modules())
        raise HeadscopeError(
            f"{type(model).__name__} (of {module}) cannot be read yet: its attention is not one "
            f"map from all tokens to all tokens. Families that can be read: {short}."
        )
    return _FAMILIES.all[module]()


def parameter_of(model: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter or buffer that a model may lack or hold as None."""
    return cast(torch.Tensor | None, getattr(model, name, None))
