"""What heads give over a set of images: moments, stand-ins, noise; nothing hangs on batches."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.models.ablation import ablate
from headscope.models.ablations import HeadStatistics, ablation, reference
from headscope.models.ablations.reference import _Moments
from headscope.models.replay import Replay


@pytest.fixture(scope="module")
def images(small):
    return torch.randn(5, 3, *small.preprocessing.size, generator=torch.manual_seed(0))


@pytest.fixture(scope="module")
def against(small, images):
    return reference(small, images, seed=1, batch_size=2)


def test_moments_are_those_of_all_images_at_once(small, images, against):
    replay = Replay(small, images)
    assert against.n_images == 5
    for layer in range(small.n_layers):
        outputs = replay.heads(layer).double().numpy()
        # float32 passes of other batch sizes
        np.testing.assert_allclose(against.mean[layer], outputs.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(against.std[layer], outputs.std(0), rtol=1e-4, atol=1e-5)
    assert float(against.std[3].min()) > 1e-4, "the images differ"


def test_many_images_cost_no_precision():
    """A large mean and a small spread, in float64: the textbook formula would lose it."""
    values = 1e6 + torch.randn(100, 1, 2, 3, generator=torch.manual_seed(0)).double()
    moments = _Moments()
    for part in values.split(7):
        moments.add(part)
    np.testing.assert_allclose(moments.std, values.numpy().std(0), rtol=1e-9)
    np.testing.assert_allclose(moments.mean, values.numpy().mean(0), rtol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_no_image_stands_in_for_itself(known, n, seed):
    images = torch.rand(n, 3, 32, 32, generator=torch.manual_seed(n))
    made = reference(known, images, seed=seed)
    donors = [made.donor_of[digest] for digest in made.digests]
    assert sorted(donors) == list(range(n))
    assert all(donor != image for image, donor in enumerate(donors))
    assert reference(known, images, seed=seed).donor_of == made.donor_of


def test_the_seed_draws_the_stand_ins(known):
    images = torch.rand(7, 3, 32, 32, generator=torch.manual_seed(0))
    drawn = {tuple(reference(known, images, seed=s).donor_of.values()) for s in range(5)}
    assert len(drawn) > 1


def test_an_image_that_is_there_twice_does_not_stand_in_for_itself(known):
    images = torch.rand(3, 3, 32, 32, generator=torch.manual_seed(0))
    made = reference(known, images[[0, 1, 0, 2, 1]])
    assert made.n_images == 5
    assert len(made.digests) == 3
    assert all(made.digests[donor] != digest for digest, donor in made.donor_of.items())


def test_an_image_from_outside_has_a_stand_in_too(small, images, against):
    outside = torch.zeros(1, *images.shape[1:])
    donor = against.donor(against.of(outside).digests[0])
    expected = Replay(small, images[donor : donor + 1]).heads(4)
    # float32 passes of the same size
    torch.testing.assert_close(against.of(outside).donors[4], expected, rtol=1e-5, atol=1e-6)


def test_noise_is_the_same_in_any_batch_and_other_for_every_head(images, against):
    together, alone = against.of(images[1:4]), against.of(images[2:3])
    assert torch.equal(together.noise(3, 1)[1:2], alone.noise(3, 1))
    drawn = [alone.noise(layer, head) for layer, head in ((3, 1), (3, 0), (4, 1))]
    drawn.append(against.of(images[1:2]).noise(3, 1))
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_noise_has_the_moments_of_the_head(small, images, against):
    normal = torch.cat([against.of(images).noise(layer, 0) for layer in range(12)]).double()
    # 61,440 draws: their mean lies within 5/√n of 0, their standard deviation within 5/√2n of 1.
    n = normal.numel()
    assert abs(float(normal.mean())) < 5 / n**0.5
    assert abs(float(normal.std()) - 1) < 5 / (2 * n) ** 0.5
    replay = Replay(small, images)
    made = ablation("noise").apply(replay.attention(2), [1], against.of(images))[:, 1]
    expected = against.mean[2][1] + against.std[2][1] * against.of(images).noise(2, 1)
    torch.testing.assert_close(made, expected)


def test_paths_and_arrays_are_read_when_their_turn_comes(known, known_crops):
    of_arrays = reference(known, list(known_crops), batch_size=2)
    of_batch = reference(known, known.prepare(known_crops), batch_size=2)
    assert of_arrays.digests == of_batch.digests
    assert torch.equal(of_arrays.mean[0], of_batch.mean[0])


@pytest.mark.parametrize("places", [[0], [0, 0, 0]])
def test_one_image_is_no_reference(known, known_crops, places):
    with pytest.raises(hs.HeadscopeError, match="at least two that differ"):
        reference(known, known.prepare(known_crops[places]))


def test_an_image_that_changed_says_so(known):
    images = torch.rand(3, 3, 32, 32, generator=torch.manual_seed(0))

    def read(indices):
        return known.batch(images[list(indices)])

    made = HeadStatistics.over(known, 3, read)
    stand_ins = made.of(known.batch(images))
    images[0, 0, 0, 0] += 1
    with pytest.raises(hs.HeadscopeError, match="changed after the reference was made"):
        _ = stand_ins.donors


def test_a_mode_that_compares_asks_for_a_reference_of_the_same_checkpoint(small, known, against):
    for mode in ("mean", "resample", "noise"):
        with (
            pytest.raises(hs.HeadscopeError, match=r"reference=hs\.reference"),
            ablate(small, [(0, 0)], mode=mode),
        ):
            pass
    with (
        pytest.raises(hs.HeadscopeError, match="other weights"),
        ablate(known, [(0, 0)], mode="mean", reference=against),
    ):
        pass


def test_ablating_with_a_reference_leaves_nothing_behind(small, images, against):
    before = small.run(images)
    for mode in ("mean", "resample", "noise"):
        with ablate(small, [(2, 1), (7, 0)], mode=mode, reference=against):
            ablated, again = small.run(images), small.run(images)
            part = small.run(images[3:4])
        assert torch.equal(ablated, again), mode
        assert (ablated - before).abs().max() > 1e-5, mode
        # Another batch size sums in another order; another image would be off by far.
        torch.testing.assert_close(part, ablated[3:4], rtol=1e-4, atol=1e-5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.model.modules())
    assert torch.equal(small.run(images), before)


@pytest.mark.parametrize("mode", ["mean", "resample"])
def test_a_pass_equals_one_with_columns_replaced_by_hand(small, images, against, mode):
    """With plain hooks on the projections: what goes in there are the heads, side by side."""
    heads = [(2, 1), (2, 0), (7, 2)]
    clean = {}
    for layer in (2, 7):
        keep = small.model.blocks[layer].attn.proj.register_forward_pre_hook(
            lambda _m, args, layer=layer: clean.__setitem__(layer, args[0].clone())
        )
        small.run(images)
        keep.remove()
    donors = [against.donor(digest) for digest in against.of(images).digests]
    handles = []
    for layer, head in heads:
        attention = small.model.blocks[layer].attn
        columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
        other = clean[layer].mean(0) if mode == "mean" else clean[layer][donors]

        def replace(_module, args, columns=columns, other=other):
            joined = args[0].clone()
            joined[..., columns] = other[..., columns]
            return (joined,)

        handles.append(attention.proj.register_forward_pre_hook(replace))
    expected = small.run(images)
    for handle in handles:
        handle.remove()
    assert (expected - small.run(images)).abs().max() > 1e-4
    with ablate(small, heads, mode=mode, reference=against):
        ours = small.run(images)
    # float32: means of batches of two against one of all five
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_part_of_the_model_is_no_pass(small, images, against):
    with (
        ablate(small, [(0, 0)], mode="mean", reference=against),
        pytest.raises(hs.HeadscopeError, match="whole forward passes"),
    ):
        small.model.forward_features(images)
