"""Pairs of small checkpoints that differ in one known way, written without any framework."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conversion.small_checkpoints import write_checkpoint
from xlm_core.checkpoints import open_checkpoint, save_checkpoint

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
QUERY, KEY = (f"transformer.attentions.1.{name}_lin.weight" for name in "qk")
HOSTILE = "<b onload=\"x('1')\">&\x1b[31m\n</td>"


def write_pair(
    folder: Path, change: Callable[[Tensors], None], architecture: str = "XLMWithLMHeadModel"
) -> tuple[Path, Path]:
    """Two folders: a checkpoint, and what `change` makes of its tensors."""
    config = write_checkpoint(folder / "first", architecture)
    tensors = tensors_in(folder / "first")
    change(tensors)
    save_checkpoint(folder / "second", config, tensors)
    return folder / "first", folder / "second"


def tensors_in(path: Path) -> Tensors:
    return {name: tensor.read() for name, tensor in open_checkpoint(path).tensors.items()}


def nothing(tensors: Tensors) -> None:
    """Leave the tensors as they are."""


def flip_a_bit(tensors: Tensors) -> None:
    tensors["transformer.ffns.2.lin1.bias"].view(np.uint32)[5] ^= 1


def swap_query_and_key(tensors: Tensors) -> None:
    tensors[QUERY], tensors[KEY] = tensors[KEY], tensors[QUERY]


def transpose(tensors: Tensors) -> None:
    name = "transformer.attentions.0.v_lin.weight"
    tensors[name] = np.ascontiguousarray(tensors[name].T)


def rename(tensors: Tensors) -> None:
    tensors[HOSTILE] = tensors.pop(QUERY)


def hide_frameworks(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Importing these fails as if they were not installed."""
    for name in names or ("torch", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
