"""Models from elsewhere: read, checked and ablated as timm's are."""

import math

import pytest
import torch
from torch import nn

import headscope as hs
from headscope.models.capture import watch
from headscope.models.replay import Replay


def torchvision_vit():
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    nn.init.normal_(model.heads.head.weight)  # torchvision's is 0: nothing would change anything
    return model


def transformers_model(name, attention="sdpa", **options):
    import transformers

    parts = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    mlp = {} if name.startswith("Dinov2") else {"intermediate_size": 32}
    kind = name.removesuffix("ForImageClassification").removesuffix("Model")
    config = getattr(transformers, f"{kind}Config")(
        image_size=32, patch_size=8, attn_implementation=attention, **parts, **mlp, **options
    )
    return getattr(transformers, name)(config)


def open_clip_tower(*, batch_first=True, **options):
    from open_clip.transformer import VisionTransformer

    model = VisionTransformer(
        image_size=32, patch_size=8, width=16, layers=2, heads=2, mlp_ratio=2, output_dim=8,
        **options,
    )  # fmt: skip
    model.transformer.batch_first = batch_first
    for block in model.transformer.resblocks:
        block.attn.batch_first = batch_first
    return model


class Own(nn.Module):
    """A user's own: patches, class token, PyTorch's encoder layers, a head."""

    def __init__(self, *, batch_first=True, cls=True):
        super().__init__()
        self.batch_first = batch_first
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 16)) if cls else None
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first, dropout=0.0)
            for _ in range(2)
        )
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        if not self.batch_first:
            x = x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1 if self.batch_first else 0))


MODELS = {
    # name: (builds it, kinds of tokens before the patches, kinds of attention)
    "torchvision": (torchvision_vit, ["class"], ["global"] * 2),
    "transformers ViT": (
        lambda: transformers_model("ViTForImageClassification", num_labels=3),
        ["class"],
        ["global"] * 2,
    ),
    "transformers ViT, eager": (
        lambda: transformers_model("ViTModel", "eager"),
        ["class"],
        ["global"] * 2,
    ),
    "transformers DINOv2": (lambda: transformers_model("Dinov2Model"), ["class"], ["global"] * 2),
    "transformers DINOv2 with registers": (
        lambda: transformers_model("Dinov2WithRegistersModel"),
        ["class", *["register"] * 4],
        ["global"] * 2,
    ),
    "transformers CLIP": (lambda: transformers_model("CLIPVisionModel"), ["class"], ["global"] * 2),
    "transformers CLIP, eager": (
        lambda: transformers_model("CLIPVisionModel", "eager"),
        ["class"],
        ["global"] * 2,
    ),
    "transformers SigLIP": (
        lambda: transformers_model("SiglipVisionModel"),
        [],
        ["global", "global", "pooling"],
    ),
    "open_clip": (open_clip_tower, ["class"], ["global"] * 2),
    "open_clip, tokens first": (
        lambda: open_clip_tower(batch_first=False),
        ["class"],
        ["global"] * 2,
    ),
    "open_clip, pooling": (
        lambda: open_clip_tower(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2),
        ["class"],
        ["global", "global", "pooling"],
    ),
    "own": (Own, ["class"], ["global"] * 2),
    "own, tokens first": (lambda: Own(batch_first=False), ["class"], ["global"] * 2),
}


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    torch.manual_seed(0)
    build, *expected = MODELS[request.param]
    return hs.wrap(build().eval(), image_size=32), *expected


@pytest.fixture
def batch():
    return torch.randn(2, 3, 32, 32, generator=torch.manual_seed(0))


def test_tokens_are_where_the_model_has_them(built):
    checkpoint, prefix, kinds = built
    layout = checkpoint.layout
    assert list(layout.kinds) == prefix + ["patch"] * 16
    assert layout.grid == (4, 4)
    assert layout.patch_px == (8, 8)
    assert [layer.kind for layer in checkpoint.layers] == kinds
    for layer in checkpoint.layers[:2]:
        assert layer.layout.is_dense, "the model's own order"
        assert layer.rows is not None
    assert not checkpoint.report.refused


def test_what_is_read_is_what_the_model_computed(built, batch):
    checkpoint = built[0]
    seen = []

    def check(layer):
        sums = layer.weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        torch.testing.assert_close(layer.weights @ layer.value, layer.head_output)
        seen.append(layer.layer)

    assert torch.equal(watch(checkpoint, batch, check), checkpoint.run(batch))
    assert seen == list(range(checkpoint.n_layers))
    # float32: two orders of summation
    assert all(reading.parity < 1e-5 for reading in checkpoint.report.layers)


def projection(checkpoint, layer):
    """The linear layer that joins the heads of an attention module."""
    module = checkpoint.model.get_submodule(checkpoint.layers[layer].module)
    names = ("out_proj", "proj", "o_proj", "output", "dense")
    found = [
        inner
        for name, inner in module.named_modules()
        if name.rpartition(".")[2] in names and isinstance(inner, nn.Linear)
    ]
    return found[0] if found else None


@pytest.mark.parametrize("head", [0, 1])
def test_ablating_equals_zeroing_columns_of_the_projection(built, batch, head):
    checkpoint = built[0]
    before = checkpoint.run(batch)
    for layer in range(checkpoint.n_layers):
        with hs.ablate(checkpoint, [(layer, head)]):
            ablated = checkpoint.run(batch)
        replay = Replay(checkpoint, batch)
        heads = replay.heads(layer).clone()
        heads[:, head] = 0
        rows, resumed = replay.resume(layer, heads[None])
        torch.testing.assert_close(resumed[0], ablated)
        assert rows.shape[1:3] == replay.layer_output(layer).shape[:2]
        weight = projection(checkpoint, layer)
        if weight is None:  # Dinov2's attention is followed by its projection elsewhere
            continue
        kept = weight.weight.clone()
        width = weight.in_features // checkpoint.n_heads[layer]
        with torch.no_grad():
            weight.weight[:, head * width : (head + 1) * width] = 0
        torch.testing.assert_close(checkpoint.run(batch), ablated)
        with torch.no_grad():
            weight.weight.copy_(kept)
        assert not torch.equal(ablated, before)
    assert torch.equal(checkpoint.run(batch), before)


def test_what_a_token_sees_follows_its_pixels(built, batch):
    """Geometry by an independent route: another patch moves its own row and column first."""
    checkpoint, prefix, _ = built
    row, column = 1, 2
    other = batch[:1].clone()
    other[..., row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 1
    first = [next(hs.capture(checkpoint, one)) for one in (batch[:1], other)]
    moved = (first[0].value - first[1].value).abs().amax((0, 1, 3)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [len(prefix) + row * 4 + column]


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_pytorchs_multi_head_attention_is_seen_either_way(need_weights, batch_first, batch):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 8, 8)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = x if batch_first else x.transpose(0, 1)
            x = x + self.attention(x, x, x, need_weights=need_weights)[0]
            return x.mean(1 if batch_first else 0)

    checkpoint = hs.wrap(Plain(), image_size=32)
    assert checkpoint.layout.grid == (4, 4)
    (layer,) = hs.capture(checkpoint, batch)
    module = checkpoint.model.attention
    x = checkpoint.model.patches(batch).flatten(2).transpose(1, 2)
    x = x if batch_first else x.transpose(0, 1)
    expected = module(x, x, x, need_weights=True, average_attn_weights=False)[1]
    torch.testing.assert_close(layer.weights, expected)


# -- what a model tells of itself ----------------------------------------------------------------


def test_size_and_labels_come_from_the_configuration():
    checkpoint = hs.wrap(
        transformers_model("ViTForImageClassification", id2label={0: "cat", 1: "dog"})
    )
    assert checkpoint.preprocessing.size == (32, 32)
    assert checkpoint.labels == ("cat", "dog")
    assert hs.wrap(torchvision_vit()).preprocessing.size == (32, 32)


def test_preprocessing_of_a_transformers_processor():
    from transformers import CLIPImageProcessor, ViTImageProcessor

    squashed = hs.wrap(
        transformers_model("ViTModel"),
        processor=ViTImageProcessor(size={"height": 32, "width": 32}),
    ).preprocessing
    assert (squashed.size, squashed.crop_mode) == ((32, 32), "squash")
    assert squashed.mean == squashed.std == (0.5, 0.5, 0.5)
    assert squashed.interpolation == "bilinear"
    cropped = hs.wrap(
        transformers_model("CLIPVisionModel"),
        processor=CLIPImageProcessor(
            size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}
        ),
    ).preprocessing
    assert (cropped.size, cropped.crop_mode, cropped.crop_pct) == ((32, 32), "center", 0.8)
    assert math.isclose(cropped.mean[0], 0.48145466)


# -- where tokens cannot be traced ---------------------------------------------------------------


class Mixed(Own):
    """Its tokens are mixtures of all patches: several lie in one place."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(16, 16)
        self.patches.register_forward_hook(
            lambda _module, _args, out: self.mix(out.flatten(2)).unflatten(2, (4, 4))
        )


class Untraceable(Own):
    """Its pixels go through NumPy."""

    def forward(self, x):
        return super().forward(torch.from_numpy(x.numpy().copy()))


GRID = hs.TokenLayout(("class", *["patch"] * 16), (4, 4), (8.0, 8.0))


@pytest.mark.parametrize("kind", [Mixed, Untraceable])
def test_a_layout_is_taken_where_none_can_be_traced(kind, batch):
    checkpoint = hs.wrap(kind(), image_size=32, layout=GRID)
    assert checkpoint.layout == GRID
    assert {layer.kind for layer in checkpoint.layers} == {"global, as given"}
    replay = Replay(checkpoint, batch)
    for layer in range(2):
        rows, output = replay.resume(layer, replay.heads(layer)[None])
        torch.testing.assert_close(output[0], replay.output)
        assert rows.shape[2] == 17
    for layer in hs.capture(checkpoint, batch):
        torch.testing.assert_close(layer.weights @ layer.value, layer.head_output)


def test_without_a_layout_there_is_a_sentence():
    with pytest.raises(hs.HeadscopeError, match=r"cannot be traced: .* wrap\(…, layout="):
        hs.wrap(Untraceable(), image_size=32)


def test_where_tokens_are_mixed_that_is_said():
    with pytest.raises(hs.HeadscopeError, match="several of its tokens lie in one place"):
        hs.wrap(Mixed(), image_size=32)


def test_a_layout_must_have_the_attentions_tokens():
    with pytest.raises(hs.HeadscopeError, match=r"its map is 17×17, and the layout .* has 16"):
        hs.wrap(
            Untraceable(),
            image_size=32,
            layout=hs.TokenLayout(("patch",) * 16, (4, 4), (8.0, 8.0)),
        )


def test_prefix_kinds_can_be_said():
    checkpoint = hs.wrap(Own(), image_size=32, prefix=("summary",))
    assert checkpoint.layout.kinds[:2] == ("summary", "patch")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((Own,), "takes a torch.nn.Module, got type. Call it first"),
        ((nn.Identity(),), "has no parameters"),
        ((Own(),), "input size of Own is not known: give wrap"),
        ((Own(), {"image_size": 32, "mean": (0.5,)}), "mean has 1 channels and std 3"),
        ((Own(), {"image_size": 32, "labels": ("a", "b")}), "gives 3 numbers .* 2 labels"),
        ((Own(), {"image_size": 4}), "does not run on 3 channels of 4×4 px"),
        ((nn.Conv2d(3, 4, 2), {"image_size": 32}), "No attention of Conv2d could be read"),
    ],
)
def test_what_cannot_be_wrapped_gets_a_sentence(arguments, sentence):
    module, options = arguments if len(arguments) == 2 else (*arguments, {})
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.wrap(module, **options)
