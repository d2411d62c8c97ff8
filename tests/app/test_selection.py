"""The selection and its address."""

from dataclasses import replace

import pytest

from headscope.app.selection import Selection

FULL = Selection(
    study="a.zarr",
    checkpoint="demo/supervised",
    arch="vit_tiny_patch16_224",
    weights="random",
    image="upload:" + 64 * "a",
    target=0,
    layer=3,
    head=0,
    token=17,
    place="120,88",
    metric="js_divergence:mean",
    scope="mean",
    marked="1.2,3.0",
)


def test_address_and_back_is_the_same_selection() -> None:
    assert Selection.from_query(FULL.to_query()) == (FULL, ())


def test_the_page_s_own_choices_are_not_in_the_address() -> None:
    assert Selection().to_query() == {}
    assert Selection(target=0).to_query() == {"target": "0"}


def test_other_people_s_keys_are_nobody_s_business() -> None:
    assert Selection.from_query({"utm_source": "x", "layer": "1", "head": "2"}) == (
        Selection(layer=1, head=2),
        (),
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("layer", "-1"),
        ("head", "two"),
        ("token", "1.5"),
        ("token", ""),
        ("target", "９"),  # a digit, but not one that int() and people agree on
        ("target", "9" * 30),
        ("scope", "median"),
        ("marked", "3.1,5"),
        ("weights", "pretrained"),
        ("image", "x" * 301),
        ("checkpoint", "demo/\x00supervised"),
    ],
)
def test_a_malformed_value_is_left_out_with_a_sentence(key: str, text: str) -> None:
    selection, notes = Selection.from_query({**FULL.to_query(), key: text})
    assert getattr(selection, key) is None
    assert len(notes) == 1
    assert key in notes[0]
    assert len(notes[0]) < 150


def test_a_layer_without_its_head_is_no_selection() -> None:
    selection, _ = Selection.from_query({"layer": "3", "head": "x"})
    assert selection == Selection()


def test_fit_keeps_what_is_there() -> None:
    assert FULL.fit([4, 4, 4, 1], [18] * 4, "m") == (FULL, ())


@pytest.mark.parametrize(
    ("n_heads", "n_tokens", "fitted", "said"),
    [
        ([4, 4, 4], [18] * 3, replace(FULL, layer=None, head=None), "no layer 3"),
        ([4, 4, 4, 0], [18] * 4, replace(FULL, layer=None, head=None), "no head 0"),
        ([4, 4, 4, 1], [17] * 4, replace(FULL, token=None), "no token 17"),
        ([4, 4, 4, 1], [90, 90, 90, 17], replace(FULL, token=None), "Layer 3 of the model has 17"),
    ],
)
def test_fit_drops_what_the_checkpoint_lacks(
    n_heads: list[int], n_tokens: list[int], fitted: Selection, said: str
) -> None:
    selection, notes = replace(FULL, marked=None).fit(n_heads, n_tokens, "the model")
    assert selection == replace(fitted, marked=None)
    assert len(notes) == 1
    assert said in notes[0]
    assert "the model" in notes[0]


def test_a_token_without_a_layer_is_kept_where_some_layer_has_it() -> None:
    selection = Selection(token=17)
    assert selection.fit([4, 4], [10, 90], "m") == (selection, ())
    assert selection.fit([4, 4], [10, 12], "m")[0].token is None
