"""Registries: a duplicate name is an error, and a folder registers itself."""

import pytest

from headscope.analysis.metrics import attention_metrics
from headscope.models.families import readable_modules
from headscope.models.registry import Registry


def test_a_duplicate_name_is_an_error():
    registry = Registry("colours")
    registry.add("red", 1)
    with pytest.raises(ValueError, match="two colours called 'red'"):
        registry.add("red", 2)
    assert dict(registry.all) == {"red": 1}


def test_files_of_a_folder_register_themselves():
    assert {"distance", "entropy", "hop_share", "hop_mean", "share"} <= set(attention_metrics())
    assert "timm.models.vision_transformer" in readable_modules()
