"""LeGrad against a replica from the paper: each layer by itself, through no later one."""

from typing import Any

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.heads import head_shares

from . import plain
from .test_rollout import KINDS, prefix_of


def naive_legrad(model: Any, batch: torch.Tensor, prefix: int, target: int) -> np.ndarray:
    """By layer and head, `image layer head row column`: one pass up to each layer and back."""
    n_layers, n_heads = len(model.blocks), model.blocks[0].attn.num_heads
    parts = np.zeros((len(batch), n_layers, n_heads, *plain.GRID))
    for layer in range(n_layers):
        hidden = model.norm_pre(model._pos_embed(model.patch_embed(batch)))
        for block in model.blocks[:layer]:
            hidden, _ = plain.step(block, hidden)
        hidden, attended = plain.step(model.blocks[layer], hidden.detach().requires_grad_())
        score = model.forward_head(model.norm(hidden))[:, target]
        (slope,) = torch.autograd.grad(score.sum(), [attended])
        for image in range(len(batch)):
            for head in range(n_heads):
                kept = np.maximum(slope[image, head].numpy(), 0)
                mean = kept.mean(0)[prefix:].reshape(plain.GRID)
                parts[image, layer, head] = mean / n_heads
    return parts


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_papers(kind: str) -> None:
    checkpoint, batch = plain.vit(**KINDS[kind]), plain.images()
    expected = naive_legrad(checkpoint.model, batch, prefix_of(checkpoint), 0)
    found = explain(checkpoint, batch, "legrad", target=0)
    assert found.heads is not None
    # float64 in both: rounding.
    np.testing.assert_allclose(found.heads, expected, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(found.values, expected.sum((1, 2)), rtol=1e-8)
    np.testing.assert_allclose(head_shares(found).sum((1, 2)), 1)
    assert np.ptp(found.values) > 1e-4


def test_a_pooling_is_differentiated_by_its_own_map() -> None:
    """One query over the patches that each block gives, in the place of the blocks' maps."""
    checkpoint = plain.vit(class_token=False, global_pool="map")
    model: Any = checkpoint.model
    batch, expected = plain.images(), np.zeros((3, *plain.GRID))
    hidden = model._pos_embed(model.patch_embed(batch.clone().requires_grad_()))
    for block in model.blocks:
        hidden, _ = plain.step(block, hidden)
        pool, normed = model.attn_pool, model.norm(hidden)
        query = pool.q(pool.latent.expand(len(batch), -1, -1))
        query, key, value = (
            part.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
            for part in (query, *pool.kv(normed).chunk(2, dim=-1))
        )
        attended = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        pooled = pool.proj((attended @ value).transpose(1, 2).flatten(2))
        pooled = pooled + pool.mlp(pool.norm(pooled))
        score = model.head(model.fc_norm(pooled[:, 0]))[:, 0]
        (slope,) = torch.autograd.grad(score.sum(), [attended], retain_graph=True)
        expected += slope.clamp_min(0).mean((1, 2)).unflatten(1, plain.GRID).numpy()
    # What was computed here by hand is the model's own output.
    torch.testing.assert_close(score.detach(), checkpoint.run(batch)[:, 0].clone())
    found = explain(checkpoint, batch, "legrad", target=0)
    np.testing.assert_allclose(found.values, expected, rtol=1e-8)
    assert found.heads is None


def test_a_layer_that_adds_nothing_has_no_part(known: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    found = explain(known, batch, "legrad", target=0)
    content = batch.mean(1).unflatten(1, (4, 8)).unflatten(3, (4, 8)).mean((2, 4)).numpy()
    # ∂s/∂A is 2 v in the class row of head 2 (one query of 17, one head of 5), below 0 in head 3.
    np.testing.assert_allclose(found.values, 2 * content / 17 / 5, rtol=1e-9)
    np.testing.assert_allclose(head_shares(found)[:, 0, 2], 1)
