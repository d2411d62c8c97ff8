"""What is read of every family is what the model computed; nothing is missed, nothing is left."""

import inspect
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import timm.models
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import headscope as hs
from headscope.models.capture import watch

from .networks import NETWORKS, REFUSED, noise, read, small

NOT_ATTENTION = {
    "_efficientnet_blocks": "its attention is that of mobilenetv5",
    "byobnet": "blocks of byoanet and mobilevit",
    "efficientvim": "softmax over states of a state space model",
    "nfnet": "no softmax; attention modules of choice are gates of channels",
    "resnet": "no softmax; attention modules of choice are gates of channels",
}
"""Modules of timm whose source speaks of attention and that build no model with any, and why."""


@pytest.fixture(params=NETWORKS)
def network(request):
    return small(request.param)


def n_hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def check_reading(checkpoint, batch, tolerance):
    with torch.inference_mode():
        untouched = checkpoint.readout(checkpoint.model(batch))
    seen = []

    def check(layer):
        of, weights = layer.of, layer.weights
        assert weights.shape == (
            len(batch),
            of.n_heads,
            layer.queries.n_tokens,
            layer.keys.n_tokens,
        )
        sums = weights.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=10 * tolerance)
        expected = layer.head_output
        if "padding" not in layer.keys.kinds:  # which may have many values; parity sees it too
            product = layer.mixed_weights.to(layer.value.dtype) @ layer.value
            error = (product - expected).abs().max() / expected.abs().max()
            assert error < tolerance, (of.module, float(error))
        assert expected.abs().max() > 1e-3, "a dead path proves nothing"
        seen.append(of.index)

    assert torch.equal(watch(checkpoint, batch, check), untouched)
    assert seen == sorted(seen) == list(range(checkpoint.n_layers))
    assert all(reading.parity <= tolerance for reading in checkpoint.report.layers)
    assert n_hooks(checkpoint.model) == 0
    assert torch.equal(checkpoint.run(batch), untouched)


def test_weights_times_values_are_what_the_model_computed(network):
    # float32 sums of up to 3,136 terms differ by about 1e-6 with their order.
    check_reading(network, noise(network), 1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "beit",
        "cait",
        "crossvit",
        "efficientvit_msra",
        "gcvit",
        "hiera",
        "mvitv2 class",
        "swin_transformer_v2_cr",
        "twins svt",
        "vision_transformer differential",
        "vision_transformer_sam",
    ],
)
def test_in_double_precision_they_are_it_to_rounding(name):
    network = NETWORKS[name]
    checkpoint = read(network.build().double(), network.size)
    # 1e-9 is far above rounding in float64 (1e-16) and far below any reading that is wrong.
    check_reading(checkpoint, noise(checkpoint, 1), 1e-9)


@pytest.mark.parametrize("name", ["cait", "efficientformer_v2", "gcvit", "swin_transformer"])
def test_half_precision_is_read_as_well(name):
    network = NETWORKS[name]
    half, single = read(network.build().bfloat16(), network.size), small(name)
    assert [layer.kind for layer in half.layers] == [layer.kind for layer in single.layers]
    assert len(half.report.refused) == len(single.report.refused)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_map_over_the_image_is_refused_by_kind(name):
    network, reason = REFUSED[name]
    with pytest.raises(hs.HeadscopeError, match=reason):
        read(network.build(), network.size)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("davit", "channel attention"),
        ("xcit", "channel attention"),
        ("volo", "outlook attention"),
    ],
)
def test_what_is_no_attention_between_tokens_is_refused_beside_what_is(name, reason):
    refused = small(name).report.refused
    assert refused
    assert all(reason in reading.reason for reading in refused)


class _Counter(TorchFunctionMode):
    """Counts the attention of each module, by nothing but the functions that are called."""

    def __init__(self, running):
        super().__init__()
        self.running, self.fused, self.softmax = running, Counter(), Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is functional.scaled_dot_product_attention:
            self.fused[self.running[-1]] += 1
        elif func.__name__ == "softmax" and result.dim() >= 3 and result.shape[-1] > 1:
            # A softmax module or dropout is a part of the module that attends.
            self.softmax[self.running[-1]] += 1
        return result


@contextmanager
def counted(model):
    running = [""]
    with ExitStack() as stack:
        for name, module in model.named_modules():
            enter = module.register_forward_pre_hook(lambda *_, name=name: running.append(name))
            leave = module.register_forward_hook(lambda *_: running.pop() and None)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        yield stack.enter_context(_Counter(running))


def related(name, others):
    """Whether a module is one of some, a part of one, or holds one."""
    return any(
        name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.")
        for other in others
    )


def test_captured_and_refused_are_all_attention_that_there_is(network):
    """The census: by what classes are called, and by every softmax that is computed."""
    report, model = network.report, network.model
    found = {reading.module.partition(" (call")[0] for reading in report.readings}
    words = ("attn", "attention", "xca", "mhsa", "mhca", "outlook")
    for name, module in model.named_modules():
        if any(word in type(module).__name__.lower() for word in words):
            assert related(name, found), f"{name} ({type(module).__name__}) is missed"
    batch = noise(network, 1)
    with counted(model) as counter, torch.inference_mode():
        model(batch)
    for name in {*counter.fused, *counter.softmax}:
        assert related(name, found), f"the attention in {name} is missed"
    sites = Counter(site.module for layer in network.layers for site in layer.sites)
    for name, n in counter.fused.items():
        assert sites[name] == n, f"{name} attends {n} times, and {sites[name]} are read"
    refused = {reading.module.partition(" (call")[0] for reading in report.refused}
    seen = sum(n for name, n in counter.softmax.items() if not related(name, refused))
    plain = sum(n for name, n in sites.items() if name not in counter.fused)
    mixes_two = sum(type(module).__name__ == "GPSA" for module in model.modules())
    assert seen == plain + mixes_two  # ConViT mixes two softmaxes into one map
    assert not refused & set(sites)
    assert all(reading.reason for reading in report.refused)


def test_every_module_of_timm_that_attends_is_in_the_table():
    words = ("softmax", "scaled_dot_product_attention", "AttentionPool", "import Attention")
    folder = Path(inspect.getfile(timm.models)).parent
    speaking = {
        path.stem for path in folder.glob("*.py") if any(word in path.read_text() for word in words)
    }
    in_table = {name.partition(" ")[0] for name in (*NETWORKS, *REFUSED)}
    for name in sorted(speaking - in_table - set(NOT_ATTENTION)):
        pytest.fail(f"timm.models.{name} speaks of attention and is not in the table")
