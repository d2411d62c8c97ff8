"""Grad-CAM against captum and pytorch-grad-cam, each used by itself, and its parts by head."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.dependence import dependence
from headscope.models.gradients import attention_gradients

from ...contracts.networks import NETWORKS, noise
from ...contracts.networks import small as network
from . import plain


def tokens_to_image(grid: tuple[int, int], prefix: int) -> Callable[[Tensor], Tensor]:
    return lambda tokens: tokens[:, prefix:].transpose(1, 2).unflatten(2, grid)


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "class": ({}, "blocks.2.norm1"),
    "registers": ({"reg_tokens": 2}, "blocks.2.norm1"),
    "average": ({"class_token": False, "global_pool": "avg"}, "blocks.2"),
    "average beside a class token": ({"global_pool": "avg"}, "blocks.2"),
}
"""How a ViT is built, and the module whose output is read."""


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_it_is_what_pytorch_grad_cam_gives(kind: str, *, relu: bool) -> None:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    options, where = CASES[kind]
    checkpoint, batch = plain.vit(**options), plain.images()
    found = explain(checkpoint, batch, "grad-cam", target=0, relu=relu)
    assert found.where == where
    raw = _unscaled(GradCAM)(
        model=checkpoint.model,
        target_layers=[checkpoint.model.get_submodule(where)],
        reshape_transform=tokens_to_image(plain.GRID, checkpoint.layout.n_prefix),
    )
    expected = raw(batch.requires_grad_(), [ClassifierOutputTarget(0)] * len(batch))
    expected = np.maximum(expected, 0) if relu else expected
    assert np.ptp(found.values) > 1e-4
    # float64 in both: rounding.
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", CASES)
def test_plus_plus_is_what_pytorch_grad_cam_gives(kind: str) -> None:
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    options, where = CASES[kind]
    checkpoint, batch = plain.vit(**options), plain.images()
    with torch.no_grad():  # it adds 1e-6 below the line, beside which small derivatives vanish
        checkpoint.model.get_submodule("head").weight *= 1e6
    found = explain(checkpoint, batch, "grad-cam-plus-plus", target=0)
    assert found.where == where
    raw = _unscaled(GradCAMPlusPlus)(
        model=checkpoint.model,
        target_layers=[checkpoint.model.get_submodule(where)],
        reshape_transform=tokens_to_image(plain.GRID, checkpoint.layout.n_prefix),
    )
    expected = raw(batch.requires_grad_(), [ClassifierOutputTarget(0)] * len(batch))
    assert np.ptp(found.values) > 1e-4
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)


def _unscaled(kind: Any) -> Any:
    """Its maps before they are cut at 0, scaled to 0…1 and resized."""

    class Unscaled(kind):
        def compute_cam_per_layer(self, input_tensor: Any, targets: Any, eigen_smooth: Any) -> Any:
            activations = self.activations_and_grads.activations[0].detach().numpy()
            slopes = self.activations_and_grads.gradients[0].detach().numpy()
            layers = (input_tensor, self.target_layers[0], targets)
            return self.get_cam_image(*layers, activations, slopes, eigen_smooth)

        def aggregate_multi_layers(self, cam_per_target_layer: Any) -> Any:
            return cam_per_target_layer

    return Unscaled


def test_it_is_what_captum_gives_for_convolutional_features() -> None:
    """Where a module gives channels first, captum needs nothing of ours."""
    checkpoint = network("byoanet bottleneck")
    batch = noise(checkpoint)
    found = explain(checkpoint, batch, "grad-cam", target=0)
    module = checkpoint.model.get_submodule(found.where)
    expected = LayerGradCam(checkpoint.model, module).attribute(batch, target=0)
    assert isinstance(expected, Tensor)
    # float32, through the same operations but for a copy.
    np.testing.assert_allclose(found.values, expected[:, 0].detach(), rtol=1e-5, atol=1e-7)


def test_channels_may_come_last_as_in_swin() -> None:
    checkpoint = network("swin_transformer")
    batch = noise(checkpoint)
    found = explain(checkpoint, batch, "grad-cam", target=4)
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        seen.append(output)

    block = checkpoint.model.get_submodule("layers.2.blocks.0")
    assert found.where == "layers.2.blocks.0"
    handle = block.register_forward_hook(keep)
    score = checkpoint.model(batch.clone().requires_grad_())[:, 4].sum()
    handle.remove()
    (slope,) = torch.autograd.grad(score, seen)
    expected = (slope.mean((1, 2), keepdim=True) * seen[0]).sum(-1).detach()
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "where"),
    {
        "cait": "blocks.1",  # before the class token comes in
        "crossvit": "blocks.1.fusion.1.norm1",  # the finer branch
        "deit": "blocks.1.norm1",
        "eva rotary": "blocks.1",  # averages the patches beside class and registers
        "mvitv2 class": "stages.3.blocks.0.norm1",
        "naflexvit pool": "blocks.1",
        "nest": "levels.2.transformer_encoder.0",
        "tnt": "blocks.1.norm_out",
        "vision_transformer pool": "blocks.1",
        "volo": "network.4.0",
        "xcit": "cls_attn_blocks.1.norm1",
    }.items(),
)
def test_the_place_is_one_that_the_output_depends_on(name: str, where: str) -> None:
    found = explain(network(name), noise(network(name)), "grad-cam", target=0)
    assert found.where == where
    assert np.ptp(found.values, axis=(1, 2)).min() > 0
    assert len(found.notes) == (name in ("crossvit", "tnt"))


def test_a_layer_can_be_chosen(known: hs.Checkpoint) -> None:
    checkpoint, batch = plain.vit(), plain.images()
    assert explain(checkpoint, batch, "grad-cam", layer=0).where == "blocks.0"
    # The patches that its last block gives have no way to the class token.
    assert explain(checkpoint, batch, "grad-cam", layer=2).where == "blocks.2.norm1"
    with pytest.raises(hs.HeadscopeError, match="no layer 3"):
        explain(checkpoint, batch, "grad-cam", layer=3)
    cross = network("crossvit")
    coarse = explain(cross, noise(cross), "grad-cam", layer=7)
    assert coarse.values.shape[1:] == (7, 7)
    batch = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    with pytest.raises(hs.HeadscopeError, match=r"not depend on patches of layer 1; .* it does: 0"):
        explain(known, batch, "grad-cam", layer=1)  # which adds nothing


@pytest.mark.parametrize(
    ("name", "layer"),
    [("vision_transformer", None), ("swin_transformer", 1), ("crossvit", None), ("cait", None)],
)
def test_parts_by_head_are_outputs_times_their_derivative(name: str, layer: int | None) -> None:
    """With what goes to prefix tokens; in layers without padding, and with heads not mixed."""
    checkpoint = network(name)
    batch = noise(checkpoint)
    found = explain(checkpoint, batch, "grad-cam", target=1, layer=layer)
    assert found.heads is not None
    passed = attention_gradients(checkpoint, batch, lambda output: output[:, 1])
    looked = 0
    for of_layer in passed.layers:
        attention, slope = of_layer.attention, of_layer.gradient
        maps = found.heads[:, of_layer.layer, : checkpoint.n_heads[of_layer.layer]]
        if np.isnan(maps).any():
            assert attention.keys.grid != found.values.shape[1:]
            continue
        if attention.of.mixed:
            continue
        assert (attention.layout.key_tokens >= 0).all()
        weighed = (attention.mixed_weights * slope.mixed_weights).double()
        prefix = weighed.sum(2)[..., ~torch.from_numpy(attention.keys.is_patch)].sum(-1)
        product = attention.head_output.double() * slope.head_output.double()
        whole = product.sum((-1, -2)).numpy()
        limit = 1e-4 * np.abs(whole).max() + 1e-8  # float32
        np.testing.assert_allclose(maps.sum((-1, -2)) + prefix.numpy(), whole, atol=limit)
        looked += 1
    assert looked
    assert explain(checkpoint, batch, "grad-cam", by_head=False).heads is None


def test_the_known_head_carries_the_known_map(known: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = explain(known, batch, "grad-cam", target=0)
    # Layer 1 adds nothing: what is read is what layer 0 is given.
    assert found.where == "blocks.0.norm1"
    content = batch.mean(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4)).numpy()
    # ∂S/∂content is 2/17 at each patch, and half less at the sink; positions have no part.
    np.testing.assert_allclose(found.values, content * (2 / 17 - 0.5 / 16), rtol=1e-9)
    assert found.heads is not None
    np.testing.assert_allclose(found.heads[:, 0, 2], 2 * content / 17, rtol=1e-9)
    assert not found.heads[:, 0, [0, 1, 4]].any()


def test_the_dependence_is_the_networks_not_an_ablations(known: hs.Checkpoint) -> None:
    checkpoint = plain.vit()
    with hs.ablate(checkpoint, [(2, head) for head in range(3)]):
        found = dependence(checkpoint)
    assert found.given[2] is not None
    assert found.given[2].kinds == {"class", "patch"}
    assert found.made[2] is not None
    assert found.made[2].kinds == {"class"}


def test_networks_that_have_a_place_are_all() -> None:
    from headscope.analysis.explain import method_of

    for name in NETWORKS:
        assert method_of("grad-cam").why_not(network(name)) == ""
