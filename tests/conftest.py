"""Checkpoints that several tests look at."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import headscope as hs


@pytest.fixture(scope="session", autouse=True)
def headscope_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests open is not remembered on the machine, nor what was opened there offered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSCOPE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


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


SIX = ("self", "left", "uniform", "row", "class", "sink")
"""What the heads of the checkpoint `six` do."""


def six_maps(grid: tuple[int, int] = (GRID, GRID), sink: int = SINK_PATCH) -> list[np.ndarray]:
    """For each of `SIX` a map `query key`, the class token first.

    The class token itself attends as the patches do: to itself where they do, else to the class
    token ("class"), the sink ("sink"), all alike, or (no left, no row) itself.
    """
    n_patches = grid[0] * grid[1]
    patches = np.arange(n_patches)
    row, column = np.divmod(patches, grid[1])
    identity = np.eye(1 + n_patches)
    left, same_row, to_class, to_sink = (np.zeros_like(identity) for _ in range(4))
    left[0, 0] = same_row[0, 0] = 1
    left[1 + patches, 1 + np.where(column > 0, patches - 1, patches)] = 1
    same_row[1:, 1:] = (row[:, None] == row[None]) / grid[1]
    to_class[:, 0] = 1
    to_sink[:, 1 + sink] = 1
    uniform = np.full_like(identity, 1 / len(identity))
    return [identity, left, uniform, same_row, to_class, to_sink]


def vit_of_maps(
    maps: list[np.ndarray], *, grid: tuple[int, int] = (GRID, GRID), depth: int = 2
) -> VisionTransformer:
    """A ViT in float64 whose heads have just these maps, in each layer and for any image.

    One-hot positions make q·k/√d = ln A; what is 0 there is e⁻⁸⁰ here. The value of a token is its
    content (the mean of the patch's pixels; 0 for the class token) on channel 0 of the head, and
    nothing is added to the residual stream, so that every layer is alike. No norms, no MLPs.
    """
    n_tokens, n_heads = len(maps[0]), len(maps)
    dim = n_heads * n_tokens
    model = VisionTransformer(
        img_size=(grid[0] * PATCH_PX, grid[1] * PATCH_PX),
        patch_size=PATCH_PX,
        num_classes=2,
        embed_dim=dim,
        depth=depth,
        num_heads=n_heads,
        qkv_bias=True,
        norm_layer=nn.Identity,
    ).double()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        model.patch_embed.proj.weight[n_tokens] = 1 / (3 * PATCH_PX**2)
        model.pos_embed[0, :, :n_tokens] = torch.eye(n_tokens)
        for block in model.blocks:
            weight = block.attn.qkv.weight.view(3, n_heads, n_tokens, dim)
            for head, attended in enumerate(maps):
                logits = np.log(np.maximum(attended, np.exp(-80.0)))
                # q of token i is √d e_i, k of token j is column j of ln A.
                weight[0, head, :, :n_tokens] = torch.eye(n_tokens).double() * n_tokens**0.5
                weight[1, head, :, :n_tokens] = torch.from_numpy(logits)
            weight[2, :, 0, n_tokens] = 1
    return model


def checkpoint_of_maps(
    maps: list[np.ndarray], *, grid: tuple[int, int] = (GRID, GRID), depth: int = 2
) -> hs.Checkpoint:
    """`vit_of_maps` as a checkpoint."""
    return hs.Checkpoint.of(
        vit_of_maps(maps, grid=grid, depth=depth),
        name="of-maps",
        architecture="of-maps",
        preprocessing=hs.Preprocessing(
            (grid[0] * PATCH_PX, grid[1] * PATCH_PX), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        ),
        labels=("bright", "dark"),
    )


@pytest.fixture(scope="session")
def six() -> hs.Checkpoint:
    """Two layers of the heads `SIX`: every metric of theirs has a closed form."""
    return checkpoint_of_maps(six_maps())


@pytest.fixture(scope="session")
def of_maps() -> Callable[..., hs.Checkpoint]:
    """A checkpoint whose heads have given maps."""
    return checkpoint_of_maps
