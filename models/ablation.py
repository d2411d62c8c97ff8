"""The one way a head is changed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .ablations import HeadStatistics, StandIns, ablation
from .ablations.base import DONORS
from .checkpoint import Checkpoint
from .errors import HeadscopeError
from .interception import AttentionCall, apart, intercept
from .layout import AttentionLayout
from .places import Places


@contextmanager
def ablate(
    checkpoint: Checkpoint,
    heads: Iterable[tuple[int, int]],
    *,
    mode: str = "zero",
    reference: HeadStatistics | None = None,
) -> Iterator[None]:
    """Replace the output of some heads, `(layer, head)`, in every forward pass of this context.

    The checkpoint belongs to this thread meanwhile. Heads of several layers are replaced as the
    pass meets them: a later one sees what the earlier ones left.

    Args:
        checkpoint: from `load`.
        heads: those to replace; with `keep`, those that stay in their layers.
        mode: the ablation's name; `ablations` lists them.
        reference: from `hs.reference`, for modes that compare with other images.

    Raises:
        HeadscopeError: a head that the checkpoint does not have, an unknown mode, one that says
            nothing about the layer of a head, or one without the reference that it needs.
    """
    chosen = ablation(mode)
    of_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        checkpoint.check_head(layer, head)
        of_layer.setdefault(layer, []).append(head)
    chosen.check_reference(checkpoint, reference)
    for layer in of_layer:
        chosen.check_fits(checkpoint, [layer])
    stand_ins: StandIns | None = None
    layouts: dict[int, list[AttentionLayout]] = {}
    busy = False

    def meet(_model: nn.Module, args: tuple[Any, ...]) -> None:
        """Before a pass: what there is for its images, which may take passes of its own."""
        nonlocal stand_ins, layouts, busy
        if busy:
            return
        busy = True
        try:
            with apart():  # whoever else watches this pass does not mean those
                layouts = checkpoint.routed_layouts(args[0])
                if reference is not None:
                    stand_ins = reference.of(args[0])
                if stand_ins is not None and DONORS in chosen.needs:
                    _ = stand_ins.donors
        finally:
            busy = False

    def on_call(call: AttentionCall) -> Tensor | None:
        index = checkpoint.layer_of.get(call.site)
        # Who looks for places meanwhile (routed windows) runs the model on no image.
        if index not in of_layer or busy or isinstance(call.value, Places):
            return None
        if chosen.needs and stand_ins is None:
            raise HeadscopeError(
                f"The ablation {mode!r} must see whole forward passes: run the checkpoint, or its "
                "model, not a part of it."
            )
        layer = checkpoint.layers[index]
        return chosen.raw_output(layer, call, of_layer[index], stand_ins, layouts.get(index))

    with checkpoint.lock, intercept(checkpoint.model, on_call):
        # Before the hooks of the interception: the stand-ins' pass is one of its own.
        handle = checkpoint.model.register_forward_pre_hook(meet, prepend=True)
        try:
            yield
        finally:
            handle.remove()
