"""What takes a head's place: closed forms on the known-answer ViT, naive replicas, whole passes."""

import re

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.models.ablation import ablate
from headscope.models.ablations import ablation, ablations, reference
from headscope.models.replay import Replay

GRID, N_TOKENS = 4, 17
IDENTITY, LEFT, UNIFORM, SINK, SILENT = range(5)
SINK_CELL = (1, 1)
CELLS = [(row, column) for row in range(GRID) for column in range(GRID)]
EXAMPLES = (
    "zero",
    "mean",
    "resample",
    "noise",
    "uniform",
    "self",
    "keep",
    "class-to-patch",
    "class-to-class:renormalised",
    "patch-to-class",
    "patch-to-patch:renormalised",
    "any-to-patch",
    "hops<=1",
    "hops>1:renormalised",
    "sinks:masked",
    "sinks>8.5:redistributed",
    "sinks[0+6]:masked",
    "sinks[0+6]:redistributed@0.25",
)
"""Every form of name at least once."""

# e⁻⁶⁰ of the mass is where it should not be, pixels pass through float32: 1e-7 of at most 1.
CLOSED = {"rtol": 0, "atol": 2e-7}


@pytest.fixture(scope="module")
def attention(known, known_crops):
    """Layer 0 of the known-answer ViT for three images."""
    return Replay(known, known.prepare(known_crops)).attention(0)


@pytest.fixture(scope="module")
def content(known_crops):
    """The value of each token, class first: `image token`."""
    patches = known_crops.reshape(3, 4, 8, 4, 8, 3).mean((2, 4, 5)).reshape(3, 16) / 255
    return np.concatenate([np.zeros((3, 1)), patches], axis=1)


@pytest.fixture(scope="module")
def stand_ins(known, known_crops):
    batch = known.prepare(known_crops)
    return reference(known, batch, seed=3).of(batch)


def given(attention, name, head, stand_ins=None):
    """What a head writes with an ablation: `image query`."""
    return ablation(name).apply(attention, [head], stand_ins)[:, head, :, 0].numpy()


def sink_of(content):
    return np.repeat(content[:, [1 + SINK_CELL[0] * GRID + SINK_CELL[1]]], N_TOKENS, axis=1)


def test_every_form_of_name_has_an_example():
    assert {type(ablation(name)) for name in EXAMPLES} == {
        type(ablation(re.sub("TOKENS|R", "0", re.sub("QUERY|KEY", "any", form))))
        for form in ablations()
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_name_is_read_as_it_is_written(name):
    made = ablation(name)
    assert made.name == name
    assert len(made.description) > 40, "it says what it does"


@pytest.mark.parametrize(
    "name",
    ["", "none", "Zero", "class-to-", "class-to-cat", "hops", "hops<1", "hops>=1", "hops>-1"],
)
def test_a_name_that_is_none_gets_the_list(name):
    with pytest.raises(hs.HeadscopeError, match=r"no ablation .*zero.*QUERY-to-KEY|hops<=R"):
        ablation(name)


@pytest.mark.parametrize("head", [IDENTITY, LEFT, UNIFORM, SINK, SILENT])
def test_only_the_head_itself_changes(attention, stand_ins, head):
    before = attention.head_output.clone()
    for name in EXAMPLES:
        after = ablation(name).apply(attention, [head], stand_ins)
        others = [other for other in range(5) if other != head]
        changed = [head] if name == "keep" else others
        assert torch.equal(after[:, changed], before[:, changed]), name
    assert torch.equal(attention.head_output, before), "the clean outputs stay as they are"


def test_zero_and_keep_have_their_closed_forms(attention):
    assert (given(attention, "zero", SINK) == 0).all()
    kept = ablation("keep").apply(attention, [SINK])
    assert (kept[:, :SINK] == 0).all()
    assert (kept[:, SILENT] == 0).all()


def test_mean_is_that_of_the_set(attention, content, stand_ins):
    for head, each in ((UNIFORM, content.mean(1, keepdims=True)), (SINK, sink_of(content))):
        expected = np.broadcast_to(each.mean(0), (3, N_TOKENS))
        np.testing.assert_allclose(given(attention, "mean", head, stand_ins), expected, **CLOSED)


def test_resample_gives_another_images_output(attention, content, stand_ins):
    statistics = stand_ins.statistics
    donors = [statistics.donor_of[digest] for digest in stand_ins.digests]
    assert sorted(donors) == [0, 1, 2]
    assert all(donor != image for image, donor in enumerate(donors))
    result = given(attention, "resample", SINK, stand_ins)
    np.testing.assert_allclose(result, sink_of(content)[donors], **CLOSED)


def test_uniform_is_the_mean_of_the_values(attention, content):
    expected = np.broadcast_to(content.mean(1, keepdims=True), (3, N_TOKENS))
    for head in (IDENTITY, SINK, UNIFORM):
        np.testing.assert_allclose(given(attention, "uniform", head), expected, **CLOSED)


def test_self_is_every_tokens_own_value(attention, content):
    for head in (IDENTITY, LEFT, SINK):
        np.testing.assert_allclose(given(attention, "self", head), content, **CLOSED)
    assert np.ptp(given(attention, "self", LEFT) - attention.head_output[:, LEFT, :, 0].numpy()) > 0


@pytest.mark.parametrize("suffix", ["", ":renormalised"])
def test_cutting_the_sink_leaves_nothing_of_its_head_in_the_class_row(attention, suffix):
    # Renormalised, what is left is the class token itself, whose value is 0.
    row = given(attention, f"class-to-patch{suffix}", SINK)
    np.testing.assert_allclose(row[:, 0], 0, **CLOSED)
    clean = attention.head_output[:, SINK, :, 0].numpy()
    assert np.array_equal(row[:, 1:], clean[:, 1:]), "patch rows do not move by a bit"


def test_cutting_a_band_of_hops_takes_the_sink_from_those_within(attention, content):
    near = np.array([max(abs(r - 1), abs(c - 1)) <= 1 for r, c in CELLS])
    clean = sink_of(content)
    for name, cut in (("hops<=1", near), ("hops>1", ~near)):
        expected = clean.copy()
        expected[:, 1:][:, cut] = 0
        np.testing.assert_allclose(given(attention, name, SINK), expected, **CLOSED)
    # Within the band every other key had the same score: what is left is shared evenly.
    renormalised = given(attention, "hops<=1:renormalised", SINK)[0]
    for patch, (row, column) in enumerate(CELLS):
        if near[patch]:
            far = [max(abs(row - r), abs(column - c)) > 1 for r, c in CELLS]
            expected = content[0, 1:][far].sum() / (1 + sum(far))  # and the class token, which is 0
            np.testing.assert_allclose(renormalised[1 + patch], expected, **CLOSED)


def test_parts_of_the_uniform_head_have_their_closed_forms(attention, content):
    total = content.sum(1)
    for name, rows, expected in (
        ("class-to-class", 0, total / 17),
        ("class-to-class:renormalised", 0, total / 16),
        ("class-to-patch", 0, 0 * total),
        ("any-to-any", slice(None), 0 * total),
        ("any-to-any:renormalised", slice(None), 0 * total),  # a row that loses all is 0
        ("hops<=3", 5, 0 * total),
        ("hops<=0", 5, (total - content[:, 5]) / 17),
        ("hops<=0:renormalised", 5, (total - content[:, 5]) / 16),
        ("patch-to-patch:renormalised", 5, 0 * total),
    ):
        result = given(attention, name, UNIFORM)[:, rows].reshape(3, -1)
        expected = np.broadcast_to(expected[:, None], result.shape)
        np.testing.assert_allclose(result, expected, **CLOSED, err_msg=name)


def naive_part(weights, layout, name):
    """A head's attention with a part removed, one weight after the other: `query key`."""
    part, _, suffix = name.partition(":")
    columns, n_prefix = layout.grid[1], layout.n_prefix
    result = weights.copy()
    for query, of_query in enumerate(layout.kinds):
        for key, of_key in enumerate(layout.kinds):
            if part.startswith("hops"):
                if of_query != "patch" or of_key != "patch":
                    continue
                a, b = (divmod(token - n_prefix, columns) for token in (query, key))
                hop = max(abs(a[0] - b[0]), abs(a[1] - b[1]))
                bound = int(part.lstrip("hops<=>"))
                removed = hop <= bound if "<=" in part else hop > bound
            else:
                wanted = part.split("-to-")
                removed = wanted[0] in ("any", of_query) and wanted[1] in ("any", of_key)
            if removed:
                result[query, key] = 0
        if suffix and result[query].sum() > 0:
            result[query] *= weights[query].sum() / result[query].sum()
    return result


@pytest.fixture(scope="module")
def registers():
    return hs.load("demo/registers")


@pytest.mark.parametrize(
    "name",
    [
        "class-to-patch",
        "patch-to-register:renormalised",
        "any-to-register",
        "patch-to-patch:renormalised",
        "hops<=2:renormalised",
        "hops>4",
    ],
)
def test_parts_agree_with_their_naive_replica(registers, name):
    batch = registers.prepare(np.random.default_rng(1).integers(0, 256, (1, 96, 96, 3), np.uint8))
    attention = Replay(registers, batch).attention(3)
    cut = ablation(name)
    naive = naive_part(attention.weights[0, 1].double().numpy(), registers.layout, name)
    assert np.abs(naive - attention.weights[0, 1].numpy()).max() > 1e-3, "it removes something"
    # float32 sums of 149 weights
    weights = cut.weights(attention, 1)[0]
    np.testing.assert_allclose(weights, naive, rtol=1e-5, atol=1e-7)
    if ":" in name:
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    expected = naive @ attention.value[0, 1].double().numpy()
    result = cut.apply(attention, [1])[0, 1]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("any-to-register", "no register token"), ("hops>4", "more than 4 hops apart")],
)
def test_what_says_nothing_about_a_model_says_so(small, name, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence), ablate(small, [(0, 0)], mode=name):
        pass


@pytest.mark.parametrize("name", EXAMPLES)
def test_going_on_from_the_layer_equals_the_whole_pass(small, name):
    images = torch.randn(4, 3, *small.preprocessing.size, generator=torch.manual_seed(0))
    against = reference(small, images, seed=1, batch_size=3)
    batch = images[1:3]
    replay, chosen = Replay(small, batch), ablation(name)
    stand_ins = against.of(batch) if chosen.needs else None
    for layer, head in ((0, 2), (6, 0), (11, 1)):
        heads = chosen.apply(replay.attention(layer), [head], stand_ins)
        _, ours = replay.resume(layer, heads[None])
        with ablate(small, [(layer, head)], mode=name, reference=against):
            whole = small.run(batch)
        unread = layer == 11 and name.startswith(("patch", "hops"))  # the last patches
        if not unread and not name.startswith(("sinks:", "sinks>")):  # random heads have none
            assert (whole - replay.output).abs().max() > 1e-5, "the ablation does something"
        # float32 through the layers that are left, whose sums have another order
        torch.testing.assert_close(ours[0], whole, rtol=1e-4, atol=1e-5)
