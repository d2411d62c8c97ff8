"""TokenCut: graphs whose cut is known, a replica from the paper, and scenes."""

import numpy as np
import pytest
import torch
from scipy import linalg

import headscope as hs
from headscope.analysis.explain import explain
from headscope.analysis.explain.perturbing import patch_grid
from headscope.analysis.explain.token_cut import (
    object_mask,
    oriented,
    patch_features,
    second_eigenvector,
)
from headscope.models.demo.scenes import scene

from ...contracts.networks import noise
from ...contracts.networks import small as network

TAU, EPSILON = 0.2, 1e-5


@pytest.fixture(scope="module")
def scenes(demo: hs.Checkpoint) -> torch.Tensor:
    return demo.prepare(np.stack([scene(seed).image for seed in range(3)]))


def test_two_blocks_are_cut_apart() -> None:
    """Features of two directions: y is constant on each block, and in closed form."""
    features = torch.zeros(1, 12, 2, dtype=torch.float64)
    small, large = np.arange(4), np.arange(4, 12)
    features[0, small, 0] = features[0, large, 1] = 1
    vector, tied = second_eigenvector(features, TAU, EPSILON)
    assert not tied.any()
    volume = np.array([4 * (4 + 8 * EPSILON), 8 * (8 + 4 * EPSILON)])
    # Dᵀ-orthogonal to the constant, with yᵀ D y = 1.
    expected = np.repeat(
        [np.sqrt(volume[1] / volume[0]), -np.sqrt(volume[0] / volume[1])], [4, 8]
    ) / np.sqrt(volume.sum())
    # The gap to the next eigenvalue is 1, so the vector is known to float64.
    np.testing.assert_allclose(np.abs(vector[0].numpy()), np.abs(expected), rtol=1e-10)
    values = oriented(vector.numpy())[0]
    # The smaller block has the larger value, and is the foreground.
    np.testing.assert_allclose(values, expected - expected.mean(), rtol=1e-10)


def test_a_graph_without_a_cut_is_said_to_have_none() -> None:
    alike = torch.ones(1, 9, 3, dtype=torch.float64)
    three = torch.eye(3, dtype=torch.float64).repeat_interleave(3, 0)[None]
    assert second_eigenvector(alike, TAU, EPSILON)[1].all()
    assert second_eigenvector(three, TAU, EPSILON)[1].all()


def replica(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Section 3.2 of the paper with loops and a general eigen-solver: the map and its side."""
    n = len(keys)
    edges = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            cosine = keys[i] @ keys[j] / (np.linalg.norm(keys[i]) * np.linalg.norm(keys[j]))
            edges[i, j] = 1 if cosine >= TAU else EPSILON
    degree = np.diag(edges.sum(1))
    vector = linalg.eigh(degree - edges, degree)[1][:, 1]
    side = vector > vector.mean()
    if not side[np.abs(vector).argmax()]:
        vector, side = -vector, ~side
    return vector, side


def test_demo_checkpoints_agree_with_a_replica(scenes: torch.Tensor, demo: hs.Checkpoint) -> None:
    seen: list[torch.Tensor] = []
    attention = demo.model.get_submodule("blocks.5.attn")
    hook = attention.get_submodule("qkv").register_forward_hook(lambda *a: seen.append(a[2]))
    demo.run(scenes)
    hook.remove()
    n_heads = demo.n_heads[-1]
    keys = seen[0].unflatten(-1, (3, n_heads, -1))[:, 1:, 1].flatten(2).double().numpy()
    found = explain(demo, scenes, "token-cut")
    assert found.where == "keys of blocks.5.attn"
    assert not found.notes
    for image in range(3):
        vector, side = replica(keys[image])
        ours = found.values[image].ravel()
        assert 0.02 < side.mean() < 0.98
        assert np.array_equal(ours > 0, side)
        # LAPACK scales the generalised problem as we do: yᵀ D y = 1.
        np.testing.assert_allclose(ours, vector - vector.mean(), atol=1e-9 * np.abs(vector).max())


def test_the_mask_is_the_largest_connected_part() -> None:
    values = np.full((3, 4, 5), -1.0)
    values[0, 0, :2] = values[0, 2:, 2:4] = 1  # 2 and 4 patches
    values[1, [0, 1, 2], [0, 1, 2]] = 1  # corners do not connect
    masks = object_mask(values)
    assert masks[0].sum() == 4
    assert masks[0, 2:, 2:4].all()
    assert np.argwhere(masks[1]).tolist() == [[0, 0]]
    assert not masks[2].any()


@pytest.mark.parametrize("name", ["demo/supervised", "demo/masked", "demo/registers"])
def test_masks_overlap_the_objects_better_than_those_of_other_scenes(name: str) -> None:
    checkpoint = hs.load(name)
    drawn = [scene(seed) for seed in range(20)]
    batch = checkpoint.prepare(np.stack([one.image for one in drawn]))
    masks = object_mask(explain(checkpoint, batch, "token-cut").values)
    pixels = patch_grid(checkpoint).pixels(torch.from_numpy(masks)).numpy()
    truth = np.stack([np.any([o.mask for o in one.objects], axis=0) for one in drawn])

    def overlap(shift: int) -> np.ndarray:
        moved = np.roll(pixels, shift, axis=0)
        return (moved & truth).sum((1, 2)) / (moved | truth).sum((1, 2))

    chance = np.mean([overlap(shift).mean() for shift in range(1, 20)])
    own = overlap(0)
    # Measured over 40 scenes: 0.27 to 0.32 against 0.08 to 0.12; three standard errors apart.
    assert own.mean() - 3 * own.std() / np.sqrt(len(own)) > chance


@pytest.mark.parametrize("compare", ["keys", "queries", "values", "tokens"])
@pytest.mark.parametrize("name", ["swin_transformer", "crossvit", "cait", "mobilevit", "levit"])
def test_families_have_features_by_patch(name: str, compare: str) -> None:
    checkpoint = network(name)
    batch = noise(checkpoint)
    features = patch_features(checkpoint, batch, compare)
    rows, columns = features.grid
    assert features.values.shape[:2] == (2, rows * columns)
    assert bool((features.values[0] != features.values[1]).any())
    assert (compare in features.where) or features.where.startswith("output of")
    assert bool(features.notes) == (compare != "tokens" and compare not in features.where)


@pytest.mark.parametrize(
    ("name", "layer", "compare"),
    [("swin_transformer", 1, "values"), ("twins svt", 0, "keys"), ("twins svt", 0, "queries")],
)
def test_features_of_windows_stand_at_their_patches(name: str, layer: int, compare: str) -> None:
    """Windows are cut from a (shifted) image; by token they are those of the layer's own input."""
    checkpoint, seen = network(name), list[torch.Tensor]()
    of, batch = checkpoint.layers[layer], noise(network(name))
    assert "windows" in of.kind
    norm = checkpoint.model.get_submodule(of.block).get_submodule("norm1")
    hook = norm.register_forward_hook(lambda *a: seen.append(a[2]))
    found = patch_features(checkpoint, batch, compare, layer)
    hook.remove()
    assert found.where == f"{compare} of {of.module}"
    qkv = checkpoint.model.get_submodule(of.module).get_submodule("qkv")
    place = ("queries", "keys", "values").index(compare)
    with torch.no_grad():
        expected = qkv(seen[0].reshape(2, -1, seen[0].shape[-1])).chunk(3, -1)[place]
    torch.testing.assert_close(found.values, expected)


def test_layers_and_models_that_do_not_fit_are_told() -> None:
    cait = network("cait")
    batch = noise(cait)
    with pytest.raises(hs.HeadscopeError, match="no patches on a grid attend"):
        explain(cait, batch, "token-cut", layer=cait.n_layers - 1)
    with pytest.raises(hs.HeadscopeError, match="There is no layer 99"):
        explain(cait, batch, "token-cut", layer=99)
