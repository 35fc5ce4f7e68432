"""Functions of MKL are settled by importing the package, before any thread calls them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import xlm_torch
from xlm_torch.vector_math import FUNCTIONS, settle_functions


class Recorded(TorchFunctionMode):
    """What is called, with the size, dtype and device of its first argument."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in FUNCTIONS:
            (x,) = args
            self.calls.append((func, x.numel(), x.dtype, x.device.type))
        return func(*args, **(kwargs or {}))


def test_importing_calls_each_function_on_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one number, so that one thread calls; whatever device is the default."""
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    state = torch.get_rng_state()
    with torch.device("meta"), Recorded() as recorded:
        importlib.reload(xlm_torch)
    assert sorted(recorded.calls, key=str) == sorted(
        (
            (function, 1, dtype, "cpu")
            for function in FUNCTIONS
            for dtype in (torch.float32, torch.float64)
        ),
        key=str,
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_without_mkl_nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    with Recorded() as recorded:
        settle_functions()
    assert recorded.calls == []
