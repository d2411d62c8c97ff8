"""Registries: a duplicate name is an error, and a folder registers itself."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headscope.analysis.metrics import attention_metrics
from headscope.models.ablations import ablations
from headscope.models.registry import Registry


def test_a_duplicate_name_is_an_error():
    registry = Registry("colours")
    registry.add("red", 1)
    with pytest.raises(ValueError, match="two colours called 'red'"):
        registry.add("red", 2)
    assert dict(registry.all) == {"red": 1}


def test_threads_that_ask_at_once_all_see_everything():
    registry = Registry("metrics", folder="headscope.analysis.metrics")
    barrier = threading.Barrier(4)

    def ask(_):
        barrier.wait()
        return registry.all is registry._things and registry._folder is None

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


def test_files_of_a_folder_register_themselves():
    assert {"distance", "entropy", "hop_share", "hop_mean", "share"} <= set(attention_metrics())
    assert {"zero", "mean", "keep"} <= set(ablations())
