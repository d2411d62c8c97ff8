"""Numbers of all images together: closed forms, naive replicas, interruption, fixed memory."""

import numpy as np
import pytest
import torch

import headscope as hs
from headscope.analysis.across import across_metrics
from headscope.analysis.across.pairs import HeadPairs
from headscope.analysis.across.rows import rows_of, some_queries
from headscope.models.capture import LayerAttention, capture, watch

NAMES = ("content_share", "map_cosine", "output_cka")
SELF, LEFT, UNIFORM, ROW, CLASS, SINK = range(6)


def batch_of(checkpoint, n_images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_images, 3, *checkpoint.preprocessing.size, generator=generator)


def finished(checkpoint, name, batches):
    across = across_metrics()[name](checkpoint)
    for batch in batches:
        watch(checkpoint, batch.to(next(checkpoint.model.parameters())), across.fold)
    return across.finish()


@pytest.mark.parametrize("name", sorted(across_metrics()))
def test_every_sort_keeps_its_contract(small, name):
    kind = across_metrics()[name]
    assert kind.units
    assert len(kind.description()) > 40, "its docstring says how to read it"
    assert kind.dims[:2] == ("layer", "head")
    batch = batch_of(small, 5)
    whole = finished(small, name, [batch])
    assert whole.shape[:2] == (12, 3)
    parts = finished(small, name, batch.split(2))
    # Sums of float32 in another order; differences of variances lose some digits of it.
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(across_metrics()))
def test_memory_does_not_grow_with_images(small, name):
    def held(across):
        found, seen = 0, set()
        to_see = [across]
        while to_see:
            thing = to_see.pop()
            if id(thing) in seen or thing is small:
                continue
            seen.add(id(thing))
            if isinstance(thing, torch.Tensor):
                found += thing.untyped_storage().nbytes()
            elif isinstance(thing, np.ndarray):
                found += thing.nbytes
            elif isinstance(thing, dict):
                to_see += thing.values()
            elif isinstance(thing, (list, tuple)):
                to_see += thing
            elif hasattr(thing, "__dict__"):
                to_see.append(vars(thing))
        return found

    across = across_metrics()[name](small)
    sizes = []
    for seed in range(3):
        watch(small, batch_of(small, 2, seed), across.fold)
        sizes.append(held(across))
    assert sizes[0] > 0
    assert sizes[0] == sizes[1] == sizes[2]


def test_fixed_maps_are_position_and_a_head_without_position_is_content(six, known):
    share = finished(six, "content_share", [batch_of(six, 4)])
    # e⁻⁸⁰ of the mass is elsewhere, and the maps are float64.
    np.testing.assert_allclose(share[:, [SELF, LEFT, ROW]], 0, atol=1e-12)
    # Nothing differs: neither by image nor by query.
    assert np.isnan(share[:, [UNIFORM, CLASS, SINK]]).all()
    with_content = finished(known, "content_share", [batch_of(known, 4)])
    assert with_content[0, 4] > 0.1, "its keys are chosen by their content"
    np.testing.assert_allclose(with_content[0, [0, 1]], 0, atol=1e-12)


def test_one_image_does_not_say(six):
    assert np.isnan(finished(six, "content_share", [batch_of(six, 1)])).all()


def anova(maps):
    """Variances over images and over queries, key by key, as the textbook has them."""
    n, q = maps.shape[:2]
    content = maps.var(0, ddof=1).mean(0).sum()
    mean = maps.mean(0)
    left = maps - mean - maps.mean(1, keepdims=True) + maps.mean((0, 1))
    both = (left**2).sum() / ((n - 1) * (q - 1))
    position = mean.var(0, ddof=1).sum() - both / n
    return content, max(position, 0)


def test_content_share_agrees_with_its_naive_replica(small):
    batch = batch_of(small, 6)
    share = finished(small, "content_share", batch.split(4))
    for layer in capture(small, batch):
        for head in range(3):
            maps = layer.weights[:, head, 1:].double().numpy()  # all patches: there are 15
            content, position = anova(maps)
            # float32 maps: another batch rounds them differently, and small variances feel it.
            np.testing.assert_allclose(
                share[layer.layer, head], content / (content + position), rtol=1e-3, atol=1e-4
            )


def test_variances_are_unbiased_for_few_images():
    """Maps = place + image + both, from known variances: three images give them on average."""
    generator = np.random.default_rng(0)
    n_images, n_queries, n_keys = 3, 20, 2_000
    place = generator.normal(0, 1, (1, n_queries, n_keys))
    image = generator.normal(0, 2, (n_images, 1, n_keys))
    both = generator.normal(0, 3, (n_images, n_queries, n_keys))
    content, position = anova(place + image + both)
    # Standard errors of the two, of 2,000 keys: about 2 % and 5 %.
    np.testing.assert_allclose(content / n_keys, 4 + 9, rtol=0.08)
    np.testing.assert_allclose(position / n_keys, 1, rtol=0.2)


def test_cosine_of_maps_has_its_closed_form(six):
    cosine = finished(six, "map_cosine", [batch_of(six, 2)])
    n, side = 16, 4
    expected = np.eye(6)
    expected[SELF, LEFT] = side / n  # the first column looks at itself
    expected[SELF, ROW] = expected[LEFT, ROW] = 1 / np.sqrt(side)
    expected[SELF, UNIFORM] = expected[LEFT, UNIFORM] = 1 / np.sqrt(n + 1)
    expected[ROW, UNIFORM] = np.sqrt(side / (n + 1))
    expected[CLASS, UNIFORM] = expected[SINK, UNIFORM] = 1 / np.sqrt(n + 1)
    # The sink (1, 1) is one of each in its own place.
    expected[SELF, SINK] = expected[LEFT, SINK] = 1 / n
    expected[ROW, SINK] = np.sqrt(1 / side) * side / n
    expected = np.maximum(expected, expected.T)
    # The same maps in both layers.
    for a in range(2):
        for b in range(2):
            np.testing.assert_allclose(cosine[a, :, b], expected, rtol=1e-9, atol=1e-9)


def test_maps_of_other_grids_are_compared_by_offset():
    swin = hs.load("swin_tiny_patch4_window7_224", pretrained=False, seed=0)
    cosine = finished(swin, "map_cosine", [batch_of(swin, 1)])
    assert swin.n_heads == (3, 3, 6, 6, 12, 12, 12, 12, 12, 12, 24, 24)
    assert np.isnan(cosine[0, 3:]).all()
    there = cosine[0, :3, 11]
    assert np.isfinite(there).all()
    assert (there > 0).all()
    assert (there < 1).all()
    np.testing.assert_allclose(there, cosine[11, :, 0, :3].T, rtol=1e-6)
    cka = finished(swin, "output_cka", [batch_of(swin, 1)])
    assert np.isnan(cka[0, :, 11]).all()
    assert np.isfinite(cka[10, :, 11]).all()


def hsic(x, y):
    """Nguyen et al. (2021), equation 3, word for word."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    return (
        np.trace(k @ l)
        + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ l @ one)
    ) / (n * (n - 3))


def test_cka_agrees_with_its_naive_replica(small):
    batch = batch_of(small, 3)
    cka = finished(small, "output_cka", batch.split(2))
    outputs = [layer.head_output[:, :, 1:].double().numpy() for layer in capture(small, batch)]
    for a, b in (((0, 0), (0, 1)), ((1, 2), (9, 0)), ((11, 1), (4, 2))):
        x, y = outputs[a[0]][:, a[1]], outputs[b[0]][:, b[1]]
        across, left, right = (
            sum(hsic(u, v) for u, v in zip(*pair, strict=True)) for pair in ((x, y), (x, x), (y, y))
        )
        # float32 products of 64 channels.
        np.testing.assert_allclose(
            cka[a[0], a[1], b[0], b[1]], across / np.sqrt(left * right), rtol=1e-3, atol=1e-4
        )
    np.testing.assert_allclose(cka[3, 1, 3, 1], 1, rtol=1e-6)
    flat = cka.reshape(36, 36)
    np.testing.assert_allclose(flat, flat.T, atol=1e-6)


def test_heads_that_put_out_the_same_everywhere_have_no_cka(six):
    cka = finished(six, "output_cka", [batch_of(six, 2)])
    for head in (UNIFORM, CLASS, SINK):
        assert np.isnan(cka[0, head]).all()
    np.testing.assert_allclose(cka[0, SELF, 1, SELF], 1, rtol=1e-9)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_few_rows_are_those_of_the_whole_maps(name):
    checkpoint = hs.load(name, pretrained=False, seed=0)

    def check(layer):
        queries = some_queries(layer.queries, 10)
        assert len(queries) == len(set(queries.tolist())) == 10
        assert layer.queries.is_patch[queries].all()
        torch.testing.assert_close(rows_of(layer, queries), layer.weights[:, :, queries])
        # As where routing gives each image windows of its own.
        apart = LayerAttention(layer.of, layer._calls, [layer.layout] * 2)
        torch.testing.assert_close(rows_of(apart, queries), layer.weights[:, :, queries])

    watch(checkpoint, batch_of(checkpoint, 2), check)


def test_pairs_are_forgotten_with_their_batch(small):
    pairs = HeadPairs(small)
    pairs.add(0, "group", torch.ones(2, 3, 4))
    pairs.end_of_batch()
    assert pairs.sums[0, 1] == 8
    pairs.end_of_batch()
    assert pairs.sums[0, 1] == 8
    assert pairs.compared.sum() == 9


# -- in a study ---------------------------------------------------------------------------------


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def photographs():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(5)]


@pytest.fixture(scope="module")
def whole(small, photographs):
    return hs.analyze(small, photographs, importance=False, batch_size=2)


def stop_at(n_images):
    def progress(progress):
        if progress.done >= n_images:
            raise StoppedError

    return progress


@pytest.mark.parametrize("n_done", [2, 5])
def test_an_interrupted_study_has_them_in_the_end(small, photographs, whole, tmp_path, n_done):
    """Also where all images are done, and only what is of all of them is missing."""
    out = tmp_path / "stopped.zarr"
    options = {"importance": False, "batch_size": 2, "out": out}
    with pytest.raises(StoppedError):
        hs.analyze(small, photographs, **options, progress=stop_at(n_done))
    stopped = hs.open_study(out)
    assert stopped.n_done == n_done
    assert not stopped.is_complete
    assert stopped.data["content_share"].isnull().all()
    assert not hs.open_study(stopped.save(tmp_path / "copy.zarr").path).is_complete

    told = []
    done = hs.analyze(small, photographs, **options, progress=lambda p: told.append(p.text))
    assert f"reading image 1 of {n_done} that are done, for numbers of all" in told
    assert done.is_complete
    for name in NAMES:
        # float32 sums in another order, and differences of variances.
        np.testing.assert_allclose(
            done.data[name], whole.data[name], rtol=1e-3, atol=1e-4, err_msg=name
        )
    told.clear()
    hs.analyze(small, photographs, **options, progress=lambda p: told.append(p.text))
    assert all(text.startswith("checking") for text in told), "nothing is left to do"


def test_a_study_has_them_beside_what_is_of_images(whole):
    assert whole.is_complete
    assert whole.data["content_share"].dims == ("layer", "head")
    assert whole.data["map_cosine"].dims == ("layer", "head", "layer_2", "head_2")
    per_head = {str(each.name): each for each in whole.head_metrics()}
    assert per_head["content_share"].dims == ("layer", "head")
    assert "map_cosine" not in per_head
    for name in NAMES:
        assert np.isfinite(whole.data[name]).all()
        assert whole.data[name].attrs["units"]


def test_only_what_is_asked_for_is_there(small, photographs):
    study = hs.analyze(small, photographs[:2], metrics=["content_share"])
    assert "map_cosine" not in study.data
    assert "hop" not in study.data.dims
    assert study.is_complete
