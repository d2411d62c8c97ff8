"""Checkpoints that several tests look at."""

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import headscope as hs

GRID, PATCH_PX = 4, 8
SINK_PATCH = 5
"""The patch (row 1, column 1) that the sink head attends to, whatever the query."""


def known_answer_vit() -> VisionTransformer:
    """A ViT built by hand, in float64, whose every number has a closed form.

    Layer 0 has a head that attends to itself (0), to its left neighbour (1; a patch of the first
    column to itself), to all tokens alike (2), to one patch (3), and a content-dependent one
    whose part of the projection is zero (4). Layer 1 attends uniformly and adds nothing. There
    are no norms and no MLPs. The value of a head is the content of a token (the mean of the
    patch's pixels; 0 for the class token), and head h writes it to channel `out + h` of the class
    row, of which heads 2 and 3 count for class 0; the logit of class 1 is 0.
    """
    n_tokens, n_heads = GRID**2 + 1, 5
    head_dim, content, out = n_tokens, n_tokens, n_tokens + 1
    dim = n_heads * head_dim
    model = VisionTransformer(
        img_size=GRID * PATCH_PX,
        patch_size=PATCH_PX,
        num_classes=2,
        embed_dim=dim,
        depth=2,
        num_heads=n_heads,
        qkv_bias=True,
        norm_layer=nn.Identity,
    ).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)

    with torch.no_grad():
        model.patch_embed.proj.weight[content] = 1 / (3 * PATCH_PX**2)
        model.pos_embed[0, :, :n_tokens] = torch.eye(n_tokens)
        attention = model.blocks[0].attn
        weight = attention.qkv.weight.view(3, n_heads, head_dim, dim)
        bias = attention.qkv.bias.view(3, n_heads, head_dim)
        # A score of 60 leaves e⁻⁶⁰ for every other key: 0 in float64 beside 1.
        strength = 60 * head_dim**0.5
        positions = torch.arange(n_tokens)
        left = torch.where(
            (positions == 0) | ((positions - 1) % GRID == 0), positions, positions - 1
        )
        for head, attended in ((0, positions), (1, left)):
            weight[0, head, positions, positions] = strength  # query i is e_i …
            weight[1, head, positions, positions] = 0
            for query, key in enumerate(attended.tolist()):
                weight[1, head, query, key] = 1  # … and key j has a 1 where it is attended from
        bias[0, 3, 0], weight[1, 3, 0, 1 + SINK_PATCH] = strength, 1
        weight[0, 4, 0, content], weight[1, 4, 0, content] = 3, 3
        weight[2, :, 0, content] = 1
        for head in range(4):
            attention.proj.weight[out + head, head * head_dim] = 1
        model.head.weight[0, [out + 2, out + 3]] = torch.tensor([2.0, -0.5], dtype=torch.float64)
    return model


@pytest.fixture(scope="session")
def known() -> hs.Checkpoint:
    """The known-answer ViT."""
    return hs.Checkpoint.of(
        known_answer_vit(),
        name="known-answer",
        architecture="known-answer",
        preprocessing=hs.Preprocessing(
            (GRID * PATCH_PX,) * 2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        ),
        labels=("bright", "dark"),
    )


@pytest.fixture(scope="session")
def known_crops() -> np.ndarray:
    """Three images of noise, as the known-answer ViT takes them."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (3, GRID * PATCH_PX, GRID * PATCH_PX, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def small() -> hs.Checkpoint:
    """A ViT of random weights, class token and 3 × 5 patches."""
    return hs.load("vit_tiny_patch16_224", pretrained=False, seed=1, image_size=(48, 80))


@pytest.fixture(scope="session")
def demo() -> hs.Checkpoint:
    """The embedded checkpoint that the app opens on."""
    return hs.load("demo/supervised")
