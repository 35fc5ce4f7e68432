"""Tools over both families: convert, inspect, verify, tokenize, and the `xlm` command line.

A folder for each tool, `reports` with what they show, and `cli` above all of them. The folders
`inspection` and `verification` are not called after their commands because `conversion.inspect`
and `conversion.verify` are functions.
"""

from __future__ import annotations

import importlib
from typing import Any

from xlm_core.distribution import __version__

# The module of each name, imported when the name is first used: a command needs one or two.
_MODULES = {
    "BARS": "reports.outputs",
    "Bars": "reports.outputs",
    "Inspection": "reports.inspection",
    "PairReport": "reports.pair",
    "Report": "reports.verification",
    "Row": "reports.outputs",
    "inspect": "inspection",
    "verify": "verification",
    "verify_pair": "verification",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'conversion' has no attribute {name!r}")
    return getattr(importlib.import_module(f"conversion.{_MODULES[name]}"), name)
