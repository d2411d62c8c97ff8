"""Every metric says its formula, its range, how to read it, and where it comes from."""

import pytest

import headscope as hs
from headscope.analysis.about import About, about, descriptions, parse


@pytest.mark.parametrize("name", descriptions())
def test_a_metric_says_what_it_is(name: str) -> None:
    told = about(name)
    for part, text in vars(told).items():
        assert text, f"the docstring of {name} does not say its {part}"
        assert text.endswith((".", ".)", ".”")), f"{part} of {name} is no sentence: {text!r}"
        assert len(text) < 900, f"{part} of {name} is too long for a popover"
    labels = [descriptions()[name].index(f" {label}: ") for label in ("Range", "Reading", "Source")]
    assert labels == sorted(labels)


def test_all_sorts_of_metric_are_there() -> None:
    names = {"js_divergence", "distance", "token_norm", "map_cosine", "effective_rank", "top1_drop"}
    assert names <= set(descriptions())
    assert about("js_divergence").range == "0 (nothing changes) to ln 2."


def test_a_description_without_parts_is_all_reading() -> None:
    assert parse("How far\n   it looks.") == About("", "", "How far it looks.", "")
    assert parse("a / b. Range: 0 to 1. Source: ours.") == About("a / b.", "0 to 1.", "", "ours.")
    assert parse("") == About("", "", "", "")


def test_a_name_that_nobody_registered_is_an_error() -> None:
    with pytest.raises(hs.HeadscopeError, match="no metric 'brightness'"):
        about("brightness")
