"""The demo scenes: the same every time, masks true to the pixels, labels true to the geometry."""

import ast
import inspect
from itertools import pairwise

import numpy as np
import pytest

from headscope.models.demo import scenes, shapes
from headscope.models.demo.recipes import RECIPES
from headscope.models.demo.scenes import (
    CLASS_NAMES,
    FIRST_TRAINING_SEED,
    HELD_OUT,
    KINDS,
    MARGIN,
    SIZE,
    scene,
)
from headscope.models.demo.shapes import OUTLINES, PATTERNS

SEEDS = [*range(60), *range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 20)]
DRAWN = [scene(seed) for seed in SEEDS]


def test_a_seed_gives_the_same_scene_whatever_was_drawn_before():
    again = scene(SEEDS[7])
    assert np.array_equal(again.image, DRAWN[7].image)
    assert again.label == DRAWN[7].label
    for one, other in zip(again.objects, DRAWN[7].objects, strict=True):
        assert np.array_equal(one.mask, other.mask)
        assert (one.kind, one.centre, one.radius) == (other.kind, other.centre, other.radius)


def test_other_seeds_give_other_images():
    assert len({drawn.image.tobytes() for drawn in DRAWN}) == len(DRAWN)


def test_images_and_masks_have_the_stated_form():
    for drawn in DRAWN:
        assert drawn.image.shape == (SIZE, SIZE, 3)
        assert drawn.image.dtype == np.uint8
        assert 3 <= len(drawn.objects) <= 5
        for thing in drawn.objects:
            assert thing.mask.shape == (SIZE, SIZE)
            assert thing.mask.dtype == np.bool_
            assert thing.pattern in PATTERNS
            assert thing.shape in OUTLINES


def test_masks_of_a_scene_are_disjoint():
    for drawn in DRAWN:
        assert np.max(np.sum([thing.mask for thing in drawn.objects], 0)) == 1


def test_masks_lie_in_the_circle_around_the_object_and_fill_much_of_it():
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for drawn in DRAWN:
        for thing in drawn.objects:
            x, y = thing.centre
            reach = np.hypot(columns - x, rows - y)[thing.mask].max()
            # The square's corners stand out of its circle by 0.82 * sqrt(2) - 1 = 16 %.
            assert reach < 1.17 * thing.radius
            assert thing.mask.sum() > 0.25 * np.pi * thing.radius**2


def test_boxes_hold_the_mask_and_nothing_more():
    for thing in DRAWN[0].objects:
        left, top, right, bottom = thing.box
        inside = thing.mask[top:bottom, left:right]
        assert inside.sum() == thing.mask.sum()
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()


def test_masks_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scenes, "_PAPER", scenes._INK)
    grey = np.full((SIZE, SIZE, 3), 120, np.float32)
    monkeypatch.setattr(scenes, "_background", lambda _: grey.copy())
    for seed in range(30):
        drawn = scene(seed)
        green = drawn.image[..., 1].astype(int)
        shown = np.any([thing.mask for thing in drawn.objects], 0)
        inner = shown.copy()
        for axis in (0, 1):
            inner &= np.roll(shown, 1, axis) & np.roll(shown, -1, axis)
        # Every rim is ink (green 22): a pixel at least half covered is darker than 120 - 98 / 2.
        assert (green[shown & ~inner] <= 72).mean() > 0.99
        assert (green[~shown] >= 70).all()


def test_the_label_names_the_target_and_its_side_of_the_star():
    for drawn in DRAWN:
        side = "left" if drawn.target.centre[0] < drawn.star.centre[0] else "right"
        assert drawn.name == f"{drawn.target.kind}, {side} of the star"
        assert abs(drawn.target.centre[0] - drawn.star.centre[0]) >= MARGIN
        columns = np.arange(SIZE)
        means = [columns[None].repeat(SIZE, 0)[t.mask].mean() for t in drawn.objects[:2]]
        assert (means[0] < means[1]) == (side == "left")


def test_a_scene_has_one_target_one_star_and_distractors_that_are_no_class():
    for drawn in DRAWN:
        roles = [thing.role for thing in drawn.objects]
        assert roles == ["target", "star"] + ["distractor"] * (len(roles) - 2)
        for thing in drawn.objects[2:]:
            assert (thing.pattern, thing.shape) not in KINDS
            assert thing.pattern in {pattern for pattern, _ in KINDS}
            assert thing.shape in {shape for _, shape in KINDS}


def test_every_class_is_held_out_about_as_often_as_any_other():
    counts = np.bincount([scene(seed).label for seed in HELD_OUT[:500]], minlength=len(CLASS_NAMES))
    # 500 scenes in 12 classes: 42 each, standard deviation 6.2; five of them on either side.
    assert counts.min() > 10
    assert counts.max() < 73


def test_held_out_scenes_are_never_trained_on():
    used = [HELD_OUT] + [
        range(recipe.seeds(0).start, recipe.seeds(recipe.steps - 1).stop)
        for recipe in RECIPES.values()
    ]
    used.sort(key=lambda seeds: seeds.start)
    assert len(HELD_OUT) == 1_000
    for one, following in pairwise(used):
        assert one.stop <= following.start


def test_scenes_need_no_torch():
    for module in (scenes, shapes):
        tree = ast.parse(inspect.getsource(module))
        names = [
            name
            for node in ast.walk(tree)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        ]
        assert "numpy" in names
        assert not any(name.split(".")[0] in {"torch", "timm"} for name in names)


@pytest.mark.parametrize("shape", OUTLINES)
def test_outlines_are_negative_inside_and_measured_in_pixels(shape: str):
    y, x = np.mgrid[-20:20:81j, -20:20:81j].astype(np.float32)
    distance = OUTLINES[shape](x, y, 12.0)
    assert 0.2 < (distance < 0).mean() / (np.pi * 12**2 / 40**2) < 1.1
    slope = np.hypot(*np.gradient(distance, 0.5))
    # A true distance has slope 1; where two edges meet it is less, never steeper than rounding.
    assert np.percentile(slope, 99) < 1.1
    assert np.median(slope) > 0.9
