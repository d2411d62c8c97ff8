"""Images as vectors of their heads' numbers, and where they lie."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import headscope as hs
from headscope.analysis import similarity
from headscope.analysis.importance.parts import parts_of
from headscope.analysis.similarity import image_vectors, lay_out, principal_components

N_HEADS = (3, 2)
FLOAT32 = 1e-5
"""Values are kept as float32, with 24 bits: 6e-8 of each, and 100 of them in a sum."""


def as_study(n_images: int = 12, *, done: Any = None, **variables: np.ndarray) -> Any:
    """What a study has of its images: dims `image layer head`, with an `ablation` where it is an
    importance."""
    data = xr.Dataset(
        {"done": ("image", np.ones(n_images, bool) if done is None else done)},
        coords={"n_heads": ("layer", list(N_HEADS)), "head": np.arange(3)},
    )
    found = []
    for name, values in variables.items():
        array = xr.DataArray(values, dims=("image", "layer", "head"), name=name)
        if name.startswith("drop"):
            array = array.assign_coords(ablation="zero")
        found.append(array.assign_attrs(units="token" if name == "sink_token" else "px"))
    return SimpleNamespace(data=data, n_images=n_images, head_metrics=lambda: iter(found))


def numbers(seed: int, n_images: int = 12, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(3, scale, (n_images, 2, 3)).astype(np.float32)
    values[:, 1, 2] = np.nan  # there is no such head
    return values


def test_each_number_of_each_head_is_standardised() -> None:
    wide, narrow = numbers(0, scale=100), numbers(1, scale=0.01)
    vectors = image_vectors(as_study(distance=wide, entropy=narrow))
    expected = []
    for values in (wide, narrow):
        for layer, count in enumerate(N_HEADS):
            for head in range(count):
                column = values[:, layer, head].astype(np.float64)
                expected.append((column - column.mean()) / column.std())
    np.testing.assert_allclose(vectors.values, np.stack(expected, 1), atol=FLOAT32, rtol=FLOAT32)
    assert vectors.kinds == ("distance", "entropy")
    assert vectors.n_heads == 5


def test_attention_and_importance_are_told_apart_and_indices_left_out() -> None:
    study = as_study(distance=numbers(0), drop=numbers(1), sink_token=numbers(2))
    assert image_vectors(study).kinds == ("distance",)
    assert image_vectors(study, "importance").kinds == ("drop",)


def test_what_is_missing_is_in_the_middle_and_what_does_not_vary_left_out() -> None:
    values = numbers(0)
    values[:, 0, 0] = 7.25  # varies in no image
    values[4, 0, 1] = np.nan
    values[:7, 0, 2] = np.nan  # most images lack it
    vectors = image_vectors(as_study(distance=values))
    assert vectors.values.shape == (12, 3)
    there = np.delete(values[:, 0, 1].astype(np.float64), 4)
    assert vectors.values[4, 0] == 0
    expected = (there - there.mean()) / there.std()
    np.testing.assert_allclose(np.delete(vectors.values[:, 0], 4), expected, atol=FLOAT32)


def test_images_that_are_not_done_have_no_place() -> None:
    done = np.ones(12, bool)
    done[[2, 9]] = False
    values = numbers(0)
    values[[2, 9]] = np.nan
    vectors = image_vectors(as_study(distance=values, done=done))
    layout = lay_out(vectors, 12)
    assert np.isnan(layout.points[[2, 9]]).all()
    assert np.isfinite(layout.points[done]).all()


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = image_vectors(as_study(distance=numbers(0), entropy=numbers(1)))
    layout = lay_out(vectors, 12)
    centred = vectors.values - vectors.values.mean(0)
    left, sizes, _ = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    for axis in (0, 1):
        place = left[:, axis] * sizes[axis]
        place *= np.sign(place[np.abs(place).argmax()])
        np.testing.assert_allclose(layout.points[:, axis], place, atol=1e-4)  # λ² of a Gram matrix
    assert layout.explained == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), rel=1e-6)
    assert np.isnan(layout.trustworthiness)


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (5, 300)], ids=str)
def test_many_images_or_numbers_are_laid_out_alike(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    spread = np.linspace(8, 1, shape[1])[None]  # the first components differ clearly
    values = (generator.normal(size=shape) * spread).astype(np.float32)
    exact, shares = principal_components(values, 3)
    monkeypatch.setattr(similarity, "EXACT", 0)
    iterated, also = principal_components(values, 3)
    # Krylov iteration in float32, on values up to 100.
    np.testing.assert_allclose(iterated, exact, atol=2e-3)
    np.testing.assert_allclose(also, shares, atol=1e-5)


def test_groups_of_images_stay_apart() -> None:
    group = np.repeat([0, 1, 2], 10)
    values = numbers(5, 30)
    values += 20 * group[:, None, None] * np.array([[1, -1, 1], [1, 1, 1]], np.float32)
    layout = lay_out(image_vectors(as_study(30, distance=values)), 30)
    middle = np.stack([layout.points[group == each].mean(0) for each in range(3)])
    nearest = np.linalg.norm(layout.points[:, None] - middle, axis=-1).argmin(1)
    np.testing.assert_array_equal(nearest, group)
    assert layout.explained > 0.9


def test_too_few_images_or_no_numbers_are_a_sentence() -> None:
    with pytest.raises(hs.HeadscopeError, match=r"2 image\(s\) cannot .* 3"):
        image_vectors(as_study(2, distance=numbers(0, 2)))
    with pytest.raises(hs.HeadscopeError, match="no numbers of importance"):
        image_vectors(as_study(distance=numbers(0)), "importance")
    with pytest.raises(hs.HeadscopeError, match="no numbers of attention"):
        image_vectors(as_study(distance=np.full((12, 2, 3), 4.0)))
    few = image_vectors(as_study(5, distance=numbers(0, 5)))
    with pytest.raises(hs.HeadscopeError, match="5 images are too few for UMAP"):
        lay_out(few, 5, "umap")


def test_parts_of_heads_come_after_whole_ones() -> None:
    found = parts_of(["class-to-patch", "zero", "hops<=1:renormalised", "keep", "of the future"])
    assert [part.name for part in found if not part.is_part] == ["zero", "keep", "of the future"]
    assert [part.name for part in found if part.is_part] == [
        "class-to-patch",
        "hops<=1:renormalised",
    ]
    words = {part.name: part.description for part in found}
    assert words["zero"] == "The head's output is 0."
    assert "at most 1 hops apart" in words["hops<=1:renormalised"]
    assert words["of the future"] == ""
    assert [part.name for part in found if part.is_converse] == ["keep"]
