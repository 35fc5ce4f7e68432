"""Names that moved to `xlm_torch.fast`; they stay here for one version."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from xlm_torch.fast import onednn
from xlm_torch.fast.rule import formulas_only

plain_kernels = formulas_only
_MOVED = ("PREFER_ONEDNN",)


class _Kernels(ModuleType):
    """Reads and writes a setting where it lives now."""

    def __getattr__(self, name: str) -> Any:
        if name in _MOVED:
            return getattr(onednn, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MOVED:
            setattr(onednn, name, value)
        else:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Kernels
