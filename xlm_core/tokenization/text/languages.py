"""The languages of a tokenizer, and their numbers in its model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from xlm_core.errors import TokenizerError, UnknownLanguageError
from xlm_core.tokenization.settings import mapping, whole_number
from xlm_core.tokenization.text.segmenters import SEGMENTERS

# The languages of the published model of 100, and those that Moses has abbreviations for.
_LANGUAGES = """
    af als am an ang ar arz ast az bar be bg bn br bs ca ceb ckb cs cy da de el en eo es et eu fa fi
    fr fy ga gan gl gu he hi hr hu hy ia id is it ja jv ka kk kn ko ku la lb lt lv mk ml mn mr ms my
    nds ne nl nn no oc pl pt ro ru scn sco sh si simple sk sl sq sr sv sw ta te th tl tr tt uk ur uz
    vi war wuu yi zh zh_classical zh_min_nan zh_yue
    as cz mni or pa so tdt yue
"""
KNOWN_LANGUAGES = frozenset(_LANGUAGES.split())


class Languages:
    """Which languages a tokenizer knows, and the number of each in its model.

    Args:
        lang2id: Number of each language; None where neither table says.
        id2lang: Language of each number; default, `lang2id` the other way round.

    Raises:
        TokenizerError: A table has no numbers, gives one twice, or contradicts the other.
    """

    def __init__(
        self, lang2id: Mapping[str, int] | None, id2lang: Mapping[Any, str] | None
    ) -> None:
        self.lang2id, self.id2lang = _language_tables(lang2id, id2lang)

    def __copy__(self) -> Languages:
        """Another one, whose tables are its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.lang2id = None if self.lang2id is None else dict(self.lang2id)
        other.id2lang = None if self.id2lang is None else dict(self.id2lang)
        return other

    def check(self, language: object) -> str:
        """`language`, if the texts of a call may be in it.

        Raises:
            UnknownLanguageError: It is unknown; the message lists the known ones.
        """
        return _check(language, _known() if self.lang2id is None else self.lang2id)

    def check_default(self, language: object) -> str:
        """`language`, if it may be the tokenizer's own: also one that the model has no number of.

        Raises:
            UnknownLanguageError: It is unknown; the message lists the known ones.
        """
        return _check(language, _known() | set(self.lang2id or ()))


def _known() -> frozenset[str]:
    """Languages of tokenizers that have no table: one with a segmenter is known by that."""
    return KNOWN_LANGUAGES | SEGMENTERS.keys()


def _check(language: object, known: Collection[str]) -> str:
    """`language`, if it is among `known`.

    Raises:
        UnknownLanguageError: It is not; the message lists the known ones.
    """
    if not isinstance(language, str) or language not in known:
        raise UnknownLanguageError(
            f"Unknown language {language!r}. This tokenizer knows: {', '.join(sorted(known))}."
        )
    return language


def _language_tables(
    lang2id: Mapping[str, int] | None, id2lang: Mapping[Any, str] | None
) -> tuple[dict[str, int] | None, dict[int, str] | None]:
    """Both tables, made from either; numbers that JSON turned into strings are numbers again."""
    names = None
    if id2lang is not None:
        pairs = mapping("id2lang", id2lang).items()
        names = {whole_number("a number of id2lang", i): str(lang) for i, lang in pairs}
    if names is not None and len(set(names.values())) < len(names):
        raise TokenizerError(f"id2lang gives two numbers to one language: {names}.")
    if lang2id is None:
        return (None if names is None else {lang: i for i, lang in names.items()}), names
    pairs = mapping("lang2id", lang2id).items()
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
