"""Capture: what is read is what the model computed, nothing is missed, nothing is left behind."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn

import headscope as hs
from headscope.models.capture import watch
from headscope.models.interception import intercept
from headscope.models.replay import Replay
from headscope.models.report import PARITY_LIMIT

FAMILIES = {
    # name: (input size, prefix tokens by kind, grid)
    "vit_tiny_patch16_224": ((32, 48), ["class"], (2, 3)),
    "deit_tiny_distilled_patch16_224": ((32, 32), ["class", "distillation"], (2, 2)),
    "vit_small_patch14_reg4_dinov2": ((28, 42), ["class", *["register"] * 4], (2, 3)),
    "vit_small_patch16_dinov3": ((32, 48), ["class", *["register"] * 4], (2, 3)),
    "eva02_tiny_patch14_224": ((28, 42), ["class"], (2, 3)),
    "beit_base_patch16_224": ((32, 32), ["class"], (2, 2)),
    "vit_base_patch16_siglip_224": ((32, 48), [], (2, 3)),
    "naflexvit_base_patch16_gap": ((32, 48), ["register"] * 4, (2, 3)),
    "vit_relpos_small_patch16_224": ((32, 48), [], (2, 3)),
    "vit_small_patch16_18x2_224": ((32, 48), ["class"], (2, 3)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request):
    return hs.load(request.param, pretrained=False, image_size=FAMILIES[request.param][0])


@pytest.fixture
def batch(checkpoint):
    return torch.randn(2, 3, *checkpoint.preprocessing.size, generator=torch.manual_seed(0))


def n_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_tokens_are_where_the_family_puts_them(checkpoint):
    size, prefix, grid = FAMILIES[checkpoint.name]
    layout = checkpoint.layout
    assert list(layout.kinds) == prefix + ["patch"] * math.prod(grid)
    assert layout.grid == grid
    assert layout.patch_px == (size[0] / grid[0], size[1] / grid[1])


def test_every_layer_is_read_and_looking_changes_no_bit(checkpoint, batch):
    with torch.inference_mode():
        untouched = checkpoint.model(batch)
    seen = []

    def check(layer):
        weights = layer.weights
        sides = layer.queries.n_tokens, layer.keys.n_tokens
        assert weights.shape == (2, checkpoint.n_heads[layer.layer], *sides)
        assert sides[1] == checkpoint.layout.n_tokens
        # float32 sums of at most 11 weights
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        torch.testing.assert_close(weights @ layer.value, layer.head_output)
        seen.append(layer.layer)

    assert torch.equal(watch(checkpoint, batch, check), untouched)
    assert seen == list(range(checkpoint.n_layers))
    assert all(reading.parity < 1e-5 for reading in checkpoint.report.layers)
    assert n_hooks(checkpoint.model) == 0


def test_census_and_reading_agree(checkpoint):
    """Read and refused are all modules that are attention by the name of their class."""
    named = {
        name
        for name, module in checkpoint.model.named_modules()
        if "attention" in type(module).__name__.lower()
    }
    assert named == {reading.module for reading in checkpoint.report.readings}
    assert all(r.reason for r in checkpoint.report.refused)
    assert not checkpoint.report.refused


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_fused_and_plain_attention_give_the_same_maps(name):
    maps = []
    for fused in (True, False):
        checkpoint = hs.load(name, pretrained=False, image_size=56 if "14" in name else 64)
        for module in checkpoint.model.modules():
            if "fused_attn" in vars(module):
                module.fused_attn = fused
        batch = torch.randn(1, 3, *checkpoint.preprocessing.size, generator=torch.manual_seed(0))
        maps.append([layer.weights for layer in hs.capture(checkpoint, batch)])
    for fused, plain in zip(*maps, strict=True):
        torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"])
def test_half_precision_is_read_too(name):
    checkpoint = hs.load(name, pretrained=False, image_size=32)
    model = checkpoint.model.bfloat16()
    half = hs.Checkpoint.of(
        model, name="half", architecture=name, preprocessing=checkpoint.preprocessing
    )
    assert half.n_layers == 12


def test_a_batch_of_another_size_is_refused_before_it_runs(checkpoint):
    height, width = checkpoint.preprocessing.size
    for wrong in (
        torch.zeros(1, 3, 2 * height, width),
        torch.zeros(1, 3, height, width, dtype=torch.uint8),
        torch.zeros(3, height, width),
    ):
        with pytest.raises(hs.HeadscopeError, match="takes float tensors of"):
            next(hs.capture(checkpoint, wrong))


@pytest.mark.parametrize("pool", ["token", "avg", "max", "avgmax", "map"])
def test_going_on_with_the_same_heads_gives_the_same_output(pool):
    """Every pooling reads the rows that the replay computes for it."""
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=(32, 48),
        depth=3,
        num_classes=5,
        global_pool=pool,
        class_token=True,
        reg_tokens=2,
        qk_norm=True,
        init_values=0.1,
    )
    checkpoint = hs.Checkpoint.of(
        model,
        name="pool",
        architecture="pool",
        preprocessing=hs.Preprocessing((32, 48), (0.5,) * 3, (0.5,) * 3),
        labels=tuple("abcde"),
    )
    replay = Replay(checkpoint, torch.randn(2, 3, 32, 48, generator=torch.manual_seed(0)))
    for layer in range(3):
        rows, output = replay.resume(layer, replay.heads(layer)[None])
        torch.testing.assert_close(output[0], replay.output)
        torch.testing.assert_close(rows[0], replay.layer_output(layer))


def test_an_adapter_around_a_projection_is_not_passed_by():
    class Adapter(nn.Linear):
        def forward(self, input):
            return super().forward(input) + input.repeat(1, 1, 3)

    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, image_size=32)
    for block in checkpoint.model.blocks:
        block.attn.qkv.__class__ = Adapter
    replay = Replay(checkpoint, torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0)))
    _, output = replay.resume(9, replay.heads(9)[None])
    torch.testing.assert_close(output[0], replay.output)


def test_a_model_that_does_not_pool_is_read_by_the_mean_of_its_features():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, global_pool="")
    model.reset_classifier(0, "")
    checkpoint = hs.Checkpoint.of(
        model,
        name="x",
        architecture="x",
        preprocessing=hs.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3),
    )
    batch = torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0))
    with torch.inference_mode():
        tokens = model(batch)
    assert tokens.shape == (2, 5, 192)
    assert torch.equal(checkpoint.run(batch), tokens.mean(1))


class OddAttention(nn.Module):
    """An attention that does not do what its softmax says."""

    def __init__(self, oddity):
        super().__init__()
        self.oddity = oddity
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x, **_):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if self.oddity == "random":
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
        else:
            weights = (q @ k.transpose(-2, -1)).softmax(-1)
            out = (weights.mul_(2) if self.oddity == "rescaled" else weights.sqrt()) @ v
        return self.proj(out.transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    ("oddity", "reason"),
    [
        ("random", "its output differs by"),
        ("rescaled", "do not sum to 1"),
        ("replaced", "do not sum to 1"),
    ],
)
def test_a_reading_that_is_not_the_models_own_is_refused(oddity, reason):
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=8, num_heads=2, depth=2, num_classes=2
    )
    model.blocks[0].attn = OddAttention(oddity)
    report = hs.Checkpoint.of(
        model,
        name="odd",
        architecture="odd",
        preprocessing=hs.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3),
    ).report
    assert [reading.module for reading in report.layers] == ["blocks.1.attn"]
    assert reason in report.refused[0].reason


def test_capture_gives_one_layer_at_a_time_in_order(small):
    photograph = hs.read_image(np.full((60, 90, 3), 128, np.uint8))
    layers = list(hs.capture(small, photograph))
    assert [layer.layer for layer in layers] == list(range(12))
    assert [layer.module for layer in layers][:2] == ["blocks.0.attn", "blocks.1.attn"]
    assert layers[0].queries is small.layout


@pytest.mark.parametrize("mode", ["fine", "layer raises", "looker raises"])
def test_nothing_is_left_behind(small, mode):
    batch = torch.randn(1, 3, *small.preprocessing.size, generator=torch.manual_seed(0))
    before = small.run(batch)

    def explode(*_):
        raise ArithmeticError("in the layer")

    handle = (
        small.model.blocks[5].mlp.register_forward_hook(explode) if mode == "layer raises" else None
    )
    look = explode if mode == "looker raises" else lambda _layer: None
    try:
        if mode == "fine":
            watch(small, batch, look)
        else:
            with pytest.raises(ArithmeticError):
                watch(small, batch, look)
    finally:
        if handle is not None:
            handle.remove()
    assert n_hooks(small.model) == 0
    assert torch.equal(small.run(batch), before)
    assert small.lock.acquire(blocking=False)
    small.lock.release()


@pytest.mark.parametrize(
    ("mask", "causal"), [(None, True), ("bool", False), ("float", False), (None, False)]
)
def test_masks_scale_and_grouped_queries_are_taken_as_the_model_passed_them(mask, causal):
    generator = torch.manual_seed(0)
    query = torch.randn(1, 4, 6, 8, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 1, 2, 6, 8, generator=generator, dtype=torch.float64)
    masks = {
        "bool": torch.ones(6, 6, dtype=torch.bool).tril(2),
        "float": torch.randn(6, 6, generator=generator, dtype=torch.float64),
        None: None,
    }

    class Model(nn.Module):
        def forward(self):
            return torch.nn.functional.scaled_dot_product_attention(
                query, key, value, masks[mask], is_causal=causal, scale=0.3, enable_gqa=True
            )

    calls = []
    model = Model()
    with intercept(model, calls.append):
        output = model()
    (call,) = calls
    torch.testing.assert_close(call.weights @ call.value, output)
    assert str(call.site) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "No attention of ResNet could be read: it has no attention module"),
        ("mobilevitv2_050", "LinearSelfAttention computed no softmax over keys"),
    ],
)
def test_models_without_attention_between_tokens_get_a_sentence(name, reason):
    with pytest.raises(hs.HeadscopeError, match=reason):
        hs.load(name, pretrained=False, image_size=64)


def test_attention_pooling_is_a_layer_whose_query_is_no_token():
    checkpoint = hs.load("vit_base_patch16_siglip_224", pretrained=False, image_size=32)
    report = checkpoint.report
    last = report.layers[-1]
    assert (last.module, last.attention) == ("attn_pool", "pooling")
    assert (last.queries, last.keys, last.prefix) == (1, 4, ("query",))
    assert not report.refused
    assert "13 of 13 attention modules read" in report.summary
    assert "attn_pool" in str(report)


def test_differential_attention_has_the_heads_of_both_softmaxes():
    """First those that count, then those that are subtracted (arXiv 2410.05258)."""
    model = timm.create_model(
        "vit_dlittle_patch16_reg1_gap_256", img_size=32, embed_dim=48, num_heads=3, depth=1
    )
    checkpoint = hs.Checkpoint.of(
        model,
        name="x",
        architecture="x",
        preprocessing=hs.Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3),
    )
    (of,) = checkpoint.layers
    assert (of.kind, of.n_heads, len(of.sites)) == ("global, differential", 6, 2)
    batch = torch.randn(1, 3, 32, 32, generator=torch.manual_seed(0))
    (layer,) = hs.capture(checkpoint, batch)
    attention, given, made = model.blocks[0].attn, [], []
    attention.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    attention.sub_norm.register_forward_pre_hook(lambda _, args: made.append(args[0]))
    with torch.inference_mode():
        model(batch)
        q, k, v = attention.qkv(given[0]).chunk(3, dim=-1)
        q, k = (x.unflatten(-1, (3, 2, 8)).permute(0, 2, 3, 1, 4) for x in (q, k))
        v = v.unflatten(-1, (3, 16)).transpose(1, 2)
        q, k = attention.q_norm(q), attention.k_norm(k)
        maps = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
        torch.testing.assert_close(layer.weights[:, :3], maps[:, :, 0])
        torch.testing.assert_close(layer.weights[:, 3:], maps[:, :, 1])
        both = layer.head_output
        difference = both[:, :3] - attention._compute_lambda() * both[:, 3:]
    torch.testing.assert_close(difference, made[0])


def test_parity_limit_tells_rounding_from_a_forgotten_bias():
    """Without its relative bias BEiT's reading would be off by far more than the limit."""
    checkpoint = hs.load("beit_base_patch16_224", pretrained=False, image_size=32)
    generator = torch.manual_seed(0)
    for block in checkpoint.model.blocks:
        table = block.attn.relative_position_bias_table
        table.data.normal_(generator=generator)
    batch = torch.randn(1, 3, 32, 32, generator=generator)
    layer = next(hs.capture(checkpoint, batch))
    block = checkpoint.model.blocks[0].attn
    with torch.inference_mode():
        hidden = checkpoint.model.patch_embed(batch)
        hidden = torch.cat([checkpoint.model.cls_token, hidden], 1)
        normed = checkpoint.model.blocks[0].norm1(hidden)
        bias = torch.cat((block.q_bias, block.k_bias, block.v_bias))
        qkv = torch.nn.functional.linear(normed, block.qkv.weight, bias)
        q, k, _ = qkv.unflatten(-1, (3, block.num_heads, -1)).permute(2, 0, 3, 1, 4)
        naive = (q * block.scale @ k.transpose(-2, -1)).softmax(-1)
    assert (naive - layer.weights).abs().max() > 100 * PARITY_LIMIT
    torch.testing.assert_close(layer.weights @ layer.value, layer.head_output)
