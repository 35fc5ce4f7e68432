"""Errors of the library. Every message says what was found, what was expected and what to do."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable


class XLMError(Exception):
    """Base class of every error that this library raises on purpose."""

    # Keras rewrites the message of an error that passes through a layer unless it bears this mark.
    _keras_call_info_injected = True
    # AutoGraph keeps the type of an error only if it is constructed as an Exception is.
    __init__ = Exception.__init__


class ConfigError(XLMError, ValueError):
    """A configuration value is impossible, or contradicts another one."""


class InputError(XLMError, ValueError):
    """A model was called with tensors it cannot use: wrong shape, dtype, value or combination."""


class UnknownArgumentError(XLMError, TypeError):
    """A keyword argument is not one that the function knows."""


class MethodNameError(UnknownArgumentError, AttributeError):
    """A keyword argument of a constructor has the name of a method."""


class CheckpointError(XLMError, ValueError):
    """A checkpoint cannot be read, or does not hold what the model needs."""


class CheckpointFileError(CheckpointError, OSError):
    """A file or a folder of a checkpoint is not there, or cannot be read or fetched."""


class ConfigFileError(ConfigError, CheckpointFileError):
    """There is no config.json, or it cannot be read, or it is no JSON object."""


class OtherRunError(CheckpointError):
    """A checkpoint is whole, and of another run than the one that was to go on from it."""


class CheckpointShapeError(CheckpointError, RuntimeError):
    """Tensors of a checkpoint have other shapes than the model's."""


class TokenizerError(XLMError, ValueError):
    """A tokenizer's file, or an argument about its vocabulary, cannot be used."""


class TokenizerFileError(TokenizerError, OSError):
    """A file or a folder of a tokenizer is not there, or cannot be read or fetched."""


class UnknownLanguageError(InputError):
    """A language that the tokenizer does not know."""


class CorpusError(XLMError, ValueError):
    """A corpus on disk cannot be used, or its target must not be written to."""


class GenerationError(XLMError, RuntimeError):
    """Generation cannot go on, as where the scores of the next token are NaN."""


class TrainingError(XLMError, RuntimeError):
    """Training cannot go on, such as after a loss that is NaN."""


class MissingPackageError(XLMError, ImportError):
    """What was asked for needs a package that is not installed."""


class WorkerError(XLMError, RuntimeError):
    """A worker process ended before its work was done, or could not be started."""


class XLMWarning(UserWarning):
    """Something works, but probably not as intended."""


def nearest(name: object, known: Iterable[str], similarity: float = 0.7) -> str:
    """Say " Did you mean 'x'?" for the known name that is nearest to a mistyped one; else ""."""
    # Wanted after a mistake only.
    import difflib

    names = {each.lower(): each for each in known}
    found = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=similarity)
    return f" Did you mean {names[found[0]]!r}?" if found else ""


def refuse_unknown_arguments(
    function: str, unknown: Iterable[str], known: Iterable[str], *, also: Iterable[str] = ()
) -> None:
    """Raise `UnknownArgumentError` if `unknown` holds any name; say which are known.

    Args:
        function: What the message calls the function.
        unknown: Names that it was given and does not know.
        known: Names that it knows, for the message.
        also: Further names that may have been meant.
    """
    names, known = sorted(unknown), [*known]
    if names:
        raise UnknownArgumentError(
            f"{function} got an unexpected keyword argument: {', '.join(map(repr, names))}. "
            f"Known arguments: {', '.join(known)}.{nearest(names[0], [*known, *also])}"
        )


_INSIDE = ("xlm_core", "xlm_torch", "xlm_tf", "conversion", "torch", "tensorflow", "keras")


def warn(message: str) -> None:
    """Warn at the line outside the library and its frameworks that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, XLMWarning, stacklevel=level)
