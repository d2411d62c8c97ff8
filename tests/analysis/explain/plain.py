"""A ViT computed step by step from its weights, and what papers do with its maps, in loops."""

from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

import headscope as hs

SIZE, GRID, PATCHES = (32, 48), (2, 3), 6


def vit(**options: Any) -> hs.Checkpoint:
    """Three blocks of three heads on 2 × 3 patches, in float64, with noise in all its weights."""
    settings: dict[str, Any] = {"embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=SIZE, **settings, **options)
        for parameter in model.parameters():
            # Much on matrices: heads that differ, and derivatives that are not all alike.
            parameter += (0.3 if parameter.dim() > 1 else 0.1) * torch.randn_like(parameter)
    return hs.Checkpoint.of(
        model.double(),
        name="plain",
        architecture="plain",
        preprocessing=hs.Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3),
        labels=tuple("abcde"),
    )


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 3, *SIZE, generator=torch.manual_seed(1), dtype=torch.float64)


def run(model: Any, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The model's output, and the maps of every block, `image head query key`.

    Derivatives can be taken by the maps.
    """
    hidden = model.norm_pre(model._pos_embed(model.patch_embed(batch.clone().requires_grad_())))
    maps = []
    for block in model.blocks:
        hidden, attended = step(block, hidden)
        maps.append(attended)
    return model.forward_head(model.norm(hidden)), maps


def step(block: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """What a block gives, and its map."""
    n_heads = block.attn.num_heads
    query, key, value = (
        part.unflatten(-1, (n_heads, -1)).transpose(1, 2)
        for part in block.attn.qkv(block.norm1(hidden)).chunk(3, dim=-1)
    )
    scores = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).exp()
    attended = scores / scores.sum(-1, keepdim=True)
    hidden = hidden + block.attn.proj((attended @ value).transpose(1, 2).flatten(2))
    return hidden + block.mlp(block.norm2(hidden)), attended


def maps_and_slopes(
    model: Any, batch: Tensor, target: int, against: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The maps of every block, and the derivative of a logit (or a difference of two) by them."""
    output, maps = run(model, batch)
    score = output[:, target] - (0 if against is None else output[:, against])
    slopes = torch.autograd.grad(score.sum(), maps)
    return [part.detach().numpy() for part in maps], [part.numpy() for part in slopes]
