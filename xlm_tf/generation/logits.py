"""What changes the scores of the next token: penalties, bans, and what sampling leaves out.

Source: names, formulas and order are those of transformers' logits processors, 4.57. Padding counts
as no token here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from xlm_core.generation import Settled
from xlm_tf.layers import shape_of

# Stands for padding in the tokens of a row.
NO_TOKEN = -1


@dataclass(frozen=True)
class ScoreRules:
    """What a call asks of the scores of every step: all that a graph is made for.

    Attributes:
        repetition_penalty, no_repeat_ngram_size, bad_words_ids, forced_bos_token_id, temperature,
            top_k, top_p, eos: As in `Settled`.
        has_minimums: Whether any row gets some tokens before it may end.
    """

    repetition_penalty: float
    no_repeat_ngram_size: int
    bad_words_ids: tuple[tuple[int, ...], ...]
    forced_bos_token_id: int | None
    temperature: float
    top_k: int
    top_p: float
    eos: tuple[int, ...]
    has_minimums: bool

    @classmethod
    def of(cls, settled: Settled) -> ScoreRules:
        """Those of a call."""
        names = cls.__dataclass_fields__.keys() - {"has_minimums"}
        has_minimums = bool(settled.min_length or settled.min_new_tokens)
        return cls(has_minimums=has_minimums, **{name: getattr(settled, name) for name in names})

    @property
    def look_back(self) -> bool:
        """Whether they depend on tokens that are there."""
        return (
            self.repetition_penalty != 1
            or self.no_repeat_ngram_size > 0
            or any(len(word) > 1 for word in self.bad_words_ids)
        )

    def __call__(
        self,
        scores: tf.Tensor,
        history: tf.Tensor | None,
        minimums: tf.Tensor,
        generated: int | tf.Tensor,
    ) -> tf.Tensor:
        """Change the scores of the next token.

        Args:
            scores: float, shape (rows, vocabulary).
            history: int64, shape (rows, tokens): what there is so far, padded on the left with
                `NO_TOKEN`; looked at only where the rules `look_back`.
            minimums: int64, shape (rows,): how many tokens each row gets before it may end.
            generated: How many it has.
        """
        if self.repetition_penalty != 1:
            scores = penalise_repetition(scores, history, self.repetition_penalty)
        if self.no_repeat_ngram_size:
            scores = ban_repeated_ngrams(scores, history, self.no_repeat_ngram_size)
        if self.bad_words_ids:
            scores = ban_words(scores, history, self.bad_words_ids)
        if self.has_minimums and self.eos:
            scores = ban_ends(scores, minimums > tf.cast(generated, minimums.dtype), self.eos)
        if self.forced_bos_token_id is not None:
            first = tf.equal(generated, 0)
            scores = tf.where(first, force(scores, self.forced_bos_token_id), scores)
        return scores


def penalise_repetition(scores: tf.Tensor, history: tf.Tensor, penalty: float) -> tf.Tensor:
    """Divide the scores of tokens that were there by `penalty`, or multiply them if negative.

    Args:
        scores: float, shape (rows, vocabulary).
        history: int64, shape (rows, tokens), `NO_TOKEN` for padding.
        penalty: Above 0.
    """
    penalised = tf.where(scores < 0, scores * penalty, scores / penalty)
    return tf.where(_among(history, scores), penalised, scores)


def ban_repeated_ngrams(scores: tf.Tensor, history: tf.Tensor, size: int) -> tf.Tensor:
    """Rule out tokens that would complete an n-gram of this size that was there.

    Args:
        scores, history: As in `penalise_repetition`.
        size: Of the n-grams, at least 1.
    """
    # So that there is an n-gram to look at, however short the history is.
    history = tf.pad(history, ((0, 0), (size, 0)), constant_values=NO_TOKEN)
    number = shape_of(history)[1] - size + 1
    completing = history[:, size - 1 :]
    repeated = completing != NO_TOKEN
    for place in range(size - 1):
        tokens = history[:, place : place + number]
        repeated &= (tokens == history[:, number + place :][:, :1]) & (tokens != NO_TOKEN)
    return _masked(scores, _among(tf.where(repeated, completing, NO_TOKEN), scores))


def ban_words(scores: tf.Tensor, history: tf.Tensor, words: Sequence[Sequence[int]]) -> tf.Tensor:
    """Rule out tokens that would complete one of these words.

    Args:
        scores, history: As in `penalise_repetition`.
        words: Each the ids of a word.
    """
    alone = [word[0] for word in words if len(word) == 1]
    if alone:
        scores = _masked(scores, _is_any(alone, scores))
    several = [word for word in words if len(word) > 1]
    if several:
        longest = max(len(word) for word in several)
        history = tf.pad(history, ((0, 0), (longest, 0)), constant_values=NO_TOKEN)
        for *begin, last in several:
            wanted = tf.constant(begin, history.dtype)
            begun = tf.reduce_all(history[:, -len(begin) :] == wanted, axis=1)
            scores = _masked(scores, begun[:, None] & _is_any([last], scores))
    return scores


def ban_ends(scores: tf.Tensor, rows: tf.Tensor, eos: Sequence[int]) -> tf.Tensor:
    """Rule out the tokens `eos` in some rows.

    Args:
        scores: float, shape (rows, vocabulary).
        rows: bool, shape (rows,): True where they are ruled out.
        eos: Ids.
    """
    return _masked(scores, rows[:, None] & _is_any(eos, scores))


def force(scores: tf.Tensor, token: int) -> tf.Tensor:
    """Rule out every token but one."""
    return _masked(tf.zeros_like(scores), ~_is_any([token], scores))


def sharpen(scores: tf.Tensor, settled: Settled | ScoreRules) -> tf.Tensor:
    """Temperature, top-k and top-p of sampling.

    Args:
        scores: float, shape (rows, vocabulary).
        settled: What the call is to do.
    """
    if settled.temperature != 1:
        scores = scores / settled.temperature
    if 0 < settled.top_k < scores.shape[1]:
        scores = keep_top_k(scores, settled.top_k)
    if settled.top_p < 1:
        scores = keep_top_p(scores, settled.top_p)
    return scores


def keep_top_k(scores: tf.Tensor, count: int) -> tf.Tensor:
    """Rule out all tokens but the best `count`, and those that are as good as the last of them."""
    return _masked(scores, scores < tf.math.top_k(scores, count)[0][:, -1:])


def keep_top_p(scores: tf.Tensor, reached: float) -> tf.Tensor:
    """Rule out all tokens but the fewest best whose probabilities add up to `reached` or more."""
    order = tf.argsort(scores, axis=-1, stable=True)
    ordered = tf.gather(scores, order, batch_dims=1)
    left_out = tf.cumsum(tf.nn.softmax(ordered), axis=-1) <= 1 - reached
    left_out &= tf.range(scores.shape[1]) < scores.shape[1] - 1
    return _masked(scores, _among(tf.where(left_out, order, NO_TOKEN), scores))


def _masked(scores: tf.Tensor, ruled_out: tf.Tensor) -> tf.Tensor:
    return tf.where(ruled_out, tf.constant(-np.inf, scores.dtype), scores)


def _is_any(tokens: Sequence[int], scores: tf.Tensor) -> tf.Tensor:
    """bool, shape (vocabulary,): True at these ids."""
    flags = np.zeros(scores.shape[1], dtype=bool)
    flags[list(tokens)] = True
    return tf.constant(flags)


def _among(tokens: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """bool, shape (rows, vocabulary): whether a token is among those of its row.

    Args:
        tokens: integer, shape (rows, tokens), `NO_TOKEN` for none.
        scores: float, shape (rows, vocabulary).
    """
    rows, vocabulary = shape_of(scores)
    places = tf.cast(tf.where(tokens == NO_TOKEN, vocabulary, tf.cast(tokens, tf.int32)), tf.int32)
    row = tf.broadcast_to(tf.range(rows)[:, None], tf.shape(places))
    ones = tf.ones_like(places)
    counts = tf.scatter_nd(tf.stack((row, places), axis=-1), ones, (rows, vocabulary + 1))
    return counts[:, :vocabulary] > 0
