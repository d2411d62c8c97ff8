"""The four outputs that importance is read from."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...models.layout import TokenLayout


@dataclass(frozen=True)
class Outputs:
    """The four outputs of a set of ablations; an ablated one has a leading axis for the heads.

    Rows are the layer's tokens, but in the last layer of a model whose output reads prefix tokens
    alone: what leaves that layer's patches is read by nobody, and is not computed.
    """

    layer: Float[Tensor, "image row channel"]
    ablated_layer: Float[Tensor, "head image row channel"]
    model: Float[Tensor, "image output"]
    ablated_model: Float[Tensor, "head image output"]
    target: Int[Tensor, " image"]
    """Class index of each image; -1 for a model without classes."""
    layout: TokenLayout
    """Of the layer's output."""
    label: Int[Tensor, " image"] | None = None
    """What is really in each image, as a class index; -1 where nobody knows."""

    def of_target(self, values: Float[Tensor, "... image output"]) -> Float[Tensor, "... image"]:
        """The values at each image's target."""
        return _pick(values, self.target)

    def target_probability(
        self, logits: Float[Tensor, "... image output"]
    ) -> Float[Tensor, "... image"]:
        """Probability of each image's target."""
        return self.of_target(logits.softmax(-1))

    def rank(
        self, logits: Float[Tensor, "... image output"], index: Int[Tensor, " image"]
    ) -> Float[Tensor, "... image"]:
        """How many classes have a larger logit than the class of each image: 0 for the first."""
        own = _pick(logits, index).unsqueeze(-1)
        return (logits > own).sum(-1).to(logits.dtype)

    def rows(self, *kinds: str) -> Int[Tensor, " row"]:
        """The rows of tokens of some kinds; the last layer may have none of patches."""
        n_rows = self.layer.shape[1]
        chosen = [row for row, kind in enumerate(self.layout.kinds[:n_rows]) if kind in kinds]
        return torch.tensor(chosen, dtype=torch.long, device=self.layer.device)

    @cached_property
    def row_cosine(self) -> Float[Tensor, "head image row"]:
        """1 − cos of each row with and without the head."""
        # With d = b − a: (‖d‖² − (‖b‖ − ‖a‖)²) / 2‖a‖‖b‖. Exactly 0 where nothing changes, and
        # right to rounding where little does; 1 − a·b would lose that.
        clean, change, along = self._row_change
        size = clean.sqrt()
        ablated = (clean + 2 * along + change).clamp_min(0).sqrt()
        longer = _ratio(2 * along + change, ablated + size)
        return (_ratio(change - longer.square(), 2 * ablated * size)).clamp_min(0)

    @cached_property
    def row_l2(self) -> Float[Tensor, "head image row"]:
        """‖a − b‖ / ‖a‖ of each row a, with b the row without the head."""
        clean, change, _ = self._row_change
        return _ratio(change.sqrt(), clean.sqrt())

    @cached_property
    def _row_change(self) -> tuple[Tensor, Tensor, Tensor]:
        """‖a‖², ‖d‖² and a·d of each row, with d what its ablation adds to it."""
        difference = self.ablated_layer - self.layer
        return (
            self.layer.square().sum(-1),
            difference.square().sum(-1),
            torch.einsum("irc,hirc->hir", self.layer, difference),
        )


def _pick(values: Tensor, index: Tensor) -> Tensor:
    places = index.expand(values.shape[:-1]).unsqueeze(-1)
    return values.gather(-1, places).squeeze(-1)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where nothing is divided by nothing."""
    return torch.where(a == 0, 0, a / b)
