"""Texts to framed rows of ids, with the language of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError, UnknownLanguageError, nearest, warn
from xlm_core.tokenization.calls.arguments import check_natural
from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.tokenization.words.bpe import END_OF_WORD

# A language: its name, or its number in the model.
Language: TypeAlias = str | int | None
# One for all texts, or one for each.
Languages: TypeAlias = Language | Iterable[Language]

FRAMES = ("</s>", "<s>")
_FRAME_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One text as a model takes it.

    Attributes:
        ids: Its ids, the frame included.
        lang: Number of its language; None for models without languages.
        text: The text.
        lang_name: What the tokenizer was told of its language.
        name: What messages call it, such as "text 3".
        cut: How many ids did not fit.
        is_split: Whether the text was given as subwords.
    """

    ids: list[int]
    lang: int | None
    text: str
    lang_name: str | None
    name: str
    cut: int = 0
    is_split: bool = False

    @property
    def content(self) -> list[int]:
        """The ids without the frame."""
        return self.ids[1:-1]


class Preparation:
    """Tokenizes texts, frames and if asked truncates them.

    Args:
        config: The model's.
        tokenizer: Its tokenizer.
        frame: What opens a text; `</s>` closes it. "</s>", as models were pretrained, or "<s>",
            as transformers frames.
        truncation: Cut texts that are too long; else they are refused.
        max_length: Most ids of a row, the frame included; None: as many as there are positions.
        ids_of: Gives the ids of a text that is split into subwords already; None: texts are
            tokenized.

    Raises:
        InputError: For a frame or a length that cannot be.
    """

    def __init__(
        self,
        config: XLMConfig,
        tokenizer: XLMTokenizer,
        *,
        frame: str = "</s>",
        truncation: bool = False,
        max_length: int | None = None,
        ids_of: Callable[[str], list[int]] | None = None,
    ) -> None:
        if not isinstance(tokenizer, XLMTokenizer):
            raise InputError(
                f"tokenizer is a {type(tokenizer).__name__}: expected an XLMTokenizer, such as "
                "XLMTokenizer.from_pretrained(folder)."
            )
        if frame not in FRAMES:
            raise InputError(f"frame is {frame!r}: expected one of {', '.join(map(repr, FRAMES))}.")
        check_natural("max_length", max_length, _FRAME_TOKENS + 1)
        limit = config.max_position_embeddings
        if max_length is not None and max_length > limit:
            raise InputError(
                f"max_length is {max_length}, but the model has {limit} positions "
                "(max_position_embeddings)."
            )
        self.config, self.tokenizer = config, tokenizer
        self.max_length = limit if max_length is None else max_length
        self._truncates, self._ids_of = truncation, ids_of
        roles = ("sep_token" if frame == "</s>" else "bos_token", "sep_token")
        frame_ids = [getattr(tokenizer, f"{role}_id") for role in roles]
        if None in frame_ids:
            raise InputError(
                f"texts are framed by {' and '.join(roles)}, and this tokenizer has none: set them."
            )
        self._opening, self._closing = frame_ids
        self._numbers = _language_table(config, tokenizer)
        self._settled: dict[Language, tuple[str | None, int | None]] = {}
        self._counts: Counter[str] = Counter()
        self._cut = self._longest = 0

    def rows(
        self,
        texts: Sequence[tuple[str, Language]],
        called: str = "text",
        *,
        first: int | None = None,
    ) -> list[Row]:
        """The row of each text.

        Args:
            texts: Texts, each with its language.
            called: What messages call one, before its number.
            first: Number of the first one; None: they are counted from 0, over all calls.

        Raises:
            InputError: A text is no string, or is too long.
            UnknownLanguageError: A language is unknown, or not given and needed.
        """
        if first is None:
            first = self._counts[called]
        names = [f"{called} {number}" for number in range(first, first + len(texts))]
        for name, (text, _) in zip(names, texts, strict=True):
            if not isinstance(text, str):
                raise InputError(f"{name} is a {type(text).__name__}: expected a str.")
        argument = "src_lang" if called == "source" else "lang"
        langs = [self.language(lang, argument) for _, lang in texts]
        rows = [
            self._row(ids, text, lang, number, name)
            for ids, (text, _), (lang, number), name in zip(
                self._ids([text for text, _ in texts], [lang for lang, _ in langs]),
                texts,
                langs,
                names,
                strict=True,
            )
        ]
        self._counts[called] += len(rows)
        return rows

    def _ids(self, texts: list[str], langs: list[str | None]) -> list[list[int]]:
        """Ids of texts, without frame."""
        if self._ids_of is not None:
            return [self._ids_of(text) for text in texts]
        if not texts:
            return []
        own = self.tokenizer.lang
        ids: list[list[int]] = self.tokenizer(
            texts,
            lang=[lang or own for lang in langs] if any(langs) else None,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return ids

    def _row(
        self, content: list[int], text: str, lang: str | None, number: int | None, name: str
    ) -> Row:
        length = len(content) + _FRAME_TOKENS
        cut = max(0, length - self.max_length)
        if cut:
            if not self._truncates:
                raise InputError(
                    f"{name} has {length} ids with its frame, but at most {self.max_length} fit: "
                    "shorten it, or give truncation=True."
                )
            self._cut += 1
            self._longest = max(self._longest, length)
            left = self.tokenizer.truncation_side == "left"
            content = content[cut:] if left else content[: len(content) - cut]
        ids = [self._opening, *content, self._closing]
        return Row(ids, number, text, lang, name, cut, self._ids_of is not None)

    def warn_of_cut(self) -> None:
        """Warn, if texts were cut."""
        if self._cut:
            warn(
                f"{self._cut} of {self._counts.total()} texts had more than {self.max_length} ids "
                f"with their frame and were cut; the longest had {self._longest}."
            )
            self._cut = 0

    def language(self, lang: Language, argument: str = "lang") -> tuple[str | None, int | None]:
        """The name of a language for the tokenizer, and its number for the model.

        Args:
            lang: Either of the two; None: the tokenizer's own, where the model needs none.
            argument: What messages call it.

        Raises:
            UnknownLanguageError: It is unknown, or the model needs one.
        """
        if lang not in self._settled:
            self._settled[lang] = self._language(lang, argument)
        return self._settled[lang]

    def _language(self, lang: Language, argument: str) -> tuple[str | None, int | None]:
        numbers, needed = self._numbers, self.config.has_lang_embeddings
        known = ", ".join(sorted(numbers)) or f"numbers below {self.config.n_langs}"
        if lang is None:
            if needed:
                raise UnknownLanguageError(
                    f"the model has language embeddings, but {argument} was not given: without it "
                    f"the results are not those the model was trained for. Give one of: {known}."
                )
            return None, None
        if isinstance(lang, str):
            if needed and lang not in numbers:
                raise UnknownLanguageError(
                    f"Unknown language {lang!r}. The model knows: {known}.{nearest(lang, numbers)}"
                )
            return lang, numbers[lang] if needed else None
        names = {number: name for name, number in numbers.items()}
        if isinstance(lang, bool) or not hasattr(lang, "__index__"):
            raise UnknownLanguageError(
                f"{argument} is {lang!r}: expected the name of a language, or its number in the "
                "model."
            )
        number = lang.__index__()
        if number not in names and not (needed and not names and 0 <= number < self.config.n_langs):
            raise UnknownLanguageError(f"There is no language {number}. The model knows: {known}.")
        return names.get(number), number if needed else None


def _language_table(config: XLMConfig, tokenizer: XLMTokenizer) -> dict[str, int]:
    """Number of each language; of a model and a tokenizer that contradict each other, an error."""
    of_model, of_tokenizer = config.lang2id or {}, tokenizer.lang2id or {}
    for name in sorted(of_model.keys() & of_tokenizer.keys()):
        if of_model[name] != of_tokenizer[name] and config.has_lang_embeddings:
            raise InputError(
                f"language {name!r} is {of_model[name]} for the model and {of_tokenizer[name]} for "
                "the tokenizer: is the tokenizer this model's?"
            )
    return of_model or of_tokenizer


def in_languages(texts: Iterable[str], lang: Languages) -> Iterator[tuple[str, Language]]:
    """Each text with its language.

    Args:
        texts: The texts.
        lang: One for all, or one for each.

    Raises:
        InputError: `texts` is one string, or there are fewer or more languages than texts.
    """
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise InputError(f"texts is a {type(texts).__name__}: expected several strings.")
    if lang is None or isinstance(lang, str) or not isinstance(lang, Iterable):
        return ((text, lang) for text in texts)
    return _paired(texts, lang)


def _paired(texts: Iterable[str], langs: Iterable[Language]) -> Iterator[tuple[str, Language]]:
    missing: Any = object()
    others = iter(langs)
    count = 0
    for count, text in enumerate(texts, 1):
        if (lang := next(others, missing)) is missing:
            raise InputError(f"there are {count - 1} languages and more texts: give one for each.")
        yield text, lang
    if next(others, missing) is not missing:
        raise InputError(f"there are {count} texts and more languages: give one for each.")


def windows(
    texts: Iterable[tuple[str, Language]], size: int
) -> Iterator[list[tuple[str, Language]]]:
    """Texts in lists of `size`, the last one shorter."""
    texts = iter(texts)
    while window := list(islice(texts, size)):
        yield window


def listed(texts: Any, called: str = "texts") -> tuple[list[str], bool]:
    """Texts as a list, and whether they were one string."""
    if isinstance(texts, str):
        return [texts], True
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise InputError(f"{called} is a {type(texts).__name__}: expected a str, or several.")
    return list(texts), False


def words_of(tokenizer: XLMTokenizer, row: Row) -> tuple[list[str], list[int]]:
    """The words of a row's text, and the index of the word of each of its content's ids.

    Of a text that was cut, these are the words of what was kept.
    """
    content = row.content
    if row.is_split:
        return _joined_words(tokenizer, content)
    encoding = tokenizer([row.text], lang=row.lang_name, add_special_tokens=False, verbose=False)
    indices = [index for index in encoding.word_ids(0) if index is not None]
    start = row.cut if tokenizer.truncation_side == "left" else 0
    indices = indices[start : start + len(content)]
    if not indices:
        return [], []
    words = tokenizer.words(row.text, lang=row.lang_name)
    first, last = indices[0], indices[-1]
    return words[first : last + 1], [index - first for index in indices]


def _joined_words(tokenizer: XLMTokenizer, ids: list[int]) -> tuple[list[str], list[int]]:
    """`words_of` of ids alone: a subword that ends a word says so."""
    special = set(tokenizer.all_special_tokens)
    words: list[str] = []
    indices: list[int] = []
    inside = False
    for token in tokenizer.convert_ids_to_tokens(ids):
        alone = token in special
        if alone or not inside:
            words.append("")
        words[-1] += token.removesuffix(END_OF_WORD)
        indices.append(len(words) - 1)
        inside = not alone and not token.endswith(END_OF_WORD)
    return words, indices


def batches_by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of neighbours in length, the longest first."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))
