"""Checkpoints as sets of lazy arrays: reading, writing, and matching them to a model."""

from xlm_core.checkpoints.folder import Checkpoint, open_checkpoint, save_checkpoint
from xlm_core.checkpoints.matching import Match, match_tensors

__all__ = ["Checkpoint", "Match", "match_tensors", "open_checkpoint", "save_checkpoint"]
