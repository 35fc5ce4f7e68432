"""What all tests share: outside files, the switch of the long tests, small configurations."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.shared import shared_path
from xlm_core import XLMConfig

# No test reaches for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FULL = os.environ.get("XLM_FULL") == "1"

# The same examples in every run; no limit on the time of one, which says little on shared cores.
hypothesis.settings.register_profile(
    "project",
    derandomize=True,
    deadline=None,
    max_examples=200 if FULL else 20,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("project")

_frozen: dict[str, Any] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("full") and not FULL:
            item.add_marker(pytest.mark.skip(reason="a long test: set XLM_FULL=1 to run it"))


@pytest.fixture(autouse=True)
def what_stays_is_no_garbage(request: pytest.FixtureRequest) -> None:
    """What imports and earlier files left is looked through now and then, not every time."""
    state = {"file": request.path, "modules": len(sys.modules) // 100}
    if any(_frozen.get(name) != value for name, value in state.items()):
        _frozen.update(state, times=_frozen.get("times", 0) + 1)
        if _frozen["times"] % 8 == 0:  # or cycles that a file froze would stay for good
            gc.unfreeze()
        gc.collect()
        gc.freeze()


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """From a path inside ../shared to the file; absent, the test skips, and in CI fails."""
    return shared_path


@pytest.fixture(autouse=True)
def operations_as_they_were() -> Iterator[None]:
    """A run of `xlm pretrain` makes TensorFlow deterministic for good: not for other tests."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework.config import disable_op_determinism

        disable_op_determinism()


def make_config(**values: Any) -> XLMConfig:
    """A small configuration in which all sizes differ, so that no two can be confused.

    vocabulary 53, width 12, feed-forward 48, layers 3, heads 4 of width 3, languages 5,
    positions 19, labels 7.
    """
    small = {
        "vocab_size": 53,
        "emb_dim": 12,
        "n_layers": 3,
        "n_heads": 4,
        "n_langs": 5,
        "max_position_embeddings": 19,
        "num_labels": 7,
    }
    if "id2label" in values:
        del small["num_labels"]
    return XLMConfig(**{**small, **values})
