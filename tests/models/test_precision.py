"""Linear layers: exact where they say so, and true to the size of the change where they round."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import headscope as hs
from headscope.models.precision import Linears, check_precision
from headscope.models.replay import Replay


def linear_case(n_changed, change, seed=0):
    """A clean input, changed ones, weight and bias; inputs as `image token channel`."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(2, 7, 24, generator=generator)
    changed = clean + change * torch.randn(n_changed, 2, 7, 24, generator=generator)
    weight, bias = (torch.randn(*shape, generator=generator) for shape in ((16, 24), (16,)))
    return clean, changed.flatten(0, 1), torch.nn.Parameter(weight), bias


def exactly(x, weight, bias):
    return functional.linear(x.double(), weight.double(), bias.double())


@torch.inference_mode()
def test_the_exact_form_differs_by_the_order_of_sums_alone():
    x, _, weight, bias = linear_case(1, 1.0)
    with Linears():
        ours = functional.linear(x, weight, bias).double()
    # 24 products of size 1, each rounded to 6e-8: 1e-6 is several of them.
    torch.testing.assert_close(ours, exactly(x, weight, bias), rtol=0, atol=5e-6)


@pytest.mark.parametrize("change", [1.0, 1e-2, 1e-4])
@torch.inference_mode()
def test_the_error_of_a_difference_shrinks_with_the_difference(change):
    clean, changed, weight, bias = linear_case(3, change)
    linears = Linears("bfloat16")
    with linears.clean_pass():
        before = functional.linear(clean, weight, bias)
    with linears:
        ours = functional.linear(changed, weight, bias).double()
    exact = exactly(changed, weight, bias)
    size = (exact - exactly(clean, weight, bias).repeat(3, 1, 1)).abs().max()
    # Three roundings (weight, change, result) of 2^-9 each; the float32 around them gives 5e-6.
    assert (ours - exact).abs().max() < 3 * 2**-9 * size + 5e-6
    torch.testing.assert_close(before.double(), exactly(clean, weight, bias), rtol=0, atol=5e-6)
    whole = functional.linear(changed.bfloat16(), weight.bfloat16(), bias.bfloat16()).double()
    assert (whole - exact).abs().max() > 1e-3, "rounding the values does harm here"


@torch.inference_mode()
def test_no_change_is_exactly_no_change():
    clean, changed, weight, bias = linear_case(3, 0.0)
    linears = Linears("bfloat16")
    with linears.clean_pass():
        before = functional.linear(clean, weight, bias).clone()
        functional.linear(clean, weight, bias).zero_()  # a second use, and in place
    with linears:
        assert torch.equal(functional.linear(clean, weight, bias), before)
    with linears.clean_pass():
        functional.linear(clean, weight, bias).zero_()
    with linears:
        after = functional.linear(changed, weight, bias)
    assert torch.equal(after, before.repeat(3, 1, 1))


@torch.inference_mode()
def test_what_has_no_counterpart_in_the_clean_pass_runs_exactly():
    clean, changed, weight, bias = linear_case(3, 1.0)
    linears = Linears("bfloat16")
    with linears.clean_pass():
        functional.linear(clean, weight, bias)
    for x, made in ((changed[:, :2], weight), (changed[:3], weight), (changed, weight * 3)):
        with linears:
            ours = functional.linear(x, made, bias).double()
        torch.testing.assert_close(ours, exactly(x, made, bias), rtol=0, atol=2e-5)


def test_float64_is_left_as_it_is(known, known_crops):
    batch = known.prepare(known_crops)
    assert torch.equal(Replay(known, batch).output, known.run(batch))


def zero_each_head(replay):
    """The model's output without each head in turn: `head image output`, layer by layer."""
    for layer, n_heads in enumerate(replay.checkpoint.n_heads):
        heads = replay.heads(layer).expand(n_heads, *replay.heads(layer).shape).clone()
        for head in range(n_heads):
            heads[head, :, head] = 0
        yield replay.resume(layer, heads)[1]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_336"])
def test_bfloat16_importance_is_that_of_float32_but_for_its_rounding(name):
    """With the arithmetic of bfloat16 or its emulation: what is tested is the rounding."""
    size = 48 if "16" in name else 56
    checkpoint = hs.load(name, pretrained=False, image_size=size)
    low = hs.Checkpoint.of(
        checkpoint.model,
        name="low",
        architecture=name,
        preprocessing=checkpoint.preprocessing,
        loaded_with={"precision": "bfloat16"},
    )
    batch = torch.randn(1, 3, size, size, generator=torch.manual_seed(0))
    drops = []
    for subject in (checkpoint, low):
        replay = Replay(subject, batch)
        drops.append(np.stack([(o - replay.output).numpy() for o in zero_each_head(replay)]))
        clean = checkpoint.run(batch)
        assert (replay.output - clean).abs().max() < 1e-5 * clean.abs().max(), "both in float32"
    change = np.abs(drops[0]).max(-1)
    error = np.abs(drops[1] - drops[0]).max(-1)
    scale = checkpoint.run(batch).abs().max().item()
    assert change.max() > 1e-2 * scale, "the ablations show"
    # 2^-9 in each of some fifty linear layers, adding up as their root: 1.4 %; and twice that.
    assert (error < 0.03 * change + 1e-5 * scale).all()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("float8", "there are: bfloat16, float16, float32"), ("float16", "CUDA device only")],
)
def test_a_precision_that_is_not_there_gets_a_sentence(name, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence):
        hs.load("demo/supervised", precision=name)


def test_a_cpu_that_would_emulate_bfloat16_says_so(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.raises(hs.HeadscopeError, match="no arithmetic in bfloat16"):
        check_precision("bfloat16", torch.device("cpu"))


def test_the_precision_is_told_with_the_checkpoint(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    checkpoint = hs.load("demo/supervised", precision="bfloat16")
    assert checkpoint.loaded_with["precision"] == "bfloat16"
    assert all(p.dtype == torch.float32 for p in checkpoint.model.parameters())
