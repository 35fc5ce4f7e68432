"""Languages as commands are given them."""

from __future__ import annotations


def language_of(given: str | None) -> str | int | None:
    """The name of a language, or where digits were given, its number in the model."""
    return int(given) if given is not None and given.isdecimal() else given
