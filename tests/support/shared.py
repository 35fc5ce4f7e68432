"""Files that lie beside the project, in ../shared: reference outputs and small checkpoints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_path(relative: str) -> Path:
    """The path of `relative` in ../shared; without it, the test skips, or fails in CI."""
    path = ROOT.parent / "shared" / relative
    if not path.exists():
        reason = f"../shared/{relative} is absent: this test compares with its contents"
        if os.environ.get("CI"):
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)
    return path
