"""Places move as features do, and leave no place that they should not."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from headscope.models.places import PAYLOADS, Places, image_of_places, prefix_like
from headscope.models.tracing import trace

SIZE = (8, 12)


def places():
    return image_of_places(1, 3, SIZE, torch.device("cpu"))


def rows_and_columns(of):
    payloads = of.main.unflatten(0, (PAYLOADS, -1))[:, 0]
    return payloads[1:3] / payloads[0]


def test_a_patch_is_at_the_mean_of_its_pixels():
    row, column = rows_and_columns(nn.Conv2d(3, 5, 4, 4).double()(places()))
    assert row.shape == (5, 2, 3)
    assert row[0].tolist() == [[2, 2, 2], [6, 6, 6]]
    assert column[4].tolist() == [[2, 6, 10], [2, 6, 10]]


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.GELU(), nn.Dropout()]
)
def test_what_keeps_the_grid_keeps_places(layer):
    before = places()
    after = layer.double().eval()(before)
    torch.testing.assert_close(rows_and_columns(after), rows_and_columns(before))


def test_rolled_and_back_is_where_it_was():
    rolled = torch.roll(places(), (-2, -3), (2, 3))
    assert rows_and_columns(rolled)[1, 0, 0, :3].tolist() == [3.5, 4.5, 5.5]
    back = torch.roll(rolled, (2, 3), (2, 3))
    assert torch.equal(back.main, places().main)


def test_padding_and_parameters_are_in_no_place():
    padded = functional.pad(places(), (0, 1))
    assert not padded.main[..., -1].any()
    tokens = places().flatten(2).transpose(1, 2)
    joined = torch.cat([torch.zeros(PAYLOADS, 1, 3), tokens], 1)
    assert torch.equal(joined.main[:, :1], prefix_like(torch.zeros(PAYLOADS, 1, 3)).main)


def test_a_parameter_in_the_precision_of_places_is_no_place():
    """Differential attention casts its lambda to the type of the queries."""
    scale = torch.ones(()).type_as(places())
    assert not isinstance(scale, Places)
    assert scale.dtype == torch.float64


class GlobalQueries(nn.Module):
    """Two windows that share their queries, as in GC-ViT, with a residual around."""

    def __init__(self, *, fused):
        super().__init__()
        self.fused = fused
        self.embed, self.query, self.key = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)  # image (2 x 3) channel
        windows = x.unflatten(1, (2, 3)).flatten(0, 1)
        shared = self.query(x.unflatten(1, (2, 3)).mean(1)).repeat_interleave(2, 0)
        if self.fused:
            made = functional.scaled_dot_product_attention(shared, self.key(windows), windows)
        else:
            made = (shared @ self.key(windows).transpose(1, 2)).softmax(-1) @ windows
        windows = windows + made
        weights = (windows @ windows.transpose(1, 2)).softmax(-1)
        return (weights @ windows).mean(1)


@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_windows_that_share_their_queries_stay_where_they_are(fused):
    found = list(trace(GlobalQueries(fused=fused), SIZE).attention.values())
    rows, columns = (found[-1].key.unflatten(0, (PAYLOADS, 2))[i] for i in (1, 2))
    assert rows.tolist() == [[2, 2, 2], [6, 6, 6]]
    assert columns.tolist() == [[2, 6, 10], [2, 6, 10]]
