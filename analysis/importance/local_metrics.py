"""What an ablation changes of the layer's output."""

from jaxtyping import Float
from torch import Tensor

from ...models.checkpoint import Checkpoint
from ...models.layout import PATCH
from .metrics import importance_metric
from .outputs import Outputs


def _has_class_token(checkpoint: Checkpoint) -> bool:
    return "class" in checkpoint.common.query_kinds


def _has_patches(checkpoint: Checkpoint) -> bool:
    return PATCH in checkpoint.common.query_kinds


@importance_metric(
    long_name="Change of the class row (1 − cosine)",
    units="1 − cosine",
    applies=_has_class_token,
    scope="local",
)
def class_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(c, c′), with c and c′ the class token's row of the layer's output with and without
    the head.

    Range: 0 (same direction) to 2 (opposite).
    Reading: local: what later layers make of it does not count.
    Source: the local score of Li et al. (2023), who compare a layer's output with and without the
    head.
    """
    return outputs.row_cosine[..., outputs.rows("class")].mean(-1)


@importance_metric(
    long_name="Change of the class row (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_class_token,
    scope="local",
)
def class_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖c − c′‖ / ‖c‖, with c and c′ the class token's row of the layer's output with and without
    the head.

    Range: from 0, without an upper end.
    Reading: unlike the cosine it also sees a change of length. Local: what later layers make of it
    does not count.
    Source: after the local score of Li et al. (2023).
    """
    return outputs.row_l2[..., outputs.rows("class")].mean(-1)


@importance_metric(
    long_name="Change of the patch rows (1 − cosine)",
    units="1 − cosine",
    applies=_has_patches,
    scope="local",
)
def patch_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(x, x′), with x and x′ a patch's row of the layer's output with and without the head;
    mean over patches.

    Range: 0 (same direction) to 2 (opposite).
    Reading: local: what later layers make of it does not count. NaN in the last layer where the
    output reads prefix tokens alone: no part of the model reads what leaves its patches.
    Source: after the local score of Li et al. (2023).
    """
    return outputs.row_cosine[..., outputs.rows(PATCH)].mean(-1)


@importance_metric(
    long_name="Change of the patch rows (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_patches,
    scope="local",
)
def patch_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖x − x′‖ / ‖x‖, with x and x′ a patch's row of the layer's output with and without the head;
    mean over patches.

    Range: from 0, without an upper end.
    Reading: unlike the cosine it also sees a change of length. NaN in the last layer where the
    output reads prefix tokens alone: no part of the model reads what leaves its patches.
    Source: after the local score of Li et al. (2023).
    """
    return outputs.row_l2[..., outputs.rows(PATCH)].mean(-1)


@importance_metric(
    long_name="Change of all rows (1 − cosine)",
    units="1 − cosine",
    applies=_has_patches,
    scope="local",
)
def all_cosine(outputs: Outputs) -> Float[Tensor, "head image"]:
    """1 − cos(x, x′), with x and x′ a token's row of the layer's output with and without the head;
    mean over all tokens, in the last layer over those that the model's output reads.

    Range: 0 (same direction) to 2 (opposite).
    Reading: local: what later layers make of it does not count.
    Source: after the local score of Li et al. (2023).
    """
    return outputs.row_cosine.mean(-1)


@importance_metric(
    long_name="Change of all rows (relative L2)",
    units="‖a − b‖/‖a‖",
    applies=_has_patches,
    scope="local",
)
def all_l2(outputs: Outputs) -> Float[Tensor, "head image"]:
    """‖x − x′‖ / ‖x‖, with x and x′ a token's row of the layer's output with and without the head;
    mean over all tokens, in the last layer over those that the model's output reads.

    Range: from 0, without an upper end.
    Reading: unlike the cosine it also sees a change of length. Local: what later layers make of it
    does not count.
    Source: after the local score of Li et al. (2023).
    """
    return outputs.row_l2.mean(-1)
