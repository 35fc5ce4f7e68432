"""The framework-neutral part of xlm-models: numpy and the standard library, no framework."""

from xlm_core.config import XLMConfig
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    InputError,
    UnknownArgumentError,
    XLMError,
    XLMWarning,
)

__all__ = [
    "CheckpointError",
    "ConfigError",
    "InputError",
    "UnknownArgumentError",
    "XLMConfig",
    "XLMError",
    "XLMWarning",
]
