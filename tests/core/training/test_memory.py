"""What a run asks of the C library."""

from __future__ import annotations

import sys

import pytest

from xlm_core.training.memory import keep_freed_memory


def test_where_there_is_no_such_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_freed_memory()


def test_it_can_be_asked_twice() -> None:
    keep_freed_memory()
    keep_freed_memory()
