"""Where tests reach into the containers: limits made small, checks taken away, writing made faulty.

Everything that tests know of the containers' insides is named here, and only here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xlm_core.containers.hdf5.file_bytes import Hdf5Bytes
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import fill

# A limit in words -> the names of modules that hold it.
LIMITS = {
    "pickle_window": ("xlm_core.containers.pickles.machine._WINDOW",),
    "pickle_containers": ("xlm_core.containers.pickles.limits.MOST_CONTAINERS",),
    "pickle_opcodes": ("xlm_core.containers.pickles.limits.MOST_OPCODES",),
    "hdf5_parts": ("xlm_core.containers.hdf5.file_bytes.MOST_PARTS",),
    "hdf5_checked_bytes": ("xlm_core.containers.hdf5.file_bytes.MOST_CHECKED",),
    "archive_size": ("xlm_core.containers.archives.writing.LARGEST",),
    "archive_members": ("xlm_core.containers.archives.writing.MOST",),
    "block": ("xlm_core.containers.lazy_tensors.BLOCK", "xlm_core.containers.streaming.BLOCK"),
    "whole_matrix": ("xlm_core.containers.lazy_tensors._WHOLE",),
    "copy_buffer": ("xlm_core.containers.streaming._BUFFER",),
}
# A container -> the function that streams its tensors, as its writer sees it.
FILL = {
    "safetensors": "xlm_core.containers.safetensors.fill",
    "torch": "xlm_core.containers.torch_files.writing.fill",
    "hdf5": "xlm_core.containers.hdf5.writing.fill",
}


def set_limits(monkeypatch: pytest.MonkeyPatch, **values: int) -> None:
    """Give limits, by their names in `LIMITS`, other values."""
    for name, value in values.items():
        for place in LIMITS[name]:
            monkeypatch.setattr(place, value)


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make what is read and copied at once so small that every path is taken."""
    set_limits(monkeypatch, block=64, whole_matrix=256, copy_buffer=48)
    blocks = LazyTensor.blocks
    monkeypatch.setattr(LazyTensor, "blocks", lambda self, size=64: blocks(self, size))


def without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read HDF5 as if whoever changed a byte had computed its checksum anew."""
    monkeypatch.setattr(Hdf5Bytes, "check_sum", lambda *_: None)


def replace_fill(
    monkeypatch: pytest.MonkeyPatch, container: str, function: Callable[..., Any]
) -> None:
    """Have the writer of a container (a key of `FILL`) stream its tensors by another function."""
    monkeypatch.setattr(FILL[container], function)


__all__ = [
    "fill",
    "replace_fill",
    "set_limits",
    "small_blocks",
    "without_checksums",
]
