"""What the settings of a tokenizer may be: each function returns the value, or says what is wrong.

Raises:
    TokenizerError: In each of them, for a value that cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xlm_core.errors import TokenizerError


def one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, if it is among `allowed`."""
    if value not in allowed:
        raise TokenizerError(
            f"{name} is {value!r}; expected one of {', '.join(map(repr, allowed))}."
        )
    return str(value)


def whole_number(name: str, value: Any) -> int:
    """`value` as a whole number; JSON has strings for some, and floats for very large ones."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or (isinstance(value, float) and number != value):
        raise TokenizerError(f"{name} is {value!r}; expected a whole number.")
    return number


def truth(name: str, value: Any) -> bool:
    """`value`, if it is True or False: the string "false" of a file is neither."""
    if not isinstance(value, bool):
        raise TokenizerError(f"{name} is {value!r}; expected True or False.")
    return value


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    """`value`, if it is a mapping."""
    if not isinstance(value, Mapping):
        raise TokenizerError(f"{name} is a {type(value).__name__}; expected a table (a dict).")
    return value


def list_of_names(name: str, value: Any) -> list[str]:
    """`value` as a list, if it is one of strings; a string alone is no list of its characters."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise TokenizerError(
            f"{name} is {value!r}; expected a list of names, such as ['input_ids']."
        )
    return list(value)
