"""The training of the demo checkpoints, on a network small enough to train in a second."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from headscope.models.demo.objective import GRID, IGNORE, PATCH, KeepPatches, patch_answers
from headscope.models.demo.recipes import RECIPES, Phase, Recipe
from headscope.models.demo.scenes import CLASS_NAMES, scene
from headscope.models.demo.train import Progress, snapshot_steps, train
from headscope.models.demo.weights import create
from headscope.models.errors import HeadscopeError

TINY = Recipe(
    name="tiny",
    about="made for a test",
    seed=9,
    phases=(
        Phase(goal="pixels", steps=2, keep=20, warm_up=1),
        Phase(goal="labels", steps=4, keep=20, all_from=0.5, warm_up=1),
    ),
    batch_size=2,
    reg_tokens=1,
    depth=1,
    embed_dim=16,
    num_heads=2,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _train(tmp_path_factory.mktemp("whole"))


def _train(out: Path, *, stop_at: int | None = None, heard: list[Progress] | None = None) -> Path:
    def progress(report: Progress) -> None:
        if heard is not None:
            heard.append(report)
        if report.step == stop_at:
            raise KeyboardInterrupt

    return train(
        "tiny", out=out, recipe=TINY, progress=progress, every=1, save_every=1, n_held_out=4
    )


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("stop_at", [2, 3, 5])
def test_an_interrupted_run_ends_in_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, whole: Path, stop_at: int
):
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, stop_at=stop_at)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.partial.pt"]
    heard: list[Progress] = []
    resumed = _tensors(_train(tmp_path, heard=heard))
    # Interrupted while step `stop_at` was reported, before it was saved: that step is taken again.
    assert [report.step for report in heard] == list(range(stop_at, TINY.steps + 1))
    expected = _tensors(whole)
    assert resumed.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(resumed[key], tensor), key


def test_training_changes_every_tensor_of_the_network(whole: Path):
    start = create(TINY).state_dict()
    for key, tensor in _tensors(whole).items():
        assert not torch.equal(tensor, start[key].half()), key


def test_a_finished_run_leaves_weights_and_card_only(whole: Path):
    assert {path.name for path in whole.parent.iterdir()} == {"tiny.safetensors", "tiny.md"}


def test_the_header_holds_what_timm_needs(whole: Path):
    with safe_open(whole, framework="pt") as file:
        entry = json.loads(file.metadata()["timm"])
    assert entry["architecture"] == "vit_tiny_patch16_224"
    assert entry["model_args"] == TINY.model_args
    assert entry["label_names"] == list(CLASS_NAMES)
    assert entry["pretrained_cfg"]["input_size"] == [3, GRID * PATCH, GRID * PATCH]
    assert {tensor.dtype for tensor in _tensors(whole).values()} == {torch.float16}


def test_the_state_of_another_recipe_is_refused(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, stop_at=2)
    (tmp_path / "tiny.partial.pt").rename(tmp_path / "supervised.partial.pt")
    with pytest.raises(HeadscopeError, match="another recipe"):
        train("supervised", out=tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path):
    with pytest.raises(HeadscopeError, match="'nothing'; there are supervised, masked, registers"):
        train("nothing", out=tmp_path)


def test_training_leaves_the_callers_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    create(RECIPES["supervised"])
    assert torch.equal(torch.get_rng_state(), before)


def test_patches_are_asked_what_the_masks_say():
    drawn = scene(5)
    answers = patch_answers(drawn).reshape(GRID, GRID, 4)
    for row in range(GRID):
        for column in range(GRID):
            window = np.s_[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            shares = [float(thing.mask[window].mean()) for thing in drawn.objects]
            shape, pattern, kind, side = answers[row, column]
            if max(shares) < 0.05:
                assert (shape, pattern, kind) == (7, 7, 12)
            elif max(shares) < 0.3:
                assert shape == pattern == kind == IGNORE
            else:
                best = int(np.argmax(shares))
                assert kind == (drawn.label if best == 0 else 12)
                assert (shape == 6) == (pattern == 6) == (best == 1)
            offset = (column + 0.5) * PATCH - drawn.star.centre[0]
            assert side == (IGNORE if abs(offset) <= PATCH / 2 else offset > 0)


def test_kept_patches_are_the_chosen_ones_behind_all_prefix_tokens():
    gate = KeepPatches(2)
    tokens = torch.arange(2 * 6).reshape(2, 6, 1)
    assert gate(tokens) is tokens
    gate.kept = torch.tensor([[3, 0], [1, 2]])
    assert gate(tokens)[..., 0].tolist() == [[0, 1, 5, 2], [6, 7, 9, 10]]


def test_snapshots_of_a_run_are_kept(tmp_path: Path, whole: Path):
    out = tmp_path / "kept"
    last = train("tiny", out=out, recipe=TINY, progress=lambda _: None, n_held_out=4, snapshots=3)
    names = sorted(path.name for path in out.glob("*step*"))
    assert names == [f"tiny-step-{step}.safetensors" for step in (0, 3, 6)]
    kept = [_tensors(out / name) for name in names]
    end = _tensors(last)
    assert all(torch.equal(kept[2][key], end[key]) for key in end)
    assert all(torch.equal(end[key], value) for key, value in _tensors(whole).items())
    begun = create(TINY).state_dict()
    assert torch.equal(kept[0]["cls_token"], begun["cls_token"].half())
    assert not torch.equal(kept[1]["cls_token"], end["cls_token"])


def test_snapshots_that_are_past_are_told(tmp_path: Path):
    """A run that kept them goes on; one that did not cannot make them any more."""

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    def go_on(out: Path, snapshots: int, progress: Any = lambda _: None) -> Path:
        return train(
            "tiny", out=out, recipe=TINY, progress=progress, every=1, save_every=1, n_held_out=4,
            snapshots=snapshots,
        )  # fmt: skip

    for out, first in ((tmp_path / "none", 0), (tmp_path / "kept", 3)):
        with pytest.raises(KeyboardInterrupt):
            go_on(out, first, stop)
    with pytest.raises(HeadscopeError, match=r"did not keep tiny-step-0.*begin anew"):
        go_on(tmp_path / "none", 3)
    assert go_on(tmp_path / "kept", 3).exists()
    assert len(list((tmp_path / "kept").glob("*step*"))) == 3


def test_snapshots_are_taken_at_doubling_steps():
    assert snapshot_steps(3000, 5) == (0, 375, 750, 1500, 3000)
    assert snapshot_steps(3000, 1) == (3000,)
    assert snapshot_steps(3000, 0) == ()
    assert snapshot_steps(2, 9) == (0, 1, 2)
    with pytest.raises(HeadscopeError, match="-1 snapshots"):
        snapshot_steps(3000, -1)
