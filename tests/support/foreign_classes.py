"""Objects of classes that a file names and this project does not have."""

from __future__ import annotations

import sys
import types

import pytest


def pickle_as(monkeypatch: pytest.MonkeyPatch, kind: type, module: str) -> None:
    """Let a class be pickled as one of a module that is not there."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules[module], kind.__name__, kind, raising=False)
    monkeypatch.setattr(kind, "__module__", module)
