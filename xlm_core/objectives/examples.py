"""Examples as tokenizers and data sets give them: a text, or a text and its translation."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlm_core.errors import InputError, nearest
from xlm_core.objectives.batch import IGNORED, Ids

# What tokenizers and data sets add, and no objective looks at.
_LEFT_OUT = ("special_tokens_mask", "token_type_ids", "length", "lengths")


@dataclass(frozen=True)
class Example:
    """One example, without padding.

    Attributes:
        ids: int64, shape (tokens,).
        labels: Of a translation, int64, shape (tokens of it,); else None.
        langs: Numbers of languages, int64, shape (tokens,) or (1,) for all; None: not said.
        decoder_langs: The same of the labels.
        index: Its number in the data; None: not said.
    """

    ids: Ids
    labels: Ids | None
    langs: Ids | None
    decoder_langs: Ids | None
    index: int | None


class ExampleReader:
    """Reads examples for a model.

    Args:
        words: Size of the model's vocabulary.
        pad: Id of padding.
        languages: Number of the model's languages.
        translated: Whether labels are a translation; else there are to be none.
    """

    def __init__(self, *, words: int, pad: int, languages: int, translated: bool) -> None:
        self._words, self._pad, self._languages = words, pad, languages
        self._translated = translated
        names = ("input_ids", "attention_mask", "langs", "index")
        self._names = (*names, "labels", "decoder_langs") if translated else names

    def read(self, at: int, given: Any) -> Example:
        """Read one.

        Args:
            at: Its place in the batch, for messages.
            given: A mapping with `input_ids`, or the ids alone.

        Raises:
            InputError: If it cannot be used.
        """
        if not isinstance(given, Mapping):
            given = {"input_ids": given}
        self._check_names(at, given)
        all_ids = self._ids(at, given, "input_ids")
        visible = _visible(at, all_ids, given.get("attention_mask"), self._pad)
        labels = kept = None
        if self._translated:
            labels = self._ids(at, given, "labels")
            ends = np.flatnonzero((labels != IGNORED) & (labels != self._pad))
            kept = slice(0, int(ends[-1]) + 1 if len(ends) else 0)
        return Example(
            self._known(at, all_ids[visible]),
            None if labels is None else self._known(at, labels[kept]),
            self._langs(at, given, "langs", all_ids, visible),
            self._langs(at, given, "decoder_langs", labels, kept),
            _index(at, given.get("index")),
        )

    def _check_names(self, at: int, given: Mapping[str, Any]) -> None:
        needed = ("input_ids", "labels") if self._translated else ("input_ids",)
        for name in needed:
            if given.get(name) is None:
                hint = "" if name == "input_ids" else ", the translation (text_target)"
                raise InputError(
                    f"example {at} has {', '.join(map(str, given)) or 'nothing'}: expected "
                    f"{name}{hint}."
                )
        for name in given:
            if name in _LEFT_OUT or name in self._names:
                continue
            if name == "labels" and np.array_equal(given[name], given["input_ids"]):
                continue  # as scripts for causal models add them
            hint = " (labels are made here)" if name == "labels" else nearest(name, self._names)
            raise InputError(
                f"example {at} has {name!r}, which this objective does not take: remove it. "
                f"Expected {', '.join(self._names)}.{hint}"
            )
        types = given.get("token_type_ids")
        if types is not None and np.any(np.asarray(types)):
            raise InputError(
                f"example {at} has token_type_ids that are not 0, which the objectives do not "
                "know: tokenize one text, or give the translation as labels (text_target)."
            )

    def _ids(self, at: int, given: Mapping[str, Any], name: str) -> Ids:
        """int64, shape (tokens,)."""
        try:
            ids = np.asarray(given[name])
        except ValueError:  # lists of different lengths
            raise InputError(
                f"example {at} has {name} of several texts or of something else, "
                f"{given[name]!r:.80}: expected the ids of one text."
            ) from None
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise InputError(
                f"example {at} has {name} of the shape {ids.shape} and type {ids.dtype}: expected "
                "the ids of one text."
            )
        return ids.astype(np.int64)

    def _known(self, at: int, ids: Ids) -> Ids:
        outside = ids[(ids < 0) | (ids >= self._words)]
        if len(outside):
            raise InputError(
                f"example {at} has the id {outside[0]}, and the model {self._words:,} words: use "
                "the tokenizer of the model."
            )
        return ids

    def _langs(
        self, at: int, given: Mapping[str, Any], name: str, ids: Ids | None, kept: slice | None
    ) -> Ids | None:
        """Those of the ids that are kept, or one for all; None if the model has one language."""
        if self._languages <= 1 or given.get(name) is None or ids is None or kept is None:
            return None
        found = np.asarray(given[name])
        fits = found.ndim == 0 or found.shape in (ids.shape, (1,))
        if not fits or found.dtype.kind not in "iu":
            raise InputError(
                f"example {at} has {name} of the shape {found.shape} and type {found.dtype}: "
                f"expected a number for each of {len(ids)} ids, or one."
            )
        if ((found < 0) | (found >= self._languages)).any():
            raise InputError(
                f"example {at} has a number in {name} that is no language: expected 0 to "
                f"{self._languages - 1}."
            )
        found = found.astype(np.int64)
        return found[kept] if found.shape == ids.shape else found.reshape(1)


def _index(at: int, given: Any) -> int | None:
    """The number of an example in its data."""
    if given is None:
        return None
    try:
        return int(operator.index(given))
    except TypeError:
        raise InputError(
            f"example {at} has the index {given!r:.80}: expected a whole number, its place in the "
            "data."
        ) from None


def _visible(at: int, ids: Ids, mask: Sequence[int] | None, pad: int) -> slice:
    """Which ids are no padding.

    Without a mask these are, as for the models, those before the padding at the end.

    Raises:
        InputError: If there are none, or the mask is none of padding at one end.
    """
    seen = np.asarray(ids != pad if mask is None else mask)
    if seen.shape != ids.shape:
        raise InputError(
            f"example {at} has {ids.size} input_ids and an attention_mask of shape {seen.shape}: "
            "expected one for each."
        )
    places = np.flatnonzero(seen)
    if not len(places):
        raise InputError(f"example {at} has no token: leave it out, or frame it by </s>.")
    begin, end = (0 if mask is None else int(places[0])), int(places[-1]) + 1
    if mask is not None and end - begin != len(places):
        raise InputError(
            f"example {at} has an attention_mask with gaps: expected padding at one end."
        )
    return slice(begin, end)
