"""Planted sinks and massive activations are found; models without them report none."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.sinks.find import find_sinks
from headscope.analysis.sinks.hidden import magnitudes, sink_value
from headscope.analysis.sinks.mechanism import BROADCAST, MIXED, NO_OP, NONE

N_TOKENS, SINK = 17, 1 + 5
rng = np.random.default_rng(5)


def planted(sink=SINK, mass=0.6):
    """A map that gives `mass` to one token and the rest to others unalike."""
    others = np.random.default_rng(3).uniform(0.5, 1.5, (N_TOKENS, N_TOKENS))
    others[:, sink] = 0
    maps = (1 - mass) * others / others.sum(1, keepdims=True)
    maps[:, sink] = mass
    return maps


def to_itself(sink, mass):
    """A map that gives `mass` to one token and the rest to the query itself."""
    maps = np.eye(N_TOKENS) * (1 - mass)
    maps[:, sink] += mass
    return maps


UNIFORM = np.full((N_TOKENS, N_TOKENS), 1 / N_TOKENS)


def give_values(checkpoint, norms):
    """Value of token j in head h: its own direction, as long as `norms[h][j]`."""
    for block in checkpoint.model.blocks:
        dim = block.attn.qkv.in_features
        weight = block.attn.qkv.weight.view(3, len(norms), N_TOKENS, dim)
        with torch.no_grad():
            weight[2] = 0
            for head, lengths in enumerate(norms):
                weight[2, head, :, :N_TOKENS] = torch.diag(torch.tensor(lengths))


def test_a_planted_sink_is_found_in_its_head_with_its_token(of_maps, known_crops):
    checkpoint = of_maps([planted(), UNIFORM, planted(0, 0.9)])
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops), batch_size=2)
    found = {(sink.layer, sink.head): sink for sink in report.heads}
    assert set(found) == {(0, 0), (0, 2), (1, 0), (1, 2)}
    for layer in range(2):
        patch, of_class = found[layer, 0], found[layer, 2]
        assert (patch.token.index, patch.token.label) == (SINK, "patch 1, 1")
        assert of_class.token.kind == "class"
        for sink, score in ((patch, 0.6), (of_class, 0.9)):
            np.testing.assert_allclose(sink.score, score, rtol=1e-12)  # float64
            assert (sink.sink_share, sink.constancy, sink.is_fixed) == (1, 1, True)
            np.testing.assert_allclose(sink.agreement, 1, rtol=1e-9)  # maps do not see the image
    # All but one of the others share what is left, each about as much.
    c = planted().mean(0)
    np.testing.assert_allclose(found[0, 0].concentration, c.max() / np.median(c), rtol=1e-11)
    assert not report.massive
    assert not report.has_none


def test_a_sink_that_moves_with_the_image_is_told_from_a_fixed_one(demo):
    from headscope.models.demo.scenes import scene

    crops = np.stack([scene(i).image for i in range(8)])
    report = find_sinks(demo, demo.prepare(crops))
    moving = [sink for sink in report.heads if not sink.is_fixed]
    fixed = [sink for sink in report.heads if sink.is_fixed]
    assert moving
    assert all(sink.token.kind == "class" for sink in fixed)
    assert "moves with the image" in report.describe()
    assert "class (in 100% of images)" in report.describe()
    assert min(sink.agreement for sink in fixed) > max(
        sink.agreement for sink in moving if sink.score > 0.2
    )


def test_heads_that_look_at_places_have_no_sink(of_maps, six, known_crops):
    from_six = find_sinks(six, six.prepare(known_crops))
    assert {(sink.head, sink.token.index) for sink in from_six.heads} == {(4, 0), (5, SINK)}
    none = of_maps([np.eye(N_TOKENS), UNIFORM])
    report = find_sinks(none, none.prepare(known_crops))
    assert report.has_none
    assert (report.data["mechanism"].values == NONE).all()
    assert (report.data["sink_lift"].values < 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", (48, 80)),
        ("swin_tiny_patch4_window7_224", 112),
        ("vit_small_patch14_reg4_dinov2", 56),
        ("vit_base_patch16_siglip_224", 48),
        ("crossvit_tiny_240", 240),
        ("cait_xxs24_224", 64),
    ],
)
def test_random_networks_of_every_family_have_none(name, size):
    checkpoint = hs.load(name, pretrained=False, seed=1, image_size=size)
    size = checkpoint.preprocessing.size
    batch = torch.randn(2, 3, *size, generator=torch.manual_seed(0))
    report = find_sinks(checkpoint, batch)
    assert report.has_none, report.describe()
    assert not report.sink_tokens
    score = report.data["sink_score"]
    there = np.arange(score.sizes["head"]) < np.array(checkpoint.n_heads)[:, None]
    assert np.isfinite(score.values[:, there]).all()
    assert np.isnan(score.values[:, ~there]).all()


@pytest.mark.parametrize("token", [0, 7])
def test_a_planted_massive_activation_is_found(token):
    """In a random network, through every layer: the residual stream carries it."""
    checkpoint = hs.load("vit_tiny_patch16_224", pretrained=False, seed=4, image_size=64)
    batch = torch.randn(3, 3, 64, 64, generator=torch.manual_seed(0))
    assert not find_sinks(checkpoint, batch).massive
    with torch.no_grad():
        checkpoint.model.pos_embed[0, token, 11] = -3000
    report = find_sinks(checkpoint, batch, batch_size=2)
    found = {(one.layer, one.token.index, one.dimension): one for one in report.massive}
    assert set(found) == {(layer, token, 11) for layer in range(12)}
    seen = []
    checkpoint.model.blocks[0].register_forward_hook(lambda *run: seen.append(run[-1]))
    checkpoint.run(batch)
    hidden = seen[0].double()
    one = found[0, token, 11]
    # float32 means of three numbers
    np.testing.assert_allclose(one.value, hidden[:, token, 11].mean(), rtol=1e-6)
    ratios = hidden[:, token, 11].abs() / hidden.abs().flatten(1).median(-1).values
    np.testing.assert_allclose(one.ratio, ratios.mean(), rtol=1e-6)
    assert (one.image_share, one.by_sun) == (1, 1)
    assert one.token.label == ("class" if token == 0 else "patch 1, 2")
    assert report.sink_dimensions == {192: (11,)}
    marked = {(sink.layer, sink.token.index) for sink in report.sink_tokens}
    assert marked == {(layer, token) for layer in range(12)}
    first = next(sink for sink in report.sink_tokens if sink.layer == 0)
    np.testing.assert_allclose(first.sink_value, 192**0.5, rtol=1e-3)  # all energy in one
    assert first.by_kang == 0, "20 is more than 192 channels can have"
    norms = report.data["token_norm"].values, report.data["token_norm_median"].values
    assert (norms[0] > 10 * norms[1]).all()
    assert (report.data["token_norm_token"].values == token).all()


def test_a_planted_register_is_found_by_its_place():
    checkpoint = hs.load("vit_small_patch14_reg4_dinov2", pretrained=False, image_size=56)
    with torch.no_grad():
        checkpoint.model.reg_token[0, 2, 30] = 2000
    batch = torch.randn(2, 3, 56, 56, generator=torch.manual_seed(0))
    report = find_sinks(checkpoint, batch)
    assert {one.token.label for one in report.massive} == {"register 2"}
    assert {one.dimension for one in report.massive} == {30}
    assert {sink.token.kind for sink in report.sink_tokens} == {"register"}


def test_windows_of_several_widths_have_their_own_dimensions():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, image_size=112)
    with torch.no_grad():
        # Of the last MLP of the first stage: every token of its output gets it.
        swin.model.layers[0].blocks[1].mlp.fc2.bias[3] = 1000
    report = find_sinks(swin, torch.randn(1, 3, 112, 112, generator=torch.manual_seed(0)))
    assert report.sink_dimensions == {96: (3,)}
    assert {one.layer for one in report.massive} == {1}


def test_mechanisms_of_hand_built_heads(of_maps, known_crops):
    maps = [planted(0), planted(SINK), to_itself(SINK, 0.35), planted(SINK), np.eye(N_TOKENS)]
    checkpoint = of_maps(maps)
    lengths = [rng.uniform(0.9, 1.1, N_TOKENS) for _ in maps]
    lengths[0][0] = 1e-3  # nothing there: no-op
    lengths[1][SINK] = 5  # the same long vector for all: broadcast
    lengths[3][SINK] = 0
    give_values(checkpoint, lengths)
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    expected = [NO_OP, BROADCAST, MIXED, NO_OP, NONE]
    assert report.data["mechanism"].values.tolist() == [expected] * 2
    ratio = report.data["value_ratio"].values[:, 0]
    for head in (0, 1, 3):
        sink = 0 if head == 0 else SINK
        others = np.delete(lengths[head], sink)
        # float64; the median of 16 numbers as torch has it, the lower of the middle two
        np.testing.assert_allclose(ratio[:, head], lengths[head][sink] / np.sort(others)[7])
    output = planted(SINK) @ np.diag(lengths[1])
    squares = np.linalg.svd(output, compute_uv=False) ** 2
    np.testing.assert_allclose(report.data["rank_one"].values[0, 0, 1], squares[0] / squares.sum())
    assert np.isnan(ratio[:, 4]).all()


def test_image_centric_heads_are_those_of_the_paper(of_maps, known_crops):
    spread = UNIFORM.copy()
    to_class = planted(0, 0.9)  # gives patches less than a fifth
    to_patch = planted(SINK, 0.9)  # gives a sink nearly all that patches get
    checkpoint = of_maps([spread, to_class, to_patch])
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    assert report.image_centric_heads == ((0, 0), (1, 0))
    patches = to_patch[:, 1:]
    np.testing.assert_allclose(
        report.data["non_sink_share"].values[:, 0, 2],
        1 - patches[:, SINK - 1].sum() / patches.sum(),
    )
    np.testing.assert_allclose(
        report.data["image_share"].values[:, 0, 1], to_class[:, 1:].sum() / 17
    )


def test_limits_are_shown_with_where_they_come_from(six, known_crops):
    report = find_sinks(six, six.prepare(known_crops))
    assert {"lift", "value", "rank", "massive", "tau"} <= set(report.limits)
    assert all(len(limit.source) > 5 for limit in report.limits.values())
    given = find_sinks(six, six.prepare(known_crops), lift=16.9)
    assert given.limits["lift"].value == 16.9
    for variable in report.data.data_vars.values():
        assert variable.attrs["long_name"]


def test_magnitudes_leave_out_what_nobody_wrote():
    hidden = torch.zeros(1, 10, 40, dtype=torch.float64)
    hidden[0, :, :3] = torch.tensor([1.0, -2.0, 3.0])
    hidden[0, 4, 30] = -500
    found = magnitudes(hidden)
    assert found.median.item() == 2
    assert (found.token[0, 0], found.dimension[0, 0], found.value[0, 0]) == (4, 30, -500)
    assert found.massive[0].tolist() == [True] + [False] * 7
    assert not found.massive_by_sun.any(), "250 times the median is none of theirs"


def test_sink_values_are_bounded_by_the_channels():
    hidden = torch.randn(2, 5, 64, generator=torch.manual_seed(0))
    hidden[:, 2] = 0
    hidden[:, 3] = 0
    hidden[:, 3, 9] = -7
    value = sink_value(hidden, torch.tensor([9, 20]))
    assert (value[:, 2] == 0).all()
    torch.testing.assert_close(value[:, 3], torch.full((2,), 8.0))
    naive = max(abs(hidden[0, 0, 9]), abs(hidden[0, 0, 20])) / hidden[0, 0].square().mean().sqrt()
    torch.testing.assert_close(value[0, 0], naive)


def test_hooks_are_gone_also_when_a_layer_raises(of_maps, known_crops):
    checkpoint = of_maps([UNIFORM, UNIFORM])
    batch = checkpoint.prepare(known_crops)

    def hooks():
        modules = list(checkpoint.model.modules())
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)

    before = hooks()
    find_sinks(checkpoint, batch)
    assert hooks() == before
    handle = checkpoint.model.blocks[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        find_sinks(checkpoint, batch)
    handle.remove()
    assert hooks() == before
    with pytest.raises(hs.HeadscopeError, match="no image"):
        find_sinks(checkpoint, [])


def test_a_sink_and_a_massive_activation_of_one_token_are_joined(of_maps, known_crops):
    """The known ViT in float64: every number has its closed form."""
    checkpoint = of_maps([planted(), UNIFORM])
    channel = N_TOKENS + 5  # of those that nothing reads
    with torch.no_grad():
        checkpoint.model.pos_embed[0, SINK, channel] = 1e4
    report = find_sinks(checkpoint, checkpoint.prepare(known_crops))
    assert {(one.layer, one.token.index, one.dimension) for one in report.massive} == {
        (layer, SINK, channel) for layer in range(2)
    }
    content = known_crops.reshape(3, 4, 8, 4, 8, 3).mean((2, 4, 5)).reshape(3, 16) / 255
    # What is written: a 1 for each token's place, each patch's content, and the planted one.
    written = np.sort([[*np.ones(N_TOKENS), *patches, 1e4] for patches in content], axis=1)
    median = written[:, (written.shape[1] - 1) // 2]  # as torch has it, the lower of two
    first = report.massive[0]
    np.testing.assert_allclose(first.value, 1e4, rtol=1e-12)
    np.testing.assert_allclose(first.ratio, (1e4 / median).mean(), rtol=1e-6)  # pixels in float32
    (of_layer,) = [sink for sink in report.heads if sink.layer == 1]
    assert (of_layer.head, of_layer.token.index, of_layer.longest) == (0, SINK, 1)
    assert np.isnan([sink.longest for sink in report.heads if sink.layer == 0]).all()
