"""Log-probabilities of texts, their words and their tokens: what `score` does around a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from xlm_core.errors import InputError
from xlm_core.texts.forward import Batch, Forward
from xlm_core.texts.preparing import (
    Languages,
    Preparation,
    Row,
    batches_by_length,
    in_languages,
    listed,
    words_of,
)
from xlm_core.tokenization.calls.arguments import check_natural

# The exponential of more is no float64.
_LARGEST_EXPONENT = 709.0


@dataclass(frozen=True)
class TextScore:
    """How likely a model finds a text.

    Attributes:
        tokens: Its subwords; of causal models and translations then the closing `</s>`, which is
            predicted too.
        token_ids: Their ids.
        token_log_probs: The natural logarithm of the probability of each.
        words: Its words, as the tokenizer splits them.
        word_log_probs: Of each word, the sum over its subwords.
        log_prob: The sum over all tokens.
    """

    tokens: list[str]
    token_ids: list[int]
    token_log_probs: list[float]
    words: list[str]
    word_log_probs: list[float]
    log_prob: float

    @property
    def perplexity(self) -> float:
        """exp(-log_prob / number of tokens); of a text without any, 1."""
        exponent = -self.log_prob / max(len(self.tokens), 1)
        return math.exp(exponent) if exponent < _LARGEST_EXPONENT else math.inf


class Scoring:
    """Scores texts.

    Args:
        forward: The model.
        preparation: How its texts become ids.
        batch_size: Rows that go through the model together.

    Raises:
        InputError: For a model without a language model's output layer.
    """

    def __init__(self, forward: Forward, preparation: Preparation, *, batch_size: int) -> None:
        if forward.kind is None:
            raise InputError(
                f"{forward.name} has no language model's output layer, which gives probabilities: "
                "open the checkpoint as XLMWithLMHeadModel (TFXLMWithLMHeadModel)."
            )
        check_natural("batch_size", batch_size, 1, required=True)
        self._forward, self._preparation, self._batch_size = forward, preparation, batch_size

    def score(
        self,
        texts: Iterable[str],
        lang: Languages,
        sources: Iterable[str] | None = None,
        src_lang: Languages = None,
    ) -> list[TextScore]:
        """The score of each text.

        Args:
            texts, lang: The texts, and their languages.
            sources, src_lang: What each of them translates, for an encoder-decoder.

        Raises:
            InputError: If there are sources and no encoder-decoder, or the other way round, or
                another number of them than of texts.
        """
        self._check_sources(sources, src_lang)
        prepared = self._preparation
        rows = prepared.rows(list(in_languages(texts, lang)))
        of_sources = None
        if sources is not None:
            of_sources = prepared.rows(list(in_languages(sources, src_lang)), "source")
            if len(rows) != len(of_sources):
                raise InputError(
                    f"there are {len(rows)} texts and {len(of_sources)} sources: give one for each."
                )
        found = self.of_rows(rows, of_sources)
        prepared.warn_of_cut()
        return found

    def _check_sources(self, sources: object, src_lang: object) -> None:
        if self._forward.kind == "translation":
            if sources is None:
                raise InputError(
                    "an encoder-decoder scores translations: give sources, what each text "
                    "translates."
                )
        elif sources is not None or src_lang is not None:
            name = "src_lang" if sources is None else "sources"
            raise InputError(
                f"{name} was given, but {self._forward.name} has no decoder that translates."
            )

    def of_rows(self, rows: list[Row], sources: list[Row] | None = None) -> list[TextScore]:
        """The score of each text that `Preparation.rows` made a row of.

        Args:
            rows: The rows.
            sources: Those of what they translate.
        """
        if self._forward.kind == "masked":
            found = self._by_masking(rows)
        else:
            found = self._from_the_left(rows, sources)
        return [self._result(row, values) for row, values in zip(rows, found, strict=True)]

    def _from_the_left(
        self, rows: list[Row], sources: list[Row] | None = None
    ) -> list[list[float]]:
        """Each token after those before it, and the closing `</s>` after all."""
        found: list[list[float]] = [[] for _ in rows]
        for indices in batches_by_length([len(row.ids) for row in rows], self._batch_size):
            chosen = [rows[index] for index in indices]
            # The last token predicts nothing.
            batch = self._batch([row.ids[:-1] for row in chosen], chosen)
            source = None
            if sources is not None:
                translated = [sources[index] for index in indices]
                source = self._batch([row.ids for row in translated], translated)
            tokens = np.concatenate([row.ids[1:] for row in chosen])
            where = batch.attention_mask != 0
            scores = self._forward.token_log_probs(batch, where, tokens, source)
            values = iter(scores.tolist())
            for index in indices:
                found[index] = list(islice(values, len(rows[index].ids) - 1))
        return found

    def _by_masking(self, rows: list[Row]) -> list[list[float]]:
        """Each token of a text from all others, with a mask in its place; not those of the frame.

        Source: Salazar et al. 2020, the pseudo-log-likelihood.
        """
        found: list[list[float]] = [[] for _ in rows]
        masked = self._masked_rows(rows)
        while part := list(islice(masked, self._batch_size)):
            batch = self._batch([ids for _, _, ids in part], [rows[index] for index, _, _ in part])
            positions = np.zeros(batch.input_ids.shape, dtype=np.bool_)
            positions[np.arange(len(part)), [place for _, place, _ in part]] = True
            tokens = np.array([rows[index].ids[place] for index, place, _ in part])
            scores = self._forward.token_log_probs(batch, positions, tokens)
            for (index, _, _), value in zip(part, scores.tolist(), strict=True):
                found[index].append(value)
        return found

    def _masked_rows(self, rows: list[Row]) -> Iterator[tuple[int, int, list[int]]]:
        """Index of a row, a position in it, and its ids with a mask there; the longest first."""
        mask = self._preparation.tokenizer.mask_token_id
        if mask is None:
            raise InputError("the tokenizer has no mask_token: set it, as in '<special1>'.")
        for index in sorted(range(len(rows)), key=lambda index: -len(rows[index].ids)):
            for place in range(1, len(rows[index].ids) - 1):
                ids = [*rows[index].ids]
                ids[place] = mask
                yield index, place, ids

    def _batch(self, ids: list[list[int]], rows: list[Row]) -> Batch:
        return Batch.of(ids, [row.lang for row in rows], self._forward.config.pad_index)

    def _result(self, row: Row, values: list[float]) -> TextScore:
        tokenizer = self._preparation.tokenizer
        ids = row.content if self._forward.kind == "masked" else row.ids[1:]
        words, indices = words_of(tokenizer, row)
        of_words = [[0.0] for _ in words]
        for index, value in zip(indices, values, strict=False):  # the last may be </s>
            of_words[index].append(value)
        return TextScore(
            tokens=tokenizer.convert_ids_to_tokens(ids),
            token_ids=ids,
            token_log_probs=values,
            words=words,
            word_log_probs=list(map(math.fsum, of_words)),
            log_prob=math.fsum(values),
        )


def score(
    scoring: Scoring,
    texts: str | Iterable[str],
    lang: Languages,
    sources: str | Iterable[str] | None = None,
    src_lang: Languages = None,
) -> TextScore | list[TextScore]:
    """The scores of texts; see the families' `score`."""
    several, single = listed(texts)
    translated = None if sources is None else listed(sources, "sources")[0]
    found = scoring.score(several, lang, translated, src_lang)
    return found[0] if single else found
