"""What generation needs and is no tensor computation: settings, beams, random numbers, stopping.

Each family's `generation` holds the tensor computation: the steps of a model, and what changes
logits before the next token is chosen.
"""

from xlm_core.generation.arguments import (
    MASKED_WARNING,
    Kind,
    Settled,
    language_ids,
    refuse_missing_language,
    settle,
    warning_of_frame,
)
from xlm_core.generation.beams import BeamSearch, BeamStep
from xlm_core.generation.config import GENERATION_FILE, GenerationConfig
from xlm_core.generation.progress import NO_CHOICE, Progress, refuse_no_choice
from xlm_core.generation.sampling import uniform_numbers

__all__ = [
    "GENERATION_FILE",
    "MASKED_WARNING",
    "NO_CHOICE",
    "BeamSearch",
    "BeamStep",
    "GenerationConfig",
    "Kind",
    "Progress",
    "Settled",
    "language_ids",
    "refuse_missing_language",
    "refuse_no_choice",
    "settle",
    "uniform_numbers",
    "warning_of_frame",
]
