"""The framework-neutral part of xlm-parity: numpy and the standard library, no framework."""

from xlm_core.config import XLMConfig
from xlm_core.distribution import __version__
from xlm_core.errors import (
    CheckpointError,
    CheckpointFileError,
    CheckpointShapeError,
    ConfigError,
    ConfigFileError,
    CorpusError,
    GenerationError,
    InputError,
    MethodNameError,
    MissingPackageError,
    TokenizerError,
    TokenizerFileError,
    UnknownArgumentError,
    UnknownLanguageError,
    WorkerError,
    XLMError,
    XLMWarning,
)
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.added_tokens import AddedToken

__all__ = [
    "AddedToken",
    "BatchEncoding",
    "CheckpointError",
    "CheckpointFileError",
    "CheckpointShapeError",
    "ConfigError",
    "ConfigFileError",
    "CorpusError",
    "GenerationError",
    "InputError",
    "MethodNameError",
    "MissingPackageError",
    "TokenizerError",
    "TokenizerFileError",
    "UnknownArgumentError",
    "UnknownLanguageError",
    "WorkerError",
    "XLMConfig",
    "XLMError",
    "XLMTokenizer",
    "XLMWarning",
    "__version__",
]
