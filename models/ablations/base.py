"""What an ablation is, and the registry of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self

from jaxtyping import Float
from torch import Tensor

from ..capture import LayerAttention
from ..checkpoint import Checkpoint
from ..errors import HeadscopeError
from ..interception import AttentionCall
from ..layers import Layer
from ..layout import AttentionLayout, TokenLayout
from ..registry import Registry
from .reference import HeadStatistics, StandIns

REFERENCE, DONORS = "reference", "donors"
"""Needs: the statistics of a set of images, and the head outputs of others of its images."""

_KINDS: "Registry[type[Ablation]]" = Registry("ablations", folder=__package__)


class Ablation(ABC):
    """What takes the place of the output of some heads of one layer.

    A subclass with `forms`, in a file of this folder, registers itself; its docstring is the
    description.
    """

    forms: ClassVar[tuple[str, ...]]
    """Names as they are typed; words in capitals stand for what is to be chosen."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of `REFERENCE` and `DONORS`."""
    converse: ClassVar[bool] = False
    """Everything but the chosen heads is taken away: a smaller loss means a more important head."""

    def __init_subclass__(cls) -> None:
        for form in cls.__dict__.get("forms", ()):
            _KINDS.add(form, cls, file=cls.__module__)

    @property
    def name(self) -> str:
        """As it is typed, and as a study has it."""
        return self.forms[0]

    @property
    def description(self) -> str:
        return " ".join((type(self).__doc__ or "").split())

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The ablation of that name, if it is one of these."""
        return cls() if name in cls.forms else None

    def why_not(self, queries: TokenLayout, keys: TokenLayout) -> str:
        """Why it says nothing about a layer with such tokens; empty where it does."""
        del queries, keys
        return ""

    @abstractmethod
    def edit(
        self,
        heads: Float[Tensor, "image head query channel"],
        clean: LayerAttention,
        chosen: Sequence[int],
        stand_ins: StandIns | None = None,
    ) -> None:
        """Change a copy of the layer's clean head outputs into what they are without `chosen`.

        Args:
            heads: the copy; it is changed in place.
            clean: the layer's attention in the same pass.
            chosen: heads of the layer.
            stand_ins: what the reference has for the images of the pass, where it is needed.
        """

    def apply(
        self, clean: LayerAttention, chosen: Sequence[int], stand_ins: StandIns | None = None
    ) -> Float[Tensor, "image head query channel"]:
        """The head outputs of the whole layer with some heads ablated."""
        heads = clean.head_output.clone()
        self.edit(heads, clean, chosen, stand_ins)
        return heads

    def attention(
        self, clean: LayerAttention, head: int
    ) -> Float[Tensor, "image query key"] | None:
        """The attention that a head has instead; None where not its attention but its whole output
        is replaced, so that its own attention is not used."""
        del clean, head

    def raw_output(
        self,
        layer: Layer,
        call: AttentionCall,
        chosen: Iterable[int],
        stand_ins: StandIns | None = None,
        layouts: Sequence[AttentionLayout] | None = None,
    ) -> Float[Tensor, "*lead query channel"]:
        """What one call of a layer gives with some of the heads ablated, as the model has it.

        `layouts` are those of the images, where routing depends on them.
        """
        # A layer may compute its heads one by one, each from what the ones before it gave.
        part = layer.part(call.site)
        first, end = part.first_head, part.first_head + part.n_heads
        own = [head - first for head in chosen if first <= head < end]
        heads = self.apply(LayerAttention(part, [call], layouts), own, stand_ins)
        return part.raw_output(call.site, heads, layouts)

    def check_fits(self, checkpoint: Checkpoint, layers: Iterable[int]) -> None:
        """Raise a HeadscopeError unless it says something about one of the layers, at least."""
        reasons = {layer: self.why_not(*layouts_of_layer(checkpoint, layer)) for layer in layers}
        if reasons and all(reasons.values()):
            layer, reason = next(iter(reasons.items()))
            raise HeadscopeError(
                f"The ablation {self.name!r} says nothing about layer {layer} of "
                f"{checkpoint.name}: {reason}; choose another one."
            )

    def check_reference(self, checkpoint: Checkpoint, reference: HeadStatistics | None) -> None:
        """Raise a HeadscopeError unless there is the reference that it needs."""
        if not self.needs:
            return
        if reference is None:
            raise HeadscopeError(
                f"The ablation {self.name!r} takes what it puts in a head's place from a set of "
                "images; pass one as reference=hs.reference(checkpoint, images)."
            )
        reference.check(checkpoint)


class HeadAblation(Ablation):
    """An ablation that changes each chosen head for itself, and no other."""

    def edit(
        self,
        heads: Tensor,
        clean: LayerAttention,
        chosen: Sequence[int],
        stand_ins: StandIns | None = None,
    ) -> None:
        for head in chosen:
            heads[:, head] = self.instead(clean, head, stand_ins)

    @abstractmethod
    def instead(
        self, clean: LayerAttention, head: int, stand_ins: StandIns | None
    ) -> Float[Tensor, "*image query channel"]:
        """What takes the place of one head's output; it is broadcast over images."""


def layouts_of(attention: LayerAttention) -> tuple[TokenLayout, TokenLayout]:
    """Where the queries and the keys of a layer are."""
    return attention.queries, attention.keys


def layouts_of_layer(checkpoint: Checkpoint, layer: int) -> tuple[TokenLayout, TokenLayout]:
    """Where the queries and the keys of a layer will be, before anything has run."""
    layout = checkpoint.layers[layer].layout
    return layout.queries, layout.keys


def bound(stand_ins: StandIns | None) -> StandIns:
    """The stand-ins of an ablation that needs them."""
    if stand_ins is None:
        raise TypeError("this ablation needs stand-ins: HeadStatistics.of(batch)")
    return stand_ins


def ablation(name: str) -> Ablation:
    """An ablation by name, such as `"zero"`, `"class-to-patch"` or `"hops>3:renormalised"`.

    Raises:
        HeadscopeError: there is none of that name.
    """
    for kind in dict.fromkeys(_KINDS.all.values()):
        made = kind.parse(name)
        if made is not None:
            return made
    raise HeadscopeError(f"There is no ablation {name!r}; there are: {', '.join(ablations())}.")


def ablations() -> Mapping[str, str]:
    """Every ablation: its name, or the form of its names, and what it does."""
    return {form: " ".join((kind.__doc__ or "").split()) for form, kind in _KINDS.all.items()}
