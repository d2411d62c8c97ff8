"""Layer-wise relevance of classes, differences and features, by patch and by pixel."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.explain import explain

PX = 8


def test_in_the_known_answer_vit_it_is_what_each_patch_adds(
    known: hs.Checkpoint, known_crops: np.ndarray
) -> None:
    batch = known.prepare(known_crops)
    content = batch.mean(1).reshape(3, 4, PX, 4, PX).mean((2, 4)).numpy()
    # The logit of class 0 is 2 × the mean content of all 17 tokens − half that of the sink.
    added = 2 * content / 17
    added[:, 1, 1] -= 0.5 * content[:, 1, 1]
    values_take_all = explain(known, batch, "attn-lrp", target=0, attention="constant")
    # A float64 model; a score of 60 leaves e⁻⁶⁰ beside the sink.
    np.testing.assert_allclose(values_take_all.values, added, atol=1e-12)
    np.testing.assert_allclose(values_take_all.residual, 0, atol=1e-12)
    # Half is the attention's, whose scores come of positions alone.
    half = explain(known, batch, "attn-lrp", target=0)
    np.testing.assert_allclose(half.values, added / 2, atol=1e-12)
    np.testing.assert_allclose(half.residual, added.sum((1, 2)) / 2, atol=1e-12)
    np.testing.assert_allclose(half.residual, sum(half.apart.values()), atol=1e-12)
    by_pixel = explain(known, batch, "attn-lrp", target=0, level="pixel", attention="constant")
    squares = by_pixel.values.reshape(3, 4, PX, 4, PX).sum((2, 4))
    np.testing.assert_allclose(squares, added, atol=1e-12)
    against = explain(known, batch, "attn-lrp", target=1, against=0, attention="constant")
    np.testing.assert_allclose(against.values, -added, atol=1e-12)
    # The logit of class 1 is 0, and owed to nothing.
    assert not explain(known, batch, "attn-lrp", target=1).values.any()


@pytest.mark.parametrize(
    "question",
    [{"target": 0}, {"target": 3, "against": "runner-up"}, {"features": torch.ones(12)}],
    ids=["class", "contrast", "features"],
)
@pytest.mark.parametrize(
    "options", [{}, {"rule": "gamma"}, {"attention": "constant"}, {"level": "pixel"}], ids=str
)
def test_what_is_not_on_the_map_is_named(
    demo: hs.Checkpoint, question: dict[str, object], options: dict[str, object]
) -> None:
    batch = torch.randn(3, 3, 96, 96, generator=torch.manual_seed(0))
    found = explain(demo, batch, "attn-lrp", batch_size=2, **question, **options)  # pyright: ignore
    assert found.method.signed
    assert found.residual is not None
    size = abs(found.values).sum((1, 2)) + abs(found.score) + sum(map(abs, found.apart.values()))
    left = found.residual - sum(found.apart.values())
    assert (abs(left) < 1e-5 * size).all()  # float32: 4e-6 of the sums were seen to be lost
    np.testing.assert_allclose(found.residual, found.score - found.values.sum((1, 2)), atol=1e-5)
    assert {"biases", "positions and other constants", "prefix tokens"} <= found.apart.keys()
    assert ("softmax" in found.apart) == (options.get("attention") != "constant")
    assert all(len(amount) == 3 for amount in found.apart.values())
    alone = explain(demo, batch[2:], "attn-lrp", **question, **options)  # pyright: ignore
    # Batches are summed in another order.
    np.testing.assert_allclose(
        alone.values[0], found.values[2], atol=1e-4 * abs(found.values[2]).max()
    )


def test_a_likeness_is_owed_in_full_although_its_length_is_constant(demo: hs.Checkpoint) -> None:
    batch = torch.randn(2, 3, 96, 96, generator=torch.manual_seed(0))
    other = demo.run(torch.randn(1, 3, 96, 96, generator=torch.manual_seed(1)))[0].clone()
    found = explain(demo, batch, "attn-lrp", features=other)
    # The plain derivative of a cosine is square to the output: input × derivative would sum to 0.
    given = found.values.sum((1, 2)) + sum(found.apart.values())
    np.testing.assert_allclose(given, found.score, rtol=1e-4)
    assert (found.score > 0.5).all()


def test_no_such_rule(demo: hs.Checkpoint) -> None:
    batch = torch.zeros(1, 3, 96, 96)
    with pytest.raises(hs.HeadscopeError, match="takes as rule one of epsilon, gamma"):
        explain(demo, batch, "attn-lrp", rule="alpha")
    with pytest.raises(hs.HeadscopeError, match="takes as gamma a number from 0"):
        explain(demo, batch, "attn-lrp", rule="gamma", gamma=-1)
