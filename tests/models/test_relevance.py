"""Relevance is what the published rules say, through any model, and sums to the score."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

import headscope as hs
from headscope.models.gradients import attention_gradients
from headscope.models.relevance import Ledger, Rules, propagate, relevance_of

from .naive_relevance import naive_relevance


def tiny_vit() -> VisionTransformer:
    """Two layers with LayerScale, and noise in every weight."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = VisionTransformer(
            img_size=(8, 12),
            patch_size=4,
            num_classes=3,
            embed_dim=12,
            depth=2,
            num_heads=3,
            init_values=0.7,
        ).double()
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def checkpoint_of(model: nn.Module, size: tuple[int, int]) -> hs.Checkpoint:
    preprocessing = hs.Preprocessing(size, (0.5,) * 3, (0.5,) * 3)
    return hs.Checkpoint.of(
        model, name="tiny", architecture="tiny", preprocessing=preprocessing, labels=("a", "b", "c")
    )


@pytest.fixture(scope="module")
def tiny() -> hs.Checkpoint:
    return checkpoint_of(tiny_vit(), (8, 12))


@pytest.fixture(scope="module")
def batch() -> Tensor:
    return torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=torch.manual_seed(3))


@pytest.mark.parametrize("target", [0, 2])
@pytest.mark.parametrize("rules", [Rules(), Rules(softmax="constant"), Rules(gamma=0.25)], ids=str)
def test_it_is_what_the_rules_say_written_out_by_hand(
    tiny: hs.Checkpoint, batch: Tensor, rules: Rules, target: int
) -> None:
    found = relevance_of(tiny, batch, lambda output: output[:, target], rules)
    patches, apart, where = found.patches(tiny.layout)
    assert where == "patch_embed.proj"
    for image in range(2):
        expected = naive_relevance(
            tiny.model,  # pyright: ignore[reportArgumentType]
            batch[image].numpy(),
            target,
            gamma=rules.gamma,
            constant_attention=rules.softmax == "constant",
        )
        assert float(found.score[image]) == pytest.approx(expected.score, abs=1e-12)
        # Both divide by sums of either sign, which may be small: some digits of 16 are lost.
        np.testing.assert_allclose(patches[image], expected.patches, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.pixels[image], expected.pixels, rtol=1e-9, atol=1e-11)
        accounts = {name: float(amount[image]) for name, amount in found.apart.items()}
        given = {name: amount for name, amount in expected.apart.items() if amount}
        assert accounts == pytest.approx(given, rel=1e-9, abs=1e-11)
        # The replica itself adds up, or it would be no measure.
        whole = expected.pixels.sum() + sum(expected.apart.values())
        assert whole == pytest.approx(expected.score, abs=1e-9)
        assert float(patches[image].sum() + sum(a[image] for a in apart.values())) == pytest.approx(
            expected.score, abs=1e-9
        )


def test_relevance_of_attention_maps_is_that_of_the_rules(
    tiny: hs.Checkpoint, batch: Tensor
) -> None:
    leaf = batch.clone().requires_grad_()
    with propagate(Rules(), Ledger(2)):
        found = attention_gradients(tiny, leaf, lambda output: output[:, 1])
    for image in range(2):
        expected = naive_relevance(tiny.model, batch[image].numpy(), 1)  # pyright: ignore
        for layer, of_layer in zip(found.layers, expected.maps, strict=True):
            owed = layer.attention.weights[image] * layer.gradient.weights[image]
            np.testing.assert_allclose(owed, of_layer, rtol=1e-9, atol=1e-11)


def test_without_rules_it_is_input_times_derivative(tiny: hs.Checkpoint, batch: Tensor) -> None:
    leaf = batch.clone().requires_grad_()
    tiny.model(leaf)[:, 0].sum().backward()
    assert leaf.grad is not None
    found = relevance_of(tiny, batch, lambda output: output[:, 0], Rules.none())
    # The fused attention is formed step by step: float64 rounding.
    torch.testing.assert_close(found.pixels, leaf.detach() * leaf.grad, rtol=1e-10, atol=1e-13)
    gap, size = found.gap()
    assert bool((gap.abs() < 1e-12 * size).all())  # what the derivatives leave is booked, too
    with_rules = relevance_of(tiny, batch, lambda output: output[:, 0])
    assert float((with_rules.pixels - found.pixels).abs().max()) > 1e-3


def test_without_biases_all_of_the_score_is_on_the_image() -> None:
    model = tiny_vit()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or name in ("pos_embed", "cls_token"):
                parameter.zero_()
    checkpoint = checkpoint_of(model, (8, 12))
    batch = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    # A class token that is 0 is no linear map of the image at the first norm: mean 0, deviation 0.
    found = relevance_of(checkpoint, batch, lambda output: output[:, 0], Rules(softmax="constant"))
    assert found.apart == {}
    assert float(found.score.abs().min()) > 1e-3
    torch.testing.assert_close(
        found.pixels.sum((1, 2, 3)), found.score, rtol=1e-10, atol=1e-12
    )  # float64 rounding of a sum


def owed(function: Callable[[Tensor], Tensor], x: Tensor, rules: Rules | None = None) -> Tensor:
    """Relevance of x for the sum of a function of it; all that there is adds up."""
    leaf, ledger = x.clone().requires_grad_(), Ledger(1)
    with propagate(rules or Rules(), ledger):
        score = function(leaf * 1).sum()
        (slope,) = torch.autograd.grad(score, leaf)
    relevance = leaf.detach() * slope
    booked = sum(float(amount) for amount in ledger.accounts.values())
    assert float(relevance.sum()) + booked == pytest.approx(
        float(score.detach()), rel=1e-9, abs=1e-11
    )
    return relevance


X = torch.tensor([[1.5, -0.7, 0.0, 2.0], [-3.0, 0.4, 1e-12, 0.9]], dtype=torch.float64)
W = torch.tensor([[0.3, -1.0, 0.5, 2.0]] * 4, dtype=torch.float64).tril()


@pytest.mark.parametrize(
    "function",
    [
        functional.gelu,
        functional.silu,
        functional.hardswish,
        functional.relu6,
        functional.elu,
        torch.tanh,
        torch.relu,
        nn.GELU(approximate="tanh"),
        nn.SiLU(inplace=True),
        nn.ReLU(inplace=True),
        lambda x: x**2,
        lambda x: x * x,
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x.mul_(x.sigmoid()),
    ],
)
def test_activations_pass_on_what_they_are_given(function: Callable[[Tensor], Tensor]) -> None:
    # About 0 the quotient f(x) / x is taken beside it, at 1.5e-8.
    torch.testing.assert_close(owed(function, X), function(X.clone()), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ x.mT,
        lambda x: torch.einsum("id,jd->ij", x, x),
        lambda x: torch.bmm(x[None], x.mT[None]),
        lambda x: functional.silu(x[:, :2]) * x[:, 2:],
        lambda x: torch.addmm(torch.ones((), dtype=x.dtype), x, x.mT),
        lambda x: torch.baddbmm(x[None, :, :2], x[None], x.mT[None], beta=1),
        lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: (x @ W).softmax(-1) @ x.mT,
        lambda x: functional.normalize(x, dim=-1),
        lambda x: functional.cosine_similarity(x, x.flip(0), dim=-1),
        lambda x: x / x.norm(dim=-1, keepdim=True),
        lambda x: x / (1 + x.abs().sum()),
        lambda x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-3),
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3),
        lambda x: functional.layer_norm(x, (4,), W[3], W[2]),
        lambda x: functional.rms_norm(x, (4,), W[3]),
        lambda x: functional.group_norm(x, 2, W[3], W[2]),
        lambda x: functional.instance_norm(x[:, :, None].expand(-1, -1, 3) * W[3, :3], eps=0.1),
        lambda x: functional.batch_norm(x, W[3], W[3].abs() + 1, W[2], W[3]),
        lambda x: functional.linear(x, W, W[3]),
        lambda x: functional.softplus(x),
        lambda x: torch.cat([x, W[:2]], dim=0),
        lambda x: torch.where(x > 0, x, 3.0),
        lambda x: x.masked_fill(x > 1, 2.0),
        lambda x: 1 - x,
        lambda x: x.add_(W[3]),
        lambda x: torch.clamp(x, -1, 0.5),
        lambda x: torch.maximum(x, W[:2]),
        lambda x: torch.logsumexp(x, -1),
        lambda x: x.sort(-1).values.cumsum(-1)[:, 1:].amax(-1),
        lambda x: functional.interpolate(x[None], scale_factor=2),
        lambda x: functional.multi_head_attention_forward(
            *(3 * [x[:, None]]),
            4,
            2,
            torch.cat([W, W.mT, W]),
            torch.ones(12).double(),
            None,
            None,
            False,
            0.0,
            W,
            W[3],
            training=False,
        )[0],
    ],
)
@pytest.mark.parametrize(
    "rules", [Rules(), Rules(gamma=0.5), Rules(softmax="constant"), Rules.none()], ids=str
)
def test_whatever_is_computed_adds_up(function: Callable[[Tensor], Tensor], rules: Rules) -> None:
    found = owed(function, X, rules)
    assert bool(found.isfinite().all())


def test_factors_take_half_each() -> None:
    left, right = torch.randn(2, 3, 4, dtype=torch.float64)
    pair = torch.stack([left, right])
    found = owed(lambda x: x[0] * x[1], pair)
    torch.testing.assert_close(found, torch.stack([left * right, left * right]) / 2)
    # Of a gate and its signal the signal takes all.
    found = owed(lambda x: x[0].sigmoid() * x[1], pair)
    torch.testing.assert_close(found[1], left.sigmoid() * right)
    assert not found[0].any()


def test_a_mask_and_grouped_heads_are_those_of_the_fused_function() -> None:
    q, k = torch.randn(4, 5, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()

    def fused(x: Tensor) -> Tensor:
        key = x.reshape(2, 5, 8)
        return functional.scaled_dot_product_attention(
            q[None], key[None], key[None], attn_mask=mask, scale=0.3, enable_gqa=True
        )

    def by_hand(x: Tensor) -> Tensor:
        key = x.reshape(2, 5, 8).repeat_interleave(2, 0)[None]
        scores = 0.3 * (q[None] @ key.mT)
        return torch.where(mask, scores, -torch.inf).softmax(-1) @ key

    x = k.reshape(1, -1)
    torch.testing.assert_close(owed(fused, x), owed(by_hand, x), rtol=1e-12, atol=1e-14)
    assert bool(owed(fused, x).isfinite().all())


class _Encoder(nn.Module):
    """PyTorch's own encoder, with images on the second axis or the first."""

    def __init__(self, *, images_first: bool, strange: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=images_first)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)
        self.images_first, self.strange = images_first, strange

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x if self.images_first else x.transpose(0, 1).contiguous()
        x = self.layers(x).mean(1 if self.images_first else 0)
        return self.head(torch.log1p(x.abs()) + torch.lgamma(x.abs() + 1) if self.strange else x)


@pytest.mark.parametrize("images_first", [True, False])
def test_accounts_are_told_by_image_whatever_axis_images_are_on(images_first: bool) -> None:  # noqa: FBT001
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = _Encoder(images_first=images_first).double()
    checkpoint = checkpoint_of(model, (16, 16))
    batch = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    found = relevance_of(checkpoint, batch, lambda output: output[:, 0])
    gap, size = found.gap()
    assert bool((gap.abs() < 1e-12 * size).all())  # float64 rounding
    for image in range(4):
        alone = relevance_of(checkpoint, batch[image][None], lambda output: output[:, 0])
        torch.testing.assert_close(found.pixels[image], alone.pixels[0])
        for name, amount in alone.apart.items():
            torch.testing.assert_close(found.apart[name][image], amount[0])


def test_a_function_without_a_rule_is_named() -> None:
    checkpoint = checkpoint_of(_Encoder(images_first=True, strange=True).double(), (16, 16))
    batch = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    found = relevance_of(checkpoint, batch, lambda output: output[:, 0])
    assert found.without_rule == ("lgamma",)
    assert "functions without a rule" in found.apart
    gap, size = found.gap()
    assert bool((gap.abs() < 1e-12 * size).all())


def test_nothing_is_left_behind(tiny: hs.Checkpoint, batch: Tensor) -> None:
    before = tiny.model(batch).clone()

    def fails(output: Tensor) -> Tensor:
        raise KeyError(output.shape)

    with pytest.raises(KeyError):
        relevance_of(tiny, batch, fails)
    handle = tiny.model.blocks[1].register_forward_hook(lambda *_: 1 / 0)  # pyright: ignore
    with pytest.raises(ZeroDivisionError):
        relevance_of(tiny, batch, lambda output: output[:, 0])
    handle.remove()
    with torch.inference_mode():
        relevance_of(tiny, batch, lambda output: output[:, 0])
    assert torch.equal(tiny.model(batch), before)
    assert torch.overrides._get_current_function_mode_stack() == []  # pyright: ignore
    assert tiny.lock.acquire(blocking=False)
    tiny.lock.release()
    assert all(p.grad is None and not p.requires_grad for p in tiny.model.parameters())
    assert not batch.requires_grad


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_torchvisions_models_add_up(name: str) -> None:
    from torchvision.models import SwinTransformer, VisionTransformer

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = (
            VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=3)
            if name == "vit"
            else SwinTransformer([4, 4], 8, [2, 2], [2, 2], [2, 2], num_classes=3)
        ).double()
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    checkpoint = hs.wrap(model, image_size=32, labels=("a", "b", "c"))
    batch = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    found = relevance_of(checkpoint, batch, lambda output: output[:, 0] - output[:, 2])
    gap, size = found.gap()
    assert found.without_rule == ()
    assert bool((gap.abs() < 1e-12 * size).all())  # float64 rounding
    values, apart, where = found.patches(checkpoint.layout)
    assert values.shape == ((3, 4, 4) if name == "vit" else (3, 8, 8))
    assert where == ("conv_proj" if name == "vit" else "features.0.0")
    whole = values.sum((1, 2)) + torch.stack([*apart.values()]).sum(0)
    torch.testing.assert_close(whole, found.score, rtol=1e-9, atol=1e-12)
