"""`fetch` of the hub, by what is wanted: the files of weights, or those of a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xlm_core.hub as hub
from xlm_core.checkpoints.opening import WANTED
from xlm_core.tokenization.files.folder import PUBLISHED_FILES

# What `open_checkpoint` calls.
CALLED_TO_OPEN = "xlm_core.checkpoints.opening.fetch"
_FILES = {"weights": WANTED, "tokenizer": PUBLISHED_FILES}


def fetch(name: str, *, files: str = "weights", **options: Any) -> Path:
    """Fetch what opening a checkpoint ("weights") or a tokenizer ("tokenizer") asks for."""
    return hub.fetch(name, _FILES[files], **options)


def replace_fetch(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Path]) -> None:
    """Have `open_checkpoint` fetch by another function."""
    monkeypatch.setattr(CALLED_TO_OPEN, function)
