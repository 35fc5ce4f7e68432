"""What the settings of a tokenizer may be, and attributes that take effect when they are set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from xlm_core.errors import TokenizerError
from xlm_core.tokenization.words.added_tokens import AddedToken

Value = TypeVar("Value")


class _Forgets(Protocol):
    def _forget(self) -> None: ...


class Setting(Generic[Value]):
    """Attribute on which remembered results depend: setting it forgets them.

    Args:
        check: What a new value becomes, given the object and the value; raises if it cannot be.
    """

    def __init__(self, check: Callable[[Any, Any], Value]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: _Forgets, value: Any) -> None:
        instance.__dict__[self._name] = self._check(instance, value)
        instance._forget()


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


def _mapping(name: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TokenizerError(f"{name} is a {type(value).__name__}; expected a table (a dict).")
    return value


def added_tokens(table: Any) -> dict[int, AddedToken]:
    """`added_tokens_decoder` as tokenizer_config.json has it, or as our own attribute."""
    pairs = _mapping("added_tokens_decoder", table or {}).items()
    return {whole_number("an id of added_tokens_decoder", i): AddedToken.of(t) for i, t in pairs}


def language_tables(
    lang2id: Mapping[str, int] | None, id2lang: Mapping[Any, str] | None
) -> tuple[dict[str, int] | None, dict[int, str] | None]:
    """Both tables, whole numbers as numbers also where JSON made strings of them."""
    names = None
    if id2lang is not None:
        pairs = _mapping("id2lang", id2lang).items()
        names = {whole_number("a number of id2lang", i): str(lang) for i, lang in pairs}
    if names is not None and len(set(names.values())) < len(names):
        raise TokenizerError(f"id2lang gives two numbers to one language: {names}.")
    if lang2id is None:
        return (None if names is None else {lang: i for i, lang in names.items()}), names
    pairs = _mapping("lang2id", lang2id).items()
    numbers = {str(lang): whole_number(f"lang2id[{lang!r}]", i) for lang, i in pairs}
    if min(numbers.values(), default=0) < 0:
        raise TokenizerError(f"lang2id has numbers below 0: {numbers}.")
    back = {i: lang for lang, i in numbers.items()}
    if len(back) < len(numbers):
        raise TokenizerError(f"lang2id gives one number to two languages: {numbers}.")
    if names is not None and names != back:
        raise TokenizerError(
            f"lang2id and id2lang contradict each other: {numbers} and {names}. Give one of them."
        )
    return numbers, back
