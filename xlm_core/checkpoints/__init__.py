"""Checkpoints as sets of lazy arrays: reading, writing, and matching them to a model."""

from xlm_core.checkpoints.dtypes import float_dtype_name
from xlm_core.checkpoints.layouts import LAYOUTS, why_not
from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.loading import loading_info, open_as_asked, open_parts_as_asked
from xlm_core.checkpoints.matching import Match, match_checkpoint, match_tensors
from xlm_core.checkpoints.moments import Moments
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint, open_moments
from xlm_core.checkpoints.original import Original
from xlm_core.checkpoints.writing import save_checkpoint
from xlm_core.containers.lazy_tensors import LazyTensor

__all__ = [
    "LAYOUTS",
    "Checkpoint",
    "Layout",
    "LazyTensor",
    "Match",
    "Moments",
    "Original",
    "float_dtype_name",
    "loading_info",
    "match_checkpoint",
    "match_tensors",
    "open_as_asked",
    "open_checkpoint",
    "open_moments",
    "open_parts_as_asked",
    "save_checkpoint",
    "why_not",
]
