"""The one way a head is changed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from .checkpoint import Checkpoint
from .errors import HeadscopeError
from .interception import AttentionCall, intercept

Ablation = Callable[[Float[Tensor, "image query channel"]], Float[Tensor, "image query channel"]]
"""What takes the place of one head's output."""

ABLATIONS: dict[str, Ablation] = {
    # Michel et al., "Are Sixteen Heads Really Better than One?" (2019), equation 2.
    "zero": torch.zeros_like,
}


def ablation(mode: str) -> Ablation:
    """An ablation by name.

    Raises:
        HeadscopeError: there is none of that name.
    """
    if mode not in ABLATIONS:
        raise HeadscopeError(
            f"There is no ablation {mode!r}; there are: {', '.join(sorted(ABLATIONS))}."
        )
    return ABLATIONS[mode]


@contextmanager
def ablate(
    checkpoint: Checkpoint, heads: Iterable[tuple[int, int]], *, mode: str = "zero"
) -> Iterator[None]:
    """Replace the output of some heads, `(layer, head)`, in every forward pass of this context.

    The checkpoint belongs to this thread meanwhile.

    Raises:
        HeadscopeError: a head that the checkpoint does not have, or an unknown mode.
    """
    replace = ablation(mode)
    of_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        checkpoint.check_head(layer, head)
        of_layer.setdefault(layer, []).append(head)

    def on_call(call: AttentionCall) -> Tensor | None:
        chosen = of_layer.get(checkpoint.layer_of.get(call.site, -1))
        if chosen is None:
            return None
        output = call.output.clone()
        for head in chosen:
            output[:, head] = replace(output[:, head])
        return output

    with checkpoint.lock, intercept(checkpoint.model, on_call):
        yield
