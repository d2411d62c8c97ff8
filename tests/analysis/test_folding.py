"""What a metric declares is what a study holds: dimensions, hidden states, costly ones."""

import numpy as np
import pytest
import torch
import zarr

import headscope as hs
from headscope.analysis.across import base as across_base
from headscope.analysis.metrics import base, dims, hidden
from headscope.models.capture import capture

SWIN, CAIT, CROSSVIT = "swin_tiny_patch4_window7_224", "cait_xxs24_224", "crossvit_9_240"


@pytest.fixture
def registering():
    """What a test registers is gone after it."""
    registries = base._METRICS, dims._DIMENSIONS, hidden._METRICS, across_base._METRICS
    before = [dict(registry.all) for registry in registries]
    yield
    for registry, things in zip(registries, before, strict=True):
        registry._things = things


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(3)]


def test_a_metric_has_the_dimensions_that_it_names(registering, small, photographs):
    @base.attention_metric(
        long_name="Made up", units="share", dims=("row_offset", "top"), signed=True
    )
    def made_up(layer):
        """A metric of two dimensions, for this test."""
        rows = 2 * layer.of.common.offset_reach[0] + 1
        return torch.arange(rows).float()[:, None].expand(len(layer.weights), 3, rows, 3)

    study = hs.analyze(small, photographs, metrics=["made_up"])
    made = study.data["made_up"]
    assert made.dims == ("image", "layer", "head", "row_offset", "top")
    assert made["row_offset"].values.tolist() == [-2, -1, 0, 1, 2]
    assert made["top"].values.tolist() == [0.01, 0.05, 0.1]
    assert made["row_offset"].attrs["long_name"]
    assert made.attrs["signed"] is True
    assert (made.sel(row_offset=2) == 4).all()
    assert "hop" not in study.data.dims


def test_a_dimension_may_be_registered_by_its_metric(registering, small, photographs):
    @dims.dimension(long_name="Which norm")
    def norm(common):
        return ("one", "two")

    @hidden.hidden_metric(long_name="Norm of a token", units="1", dims=("norm",))
    def norms(state):
        """Mean norms of all tokens, for this test."""
        return torch.stack([state.values.norm(p, dim=-1).mean(-1) for p in (1, 2)], -1)

    study = hs.analyze(small, photographs, metrics=["norms"])
    made = study.data["norms"]
    assert made.dims == ("image", "layer", "norm")
    assert made["norm"].values.tolist() == ["one", "two"]
    # In the same pass: what the blocks themselves give.
    given = {}
    handles = [
        block.register_forward_hook(lambda _m, _a, output, i=i: given.__setitem__(i, output))
        for i, block in enumerate(small.model.blocks)
    ]
    small.run(small.prepare(study.data["pixels"].values))
    for handle in handles:
        handle.remove()
    for layer in range(12):
        for at, p in enumerate((1, 2)):
            expected = given[layer].norm(p, dim=-1).mean(-1)
            # float32, and another batch size
            np.testing.assert_allclose(made[:, layer, at], expected, rtol=1e-5)


def test_an_unknown_dimension_is_an_error_of_who_wrote_the_metric(registering, small, photographs):
    @base.attention_metric(long_name="Lost", units="share", dims=("nowhere",))
    def lost(layer):
        """A metric whose dimension nobody knows, for this test."""

    with pytest.raises(ValueError, match=r"no dimension 'nowhere'.*hop.*@dimension"):
        hs.analyze(small, photographs, metrics=["lost"])


@pytest.mark.parametrize("name", [SWIN, CAIT, CROSSVIT])
def test_hidden_states_are_those_of_the_layers_tokens(registering, name):
    checkpoint = hs.load(name, pretrained=False, seed=0)
    seen = {}

    @hidden.hidden_metric(long_name="Looked at", units="1")
    def looked_at(state):
        """Keeps what it is shown, for this test."""
        assert state.values.shape[1] == state.tokens.n_tokens
        assert torch.isfinite(state.values).all()
        assert state.tokens == state.layer.rows.layout
        seen[state.layer.index] = state.values
        return state.values.square().mean((1, 2))

    image = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    study = hs.analyze(checkpoint, image, metrics=["looked_at"])
    there = [layer.index for layer in checkpoint.layers if layer.rows is not None]
    assert sorted(seen) == there
    assert len(there) > 3
    values = study.data["looked_at"][0].values
    assert np.isfinite(values[there]).all()
    assert np.isnan(np.delete(values, there)).all()
    if name == SWIN:  # by an independent route: the block's own output, rows by columns
        given = []
        block = checkpoint.model.get_submodule("layers.2.blocks.3")
        handle = block.register_forward_hook(lambda _m, _a, output: given.append(output))
        checkpoint.run(checkpoint.prepare(study.data["pixels"].values))
        handle.remove()
        index = next(one.index for one in checkpoint.layers if one.block == "layers.2.blocks.3")
        torch.testing.assert_close(seen[index], given[0].flatten(1, 2))


def test_costly_metrics_are_taken_where_they_are_named(registering, small, photographs):
    asked = []

    @base.attention_metric(long_name="Slow", units="share", costly=True)
    def slow(layer):
        """A costly metric, for this test."""
        asked.append(layer.layer)
        return layer.weights.amax((2, 3))

    image = photographs[0]
    study = hs.analyze(small, image, importance=False)
    assert "slow" not in study.data
    assert not asked
    assert "slow" in hs.analyze(small, image, metrics=["slow"]).data
    both = hs.analyze(small, image, metrics=["default", "slow"], importance=False)
    assert {"slow", "distance", "content_share"} <= set(both.data)
    with pytest.raises(
        hs.HeadscopeError, match=r"distance.*content_share.*only where.*named: .*slow"
    ):
        hs.analyze(small, image, metrics=["slwo"])


def test_names_are_of_one_metric_each():
    registries = base.attention_metrics(), hidden.hidden_metrics(), across_base.across_metrics()
    names = [name for registry in registries for name in registry]
    assert len(names) == len(set(names))
    for registry in registries:
        for metric in registry.values():
            for dim in metric.dims:
                if not dim.startswith(("layer", "head")):
                    dims.dimension_named(dim)


def test_what_layers_make_once_is_forgotten_with_their_maps(small):
    made = []

    def make():
        made.append(1)
        return torch.zeros(1)

    layer = next(capture(small, torch.zeros(1, 3, 48, 80)))
    assert layer.once("it", make) is layer.once("it", make)
    assert len(made) == 1
    layer.forget_maps()
    layer.once("it", make)
    assert len(made) == 2


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", SWIN, "pvt_v2_b0", "crossvit_9_240"])
def test_offsets_stay_within_their_reach(name):
    """By all pairs of all windows, where the layout takes extremes."""
    checkpoint = hs.load(name, pretrained=False)
    rows, columns = checkpoint.common.offset_reach
    if name == SWIN:  # windows of 7 × 7, whether or not shifted ones wrap around the image
        assert (rows, columns) == (6, 6)
    farthest = np.zeros(2, int)
    image = torch.rand(1, 3, *checkpoint.preprocessing.size)
    for seen in capture(checkpoint, image):
        layout = seen.layout
        sides = []
        for tokens, of, cells in (
            (layout.queries, layout.query_tokens, layout.coarse_cells[0]),
            (layout.keys, layout.key_tokens, layout.coarse_cells[1]),
        ):
            places = np.full((tokens.n_tokens + 1, 2), np.nan)
            places[:-1][tokens.is_patch] = cells
            sides.append(places[of])
        met = (seen.window_weights[0].amax(1) > 1e-20).numpy()  # less is a mask
        for query, key, of_window in zip(*sides, met, strict=True):
            apart = np.abs(key[None] - query[:, None])[of_window].reshape(-1, 2)
            apart = apart[~np.isnan(apart).any(1)]
            if len(apart):
                farthest = np.maximum(farthest, apart.max(0).astype(int))
    assert (rows, columns) == tuple(farthest)


def test_a_study_of_format_2_opens_and_goes_on(small, photographs, tmp_path):
    """What was written then: no attributes of sign and scope, and no numbers of all images."""
    out = tmp_path / "old.zarr"
    options = {"metrics": ["flip", "distance"], "out": out, "batch_size": 1}

    def stop(progress):
        if progress.done >= 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        hs.analyze(small, photographs, **options, progress=stop)
    group = zarr.open_group(out, mode="r+")
    group.update_attributes({"format_version": 2})
    for name in ("flip", "distance"):
        attributes = dict(group[name].attrs)
        group[name].attrs.put(
            {key: value for key, value in attributes.items() if key not in ("signed", "scope")}
        )
    study = hs.open_study(out)
    assert study.n_done == 1
    assert "signed" not in study.data["flip"].attrs
    assert hs.analyze(small, photographs, **options).is_complete
    # The default of then is not that of now: the same call goes on all the same.
    assert hs.analyze(small, photographs, out=out).n_done == len(photographs)
    with pytest.raises(hs.HeadscopeError, match="other images or settings"):
        hs.analyze(small, photographs, out=out, importance=False)
    assert "nmi" not in hs.open_study(out).data
