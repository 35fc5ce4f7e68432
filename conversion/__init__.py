"""Tools over both families: inspect, convert, verify, and the `xlm` command line."""

from __future__ import annotations

import importlib
from typing import Any

# Name -> the module that has it; imported when it is asked for, since a command needs one of them.
_MODULES = {
    "BARS": "reports.outputs",
    "Bars": "reports.outputs",
    "Inspection": "reports.inspection",
    "PairReport": "reports.pair",
    "Report": "reports.verification",
    "Row": "reports.outputs",
    "inspect": "inspection.checkpoint",
    "verify": "verification.checkpoint",
    "verify_pair": "verification.pair",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'conversion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"conversion.{_MODULES[name]}"), name)
