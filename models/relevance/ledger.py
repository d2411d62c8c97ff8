"""What of a score is owed to nothing in the image: biases, positions, prefix tokens, the softmax.

A pass that follows the rules is, at its point, a function whose value is Σ input · slope, plus what
each operation adds of its own. The latter is booked here, so that all sums up to the score.
"""

from collections.abc import Callable, Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

BIASES = "biases"
CONSTANTS = "positions and other constants"
PREFIX = "prefix tokens"
SOFTMAX = "softmax"
OTHER = "functions without a rule"


@final
class Ledger:
    """Accounts of a batch, by name, filled in the backward pass."""

    def __init__(self, n_images: int) -> None:
        self.n_images = n_images
        self.only: int | None = None
        """The image whose score alone is being traced, if one is."""
        self._accounts: dict[str, Tensor] = {}

    @property
    def accounts(self) -> Mapping[str, Float[Tensor, " image"]]:
        """What has been booked, in the images' order."""
        return dict(self._accounts)

    def charge(
        self,
        account: str,
        result: Tensor,
        share: Callable[[Tensor], Tensor],
        *,
        tokens_first: bool = False,
    ) -> None:
        """Book `share(slope)`, of the form of `result`, when the slope of `result` is known."""

        def book(slope: Tensor) -> None:
            with torch.no_grad():
                self.book(account, share(slope), tokens_first=tokens_first)

        if result.requires_grad and result.is_floating_point():
            result.register_hook(book)

    def book(self, account: str, parts: Tensor, *, tokens_first: bool = False) -> None:
        """Add the parts of each image to an account.

        Images are the first axis, whatever is folded into it after them; within PyTorch's own
        multi-head attention they come after the tokens. A tensor in which they cannot be found is
        booked in equal shares, and the sum is right only for the batch.
        """
        n = self.n_images
        if n == 1 or self.only is not None:
            by_image = torch.zeros(n, dtype=torch.float64, device=parts.device)
            by_image[self.only or 0] = parts.sum(dtype=torch.float64)
        elif tokens_first and parts.dim() == 3 and parts.shape[1] == n:
            by_image = parts.sum((0, 2), dtype=torch.float64)
        elif parts.dim() == 0 or parts.shape[0] % n:
            by_image = (parts.sum(dtype=torch.float64) / n).expand(n)
        elif tokens_first and parts.dim() == 2:
            by_image = parts.reshape(-1, n, parts.shape[1]).sum((0, 2), dtype=torch.float64)
        else:
            by_image = parts.reshape(n, -1).sum(1, dtype=torch.float64)
        so_far = self._accounts.get(account)
        self._accounts[account] = by_image if so_far is None else so_far + by_image
