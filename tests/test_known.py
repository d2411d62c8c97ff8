"""The checkpoints with known answers are what they say."""

import numpy as np
import torch

import headscope as hs

from .conftest import six_maps


def test_the_heads_have_the_maps_that_were_asked_for(six: hs.Checkpoint) -> None:
    batch = torch.rand(2, 3, *six.preprocessing.size, dtype=torch.float64)
    for layer in hs.capture(six, batch):
        for head, expected in enumerate(six_maps()):
            # e⁻⁸⁰ stands for 0; the rest is float64's rounding.
            np.testing.assert_allclose(layer.weights[0, head], expected, atol=1e-12)
