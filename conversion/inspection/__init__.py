"""Say what a checkpoint is and holds, and what is missing or extra: `xlm inspect`."""

from conversion.inspection.checkpoint import inspect

__all__ = ["inspect"]
