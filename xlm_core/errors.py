"""Errors of the library. Every message says what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable


class XLMError(Exception):
    """Base class of every error that this library raises on purpose."""


class ConfigError(XLMError, ValueError):
    """A configuration value is impossible, or contradicts another one."""


class InputError(XLMError, ValueError):
    """A model was called with tensors it cannot use: wrong shape, dtype, value or combination."""


class UnknownArgumentError(XLMError, TypeError):
    """A keyword argument is not one that the function knows."""


class CheckpointError(XLMError, ValueError):
    """A checkpoint cannot be read, or does not hold what the model needs."""


class XLMWarning(UserWarning):
    """Something works, but probably not as intended."""


def refuse_unknown_arguments(function: str, unknown: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UnknownArgumentError` if `unknown` holds any name; say which are known."""
    names = sorted(unknown)
    if names:
        raise UnknownArgumentError(
            f"{function} got an unexpected keyword argument: {', '.join(map(repr, names))}. "
            f"Known arguments: {', '.join(known)}."
        )
