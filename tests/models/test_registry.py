"""Registries: a duplicate name is an error, and a folder registers itself."""

import subprocess
import sys
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


def test_the_order_is_that_of_the_files_whoever_was_imported_first() -> None:
    listing = (
        "from headscope.analysis.metrics import attention_metrics; print(*attention_metrics())"
    )
    first = "import headscope.analysis.metrics.values; "
    plain, other = (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for code in (listing, first + listing)
    )
    assert plain == other
    assert len(plain.split()) > 10
