"""Vision transformers with one column of blocks and attention from all tokens to all tokens."""

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from timm.layers.attention import Attention
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from ..errors import HeadscopeError
from .base import Family, parameter_of

MAX_PATCHES = 16_384
"""Patches of an input: one head's map of that many has 1 GB in float32."""


@final
class VisionTransformerFamily(Family):
    """ViT, DeiT, DINOv2/v3, CLIP, SigLIP, EVA-02, BEiT, NaFlex: prefix tokens, then the grid."""

    modules = (
        "timm.models.beit",
        "timm.models.deit",
        "timm.models.eva",
        "timm.models.naflexvit",
        "timm.models.vision_transformer",
        "timm.models.vision_transformer_relpos",
    )

    def check_size(self, model: nn.Module, image_size: tuple[int, int]) -> None:
        patch_px = _patch_px(model)
        if any(size % patch or size <= 0 for size, patch in zip(image_size, patch_px, strict=True)):
            height, width = patch_px
            raise HeadscopeError(
                f"An input of {image_size[1]}×{image_size[0]} px (width × height) is no whole "
                f"number of {width}×{height} px patches."
            )
        rows, columns = (size // patch for size, patch in zip(image_size, patch_px, strict=True))
        if rows * columns > MAX_PATCHES:
            raise HeadscopeError(
                f"An input of {image_size[1]}×{image_size[0]} px (width × height) has "
                f"{rows * columns:,} patches; headscope takes up to {MAX_PATCHES:,}, as each "
                "head's map has the square of that. Choose a smaller input."
            )

    def built_size(self, model: nn.Module) -> tuple[int, int] | None:
        return None if _is_naflex(model) else super().built_size(model)

    def prefix_kinds(self, model: nn.Module) -> tuple[str, ...]:
        kinds: list[str] = []
        for name, kind in (
            ("cls_token", "class"),
            ("dist_token", "distillation"),
            ("reg_token", "register"),
        ):
            tokens = parameter_of(_embedding(model) if _is_naflex(model) else model, name)
            kinds += [kind] * (0 if tokens is None else tokens.shape[1])
        return tuple(kinds)

    def blocks(self, model: nn.Module) -> Sequence[nn.Module]:
        return list(_timm(model).blocks)

    def tail(self, model: nn.Module, hidden: Tensor) -> Tensor:
        return _timm(model).forward_head(_timm(model).norm(hidden))

    def rows_read(self, model: nn.Module) -> slice:
        # Class-token pooling reads the prefix alone; every other pooling reads the patches too.
        token_pooling = _timm(model).global_pool == "token" and not _pools_by_attention(model)
        return slice(0, _timm(model).num_prefix_tokens) if token_pooling else slice(None)

    def block_from_heads(self, block: nn.Module, hidden: Tensor, heads: Tensor) -> Tensor | None:
        if not _is_plain(block):
            return None
        plain = cast(Any, block)
        joined = heads.transpose(1, 2).flatten(2)
        attended = plain.attn.proj_drop(plain.attn.proj(plain.attn.norm(joined)))
        return _after_attention(plain, hidden + plain.drop_path1(plain.ls1(attended)))

    def block_rows(self, block: nn.Module, hidden: Tensor, rows: slice) -> Tensor | None:
        if not _is_plain(block):
            return None
        plain = cast(Any, block)
        query, key, value = _query_key_value(plain.attn, plain.norm1(hidden), rows)
        heads = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return self.block_from_heads(block, hidden[:, rows], heads)


def _timm(model: nn.Module) -> Any:
    """The model, seen with the attributes that timm gives to all models of these modules."""
    return model


def _pools_by_attention(model: nn.Module) -> bool:
    """Whether pooling is by attention, which reads every row whatever `global_pool` says."""
    return getattr(model, "attn_pool", None) is not None


def _is_naflex(model: nn.Module) -> bool:
    return isinstance(model, NaFlexVit)


def _embedding(model: nn.Module) -> Any:
    """The module that makes tokens of pixels."""
    return _timm(model).embeds if _is_naflex(model) else _timm(model).patch_embed


def _patch_px(model: nn.Module) -> tuple[int, int]:
    height, width = _embedding(model).feat_ratio(as_scalar=False)
    return int(height), int(width)


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is timm's standard one to the letter: then its parts are known.

    A layer that somebody wrapped (an adapter, say) is not: its own forward must run.
    """
    if type(block) is not Block or type(block.attn) is not Attention:
        return False
    return block.attn.gate is None and type(block.attn.qkv) is nn.Linear


def _after_attention(block: Any, hidden: Tensor) -> Tensor:
    return hidden + block.drop_path2(block.ls2(block.mlp(block.norm2(hidden))))


def _query_key_value(attention: Any, normed: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of some rows, keys and values of all: as `image head token channel`."""
    n = attention.attn_dim
    weight, bias = attention.qkv.weight, attention.qkv.bias
    query = nn.functional.linear(normed[:, rows], weight[:n], None if bias is None else bias[:n])
    key_value = nn.functional.linear(normed, weight[n:], None if bias is None else bias[n:])
    shape = (attention.num_heads, attention.head_dim)
    query = query.unflatten(-1, shape).transpose(1, 2)
    key, value = key_value.unflatten(-1, (2, *shape)).permute(2, 0, 3, 1, 4)
    return attention.q_norm(query), attention.k_norm(key), value
