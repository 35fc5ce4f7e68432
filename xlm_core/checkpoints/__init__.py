"""Checkpoints as sets of lazy arrays: reading, writing, and matching them to a model."""

from xlm_core.checkpoints.folder import (
    Checkpoint,
    float_dtype_name,
    open_checkpoint,
    save_checkpoint,
)
from xlm_core.checkpoints.matching import Match, match_tensors

__all__ = [
    "Checkpoint",
    "Match",
    "float_dtype_name",
    "match_tensors",
    "open_checkpoint",
    "save_checkpoint",
]
