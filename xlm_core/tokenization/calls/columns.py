"""The texts of a call, sorted out: texts, words, tokens or ids; one or many; single or pairs.

Everything else is refused here, saying what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xlm_core.errors import InputError

Kind = Literal["text", "words", "tokens", "ids"]


@dataclass(frozen=True, slots=True)
class Column:
    """The first or the second sequences of a batch.

    Attributes:
        kind: What each item is: a "text" (str), or a list of "words", "tokens" (of the
            vocabulary) or "ids".
        items: One a sample.
        single: They are one sample that was given by itself, without a list around it.
    """

    kind: Kind
    items: list[Any]
    single: bool = False


def is_batch(text: Any, words: bool) -> bool:
    """Whether the `text` of a call is a batch rather than one sample.

    Raises:
        InputError: For an empty list where lists are words: it could be either.
    """
    if not isinstance(text, (list, tuple)):
        return False
    if not words:
        return not (text and isinstance(text[0], int))
    if not text:
        raise InputError(
            "text=[] with is_split_into_words=True is a text of no words or a batch of no texts: "
            "give [[]] for the former, and is_split_into_words=False for the latter."
        )
    return isinstance(text[0], (list, tuple))


def one_sample(text: Any, pair: Any, words: bool) -> tuple[Column, Column | None]:
    """The columns of one sample; `pair` is None for a single sequence."""
    second = None if pair is None else column([pair], words, "text_pair", single=True)
    return column([text], words, "text", single=True), second


def many_samples(texts: Any, pairs: Any, words: bool) -> tuple[Column, Column | None]:
    """The columns of a batch.

    Args:
        texts: One entry a sample, where `pairs` is None also (first, second).
        pairs: The second sequences, or None.
        words: Whether lists of strings are words.

    Raises:
        InputError: For entries that are no sequences or not of one kind, or another number of
            second sequences than of first ones.
    """
    for name, value in (("text", texts), ("text_pair", pairs)):
        if not isinstance(value, (list, tuple)) and not (value is None and name == "text_pair"):
            raise InputError(
                f"{name} is of type {type(value).__name__}, but text is a batch: expected a list "
                "with one entry a text."
            )
    if pairs is None:
        return _split_pairs(list(texts), words)
    if len(texts) != len(pairs):
        raise InputError(
            f"text has {len(texts)} entries and text_pair {len(pairs)}: expected as many of each."
        )
    return column(list(texts), words, "text"), column(list(pairs), words, "text_pair")


def _split_pairs(entries: list[Any], words: bool) -> tuple[Column, Column | None]:
    are_pairs = [_is_pair(entry, words) for entry in entries if type(entry) is not str]
    if not any(are_pairs):
        return column(entries, words, "text"), None
    if len(are_pairs) < len(entries) or not all(are_pairs):
        raise InputError(
            "text mixes pairs and single sequences: expected one or the other in a batch. "
            "Tokenize them in two calls."
        )
    wrong = next((entry for entry in entries if len(entry) != 2), None)
    if wrong is not None:
        raise InputError(
            f"an entry of text is a list of {len(wrong)} strings: expected a pair of two. For a "
            "text that is split into words give is_split_into_words=True."
        )
    first, second = column([entry[0] for entry in entries], words, "text"), [e[1] for e in entries]
    if all(entry is None for entry in second):
        return first, None
    return first, column(second, words, "the second entry of a pair")


def _is_pair(entry: Any, words: bool) -> bool:
    if not isinstance(entry, (list, tuple)) or not entry:
        return False
    return isinstance(entry[0], (list, tuple)) or (not words and isinstance(entry[0], str))


def column(items: list[Any], words: bool, name: str, *, single: bool = False) -> Column:
    """The column of some items, whose kind is told by what they hold.

    Raises:
        InputError: If they are of no kind, or not all of one.
    """
    types = set(map(type, items))
    if types <= {str} or all(issubclass(each, str) for each in types):
        return Column("text", items, single)
    if not all(issubclass(each, (list, tuple)) for each in types):
        raise InputError(
            f"{name} holds {_names(types)}: expected str in every entry, or in every one a list "
            f"(of words, with is_split_into_words=True). {_advice(types)}"
        )
    inner: set[type] = set()
    for item in items:
        inner.update(map(type, item))
    if all(issubclass(each, str) for each in inner):
        # Empty lists are texts of no words, or rows of no ids.
        kind: Kind = "words" if words else "tokens" if inner else "ids"
        return Column(kind, [list(item) for item in items], single)
    if all(issubclass(each, int) and each is not bool for each in inner):
        return Column("ids", [list(item) for item in items], single)
    raise InputError(
        f"the lists in {name} hold {_names(inner)}: expected str (words, with "
        f"is_split_into_words=True) or int (ids). {_advice(inner)}"
    )


def _names(types: set[type]) -> str:
    return ", ".join(sorted(each.__name__ for each in types))


def _advice(types: set[type]) -> str:
    if type(None) in types:
        return "Replace None, by '' for instance, or leave those texts out."
    if bytes in types:
        return "Decode bytes first: text.decode('utf-8')."
    if str in types:
        return "Give strings and lists in separate calls."
    return "Convert it first, with str(...) or list(...)."


def languages(value: str | Sequence[str] | None, count: int, name: str) -> list[str | None]:
    """The language of each text, from one language for all or a list of one each.

    Raises:
        InputError: For another number of languages, or something that is no language.
    """
    if value is None or isinstance(value, str):
        return [value] * count
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise InputError(
            f"{name} is {value!r}: expected a language such as 'en', or a list of one for each "
            "text."
        )
    if len(value) != count:
        raise InputError(
            f"{name} has {len(value)} languages for {count} texts: expected one for each, or one "
            "language for all."
        )
    return list(value)
