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
        return math.exp(-self.log_prob / max(len(self.tokens), 1))


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
        check_natural("batch_size", batch_size, 1)
        self._forward, self._preparation, self._batch_size = forward, preparation, batch_size

    def score(self, texts: Iterable[str], lang: Languages) -> list[TextScore]:
        """The score of each text."""
        rows = self._preparation.rows(list(in_languages(texts, lang)))
        if self._forward.kind == "masked":
            found = self._by_masking(rows)
        else:
            found = self._from_the_left(rows)
        self._preparation.warn_of_cut()
        return [self._result(row, values) for row, values in zip(rows, found, strict=True)]

    def _from_the_left(self, rows: list[Row]) -> list[list[float]]:
        """Each token after those before it, and the closing `</s>` after all."""
        found: list[list[float]] = [[] for _ in rows]
        for indices in batches_by_length([len(row.ids) for row in rows], self._batch_size):
            chosen = [rows[index] for index in indices]
            # The last token predicts nothing.
            batch = self._batch([row.ids[:-1] for row in chosen], chosen)
            tokens = np.concatenate([row.ids[1:] for row in chosen])
            scores = self._forward.token_log_probs(batch, batch.attention_mask != 0, tokens)
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
    scoring: Scoring, texts: str | Iterable[str], lang: Languages
) -> TextScore | list[TextScore]:
    """The scores of texts; see the families' `score`."""
    several, single = listed(texts)
    found = scoring.score(several, lang)
    return found[0] if single else found
