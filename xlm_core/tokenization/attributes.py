"""The attributes of `XLMTokenizer` that do something when they are read or set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from xlm_core.tokenization.words.added_tokens import AddedToken
from xlm_core.tokenization.words.vocabulary import Vocabulary

Value = TypeVar("Value")


class _Tokenizer(Protocol):
    _vocabulary: Vocabulary

    def _make_parts(self) -> None: ...


class Setting(Generic[Value]):
    """Attribute that is checked when it is set.

    Args:
        check: From the tokenizer and a new value to what the attribute becomes; raises if it
            cannot be.
        changes_ids: Ids depend on it: setting it makes the tokenizer's parts anew.
    """

    def __init__(self, check: Callable[[Any, Any], Value], *, changes_ids: bool = True) -> None:
        self._check = check
        self._changes_ids = changes_ids

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Self | Value:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: _Tokenizer, value: Any) -> None:
        instance.__dict__[self._name] = self._check(instance, value)
        if self._changes_ids:
            instance._make_parts()


class PartAttribute(Generic[Value]):
    """Attribute of the tokenizer that is the attribute of the same name of one of its parts.

    Args:
        part: Name of the attribute that holds the part.
    """

    def __init__(self, part: str) -> None:
        self._part = part

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else getattr(getattr(instance, self._part), self._name)

    def __set__(self, instance: object, value: Value) -> None:
        setattr(getattr(instance, self._part), self._name, value)


class Role:
    """Attribute: the token that has a role, such as `pad_token`, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Role: ...

    @overload
    def __get__(self, instance: _Tokenizer, owner: type) -> str | None: ...

    def __get__(self, instance: _Tokenizer | None, owner: type) -> Role | str | None:
        return self if instance is None else instance._vocabulary.roles[self._name]

    def __set__(self, instance: _Tokenizer, token: Any) -> None:
        content = None if token is None else AddedToken.of(token).content
        instance._vocabulary.roles[self._name] = content
        instance._make_parts()


class RoleId:
    """Attribute: the id of the token that has a role, such as `pad_token_id`, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.removesuffix("_id")

    @overload
    def __get__(self, instance: None, owner: type) -> RoleId: ...

    @overload
    def __get__(self, instance: _Tokenizer, owner: type) -> int | None: ...

    def __get__(self, instance: _Tokenizer | None, owner: type) -> RoleId | int | None:
        return self if instance is None else instance._vocabulary.id_of_role(self._name)

    def __set__(self, instance: _Tokenizer, i: int | None) -> None:
        token = None if i is None else instance._vocabulary.token_of(i)
        setattr(instance, self._name, token)
