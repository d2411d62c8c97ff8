"""Memory: what is read as an amount, what is chosen, and that measured peaks stay below it."""

import json
import subprocess
import sys

import pytest
import torch

import headscope as hs
from headscope.analysis.importance import budget as budget_module
from headscope.analysis.importance.budget import Budget, parse_bytes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("4GB", 4_000_000_000),
        ("4 gb", 4_000_000_000),
        ("1.5GiB", 3 * 2**29),
        ("500M", 500_000_000),
        ("2T", 2_000_000_000_000),
        (" 64 KiB ", 65_536),
        ("123456", 123_456),
        ("10B", 10),
    ],
)
def test_amounts_are_read(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-4GB", "4 GB or so", "0", "4XB", "4iB", "1e9", "GB"])
def test_what_is_no_amount_gets_a_sentence(text):
    with pytest.raises(hs.HeadscopeError, match="expected such as 4GB"):
        parse_bytes(text)


def test_without_a_bound_it_is_what_is_fast(demo, small):
    for checkpoint in (demo, small):
        budget = Budget.of(checkpoint)
        assert budget.variants_at_once == sum(checkpoint.n_heads), "all fit into one batch …"
        assert budget.images_at_once > 1, "… and several images with them"
    large = hs.load("vit_small_patch16_224", pretrained=False)
    assert Budget.of(large) == Budget(1, 26)  # half the channels of ViT-B/16: twice 13


def test_a_bound_that_is_too_small_gets_a_sentence(small):
    with pytest.raises(hs.HeadscopeError, match=r"for one image of 80×48 px.*bounded to 20 MB"):
        Budget.of(small, 20_000_000)


def test_more_memory_never_means_less_at_once(small, monkeypatch):
    monkeypatch.setattr(budget_module, "_held", lambda _: 10**8)  # else it grows with other tests
    with pytest.raises(hs.HeadscopeError) as caught:
        Budget.of(small, 1)
    least = parse_bytes(str(caught.value).partition("needs ")[2].partition(" for")[0])
    budgets = [Budget.of(small, least + extra) for extra in (10**7, 5 * 10**7, 10**10)]
    sizes = [budget.images_at_once * budget.variants_at_once for budget in budgets]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert (budgets[-1].images_at_once, budgets[-1].variants_at_once) == (
        Budget.of(small).images_at_once,
        Budget.of(small).variants_at_once,
    )
    assert "at most" in budgets[0].describe()


def test_measuring_leaves_nothing_behind(small):
    batch = torch.randn(1, 3, 48, 80, generator=torch.manual_seed(0))
    before = small.run(batch)
    Budget.of(small, 10**12)
    assert torch.equal(small.run(batch), before)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in small.model.modules()
    )


RUN = """
import json, pathlib, re, sys
import torch
import headscope as hs
from headscope.analysis.importance.budget import Budget
from headscope.models.replay import Replay


def status(field):
    found = re.search(field + r":\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(found[1]) * 1024


name, *rooms = sys.argv[1:]
checkpoint = hs.load(name, pretrained=False)
found = []
for room in map(int, rooms):
    budget = Budget.of(checkpoint, status("VmRSS") + room)
    batch = torch.randn(budget.images_at_once, 3, *checkpoint.preprocessing.size)
    replay = Replay(checkpoint, batch, lambda layer: layer.weights.double().square().sum())
    for layer in (0, checkpoint.n_layers - 1):
        clean = replay.heads(layer)
        heads = clean.expand(budget.variants_at_once, *clean.shape).clone()
        changed, output = replay.resume(layer, heads)
        distance = changed.double() - replay.layer_output(layer).double()
        distance.square().sum(-1)
    del replay, clean, heads, changed, output, distance
    # Not ru_maxrss: a process takes that over from the one that started it.
    found.append([budget.images_at_once * budget.variants_at_once, status("VmHWM"), budget.bound])
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="un-skip when /proc is not needed")
@pytest.mark.parametrize(
    ("name", "rooms"),
    [
        ("demo/supervised", (80_000_000, 300_000_000)),
        ("vit_small_patch16_224", (160_000_000, 500_000_000)),
    ],
)
def test_the_measured_peak_stays_below_the_bound(name, rooms):
    """In a process of its own, as a peak never comes down; the smaller bound first."""
    command = [sys.executable, "-c", RUN, name, *map(str, rooms)]
    tight, wide = json.loads(subprocess.check_output(command).splitlines()[-1])
    assert tight[0] < wide[0], "the bound decides"
    assert tight[1] < wide[1], "what is allowed is used"
    for _, peak, bound in (tight, wide):
        assert peak <= bound
