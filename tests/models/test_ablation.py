"""Ablation: the one way a head is changed, and nothing left of it."""

import pytest
import torch

import headscope as hs


@pytest.fixture(scope="module")
def batch(small):
    return torch.randn(2, 3, *small.preprocessing.size, generator=torch.manual_seed(0))


def by_hand(model, batch, heads):
    """Zero the heads' columns of the projection's input."""
    handles = []
    for layer, head in heads:
        attention = model.blocks[layer].attn
        columns = slice(head * attention.head_dim, (head + 1) * attention.head_dim)

        def zero(_module, args, columns=columns):
            joined = args[0].clone()
            joined[..., columns] = 0
            return (joined,)

        handles.append(attention.proj.register_forward_pre_hook(zero))
    with torch.inference_mode():
        output = model(batch)
    for handle in handles:
        handle.remove()
    return output


@pytest.mark.parametrize("heads", [[(0, 0)], [(11, 2)], [(3, 0), (3, 2), (7, 1)]])
def test_ablating_heads_equals_zeroing_their_columns(small, batch, heads):
    before = small.run(batch)
    with hs.ablate(small, heads):
        ablated = small.run(batch)
    assert torch.equal(ablated, by_hand(small.model, batch, heads))
    assert not torch.allclose(ablated, before, atol=1e-6)
    assert torch.equal(small.run(batch), before)


def test_keeping_some_heads_of_a_layer_is_zeroing_the_others(small, batch):
    with hs.ablate(small, [(4, 0), (4, 2), (9, 1)], mode="keep"):
        kept = small.run(batch)
    assert torch.equal(kept, by_hand(small.model, batch, [(4, 1), (9, 0), (9, 2)]))


def test_no_heads_change_nothing(small, batch):
    before = small.run(batch)
    with hs.ablate(small, []):
        assert torch.equal(small.run(batch), before)


def test_every_pass_within_the_block_is_ablated(small, batch):
    expected = by_hand(small.model, batch, [(2, 1)])
    with hs.ablate(small, [(2, 1)]):
        for _ in range(3):
            assert torch.equal(small.run(batch), expected)


@pytest.mark.parametrize("mode", ["fine", "bad head", "bad mode", "body raises"])
def test_nothing_is_left_behind(small, batch, mode):
    before = small.run(batch)
    heads = [(12, 0)] if mode == "bad head" else [(0, 0)]
    expected = ArithmeticError if mode == "body raises" else hs.HeadscopeError

    def use():
        with hs.ablate(small, heads, mode="frozen" if mode == "bad mode" else "zero"):
            if mode == "body raises":
                raise ArithmeticError

    if mode == "fine":
        use()
    else:
        with pytest.raises(expected):
            use()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.model.modules())
    assert torch.equal(small.run(batch), before)


@pytest.mark.parametrize(
    ("layer", "head", "sentence"),
    [(12, 0, "layers are 0 to 11"), (-1, 0, "no layer -1"), (0, 3, "heads are 0 to 2")],
)
def test_a_head_that_is_not_there_gets_a_sentence(small, layer, head, sentence):
    with pytest.raises(hs.HeadscopeError, match=sentence), hs.ablate(small, [(layer, head)]):
        pass
