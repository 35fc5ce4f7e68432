"""What changes the scores of the next token before it is chosen, in transformers' order.

Shapes: rows, width (positions that sequences have room for), vocabulary.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xlm_tf.layers import shape_of


def changed_scores(
    scores: tf.Tensor,
    sequences: tf.Tensor,
    counted: tf.Tensor,
    length: int | tf.Tensor,
    rules: Any,
) -> tf.Tensor:
    """Scores as the settings want them; minus infinity where a token is ruled out.

    Args:
        scores: float, shape (rows, vocabulary): logits, or log-probabilities.
        sequences: int64, shape (rows, width): what is there so far, the prompt too.
        counted: bool, shape (rows, width): False for padding, and from `length` on.
        length: Positions that there are so far.
        rules: The settings, as `Settled` names them.

    Returns:
        float, shape (rows, vocabulary).
    """
    if rules.repetition_penalty != 1:
        scores = penalise_repetition(scores, sequences, counted, rules.repetition_penalty)
    if rules.no_repeat_ngram_size:
        scores = forbid_repeated(scores, sequences, counted, length, rules.no_repeat_ngram_size)
    if rules.bad_words_ids:
        scores = forbid_words(scores, sequences, counted, length, rules.bad_words_ids)
    return scores


def penalise_repetition(
    scores: tf.Tensor, sequences: tf.Tensor, counted: tf.Tensor, penalty: float
) -> tf.Tensor:
    """Positive scores of tokens that are there already, divided by `penalty`; negative ones times it."""
    there = _tokens_at(sequences, counted, scores)
    penalty = tf.cast(penalty, scores.dtype)
    return tf.where(there, tf.where(scores < 0, scores * penalty, scores / penalty), scores)


def forbid_repeated(
    scores: tf.Tensor,
    sequences: tf.Tensor,
    counted: tf.Tensor,
    length: int | tf.Tensor,
    size: int,
) -> tf.Tensor:
    """Rule out tokens that would complete an n-gram of `size` tokens that is there already."""
    width = shape_of(sequences)[1]
    more = ((0, 0), (0, size))
    sequences, counted = tf.pad(sequences, more), tf.pad(counted, more)
    # Each position may begin an n-gram whose last token is ruled out.
    repeated = counted[:, :width] & counted[:, size - 1 : size - 1 + width]
    for place in range(size - 1):
        token, is_there = _token_before(sequences, counted, length, size - 1 - place)
        here = slice(place, place + width)
        repeated &= (sequences[:, here] == token) & counted[:, here] & is_there
    return _without(scores, _tokens_at(sequences[:, size - 1 : size - 1 + width], repeated, scores))


def forbid_words(
    scores: tf.Tensor,
    sequences: tf.Tensor,
    counted: tf.Tensor,
    length: int | tf.Tensor,
    words: tuple[tuple[int, ...], ...],
) -> tf.Tensor:
    """Rule out the last token of each word whose other tokens are there."""
    vocabulary = tf.range(scores.shape[-1], dtype=sequences.dtype)
    for word in words:
        begun = tf.ones_like(counted[:, :1])
        for place, expected in enumerate(word[:-1]):
            token, is_there = _token_before(sequences, counted, length, len(word) - 1 - place)
            begun &= (token == expected) & is_there
        scores = _without(scores, begun & (vocabulary == word[-1]))
    return scores


def forbid_end(scores: tf.Tensor, early: tf.Tensor, eos: tuple[int, ...]) -> tf.Tensor:
    """Rule out the tokens that end a sequence where it is too early: bool, shape (rows,)."""
    vocabulary = tf.range(scores.shape[-1])
    ends = tf.reduce_any(vocabulary[:, None] == tf.constant(eos, tf.int32), axis=1)
    return _without(scores, early[:, None] & ends)


def force_token(scores: tf.Tensor, token: int) -> tf.Tensor:
    """Rule out all others: 0 at the token, minus infinity elsewhere."""
    zeros = tf.zeros_like(scores)
    return _without(zeros, tf.range(scores.shape[-1]) != token)


def for_sampling(scores: tf.Tensor, rules: Any) -> tf.Tensor:
    """Scores divided by the temperature, then the best `top_k` of them, then of these `top_p`."""
    if rules.temperature != 1:
        scores = scores / tf.cast(rules.temperature, scores.dtype)
    if 0 < rules.top_k < scores.shape[-1]:
        scores = keep_best(scores, rules.top_k)
    return keep_probable(scores, rules.top_p) if rules.top_p < 1 else scores


def keep_best(scores: tf.Tensor, number: int) -> tf.Tensor:
    """Rule out what is less than the score at place `number`."""
    best, _ = tf.math.top_k(scores, number)
    return _without(scores, scores < best[:, -1:])


def keep_probable(scores: tf.Tensor, sum_of: float) -> tf.Tensor:
    """Rule out the least probable tokens that together have at most 1 - `sum_of`; never the best.

    Of equal tokens, those with the lower ids are ruled out first.
    """
    order = tf.argsort(scores, axis=-1, stable=True)
    ascending = tf.gather(scores, order, batch_dims=1)
    improbable = tf.cumsum(tf.nn.softmax(ascending), axis=-1) <= 1 - sum_of
    improbable &= tf.range(scores.shape[-1]) < scores.shape[-1] - 1
    return _without(scores, _tokens_at(order, improbable, scores))


def _without(scores: tf.Tensor, ruled_out: tf.Tensor) -> tf.Tensor:
    return tf.where(ruled_out, tf.constant(float("-inf"), scores.dtype), scores)


def _tokens_at(ids: tf.Tensor, taken: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Which tokens of the vocabulary are in `ids` where `taken`: bool, as `scores`."""
    rows, width = shape_of(ids)
    row = tf.tile(tf.range(rows)[:, None], (1, width))
    indices = tf.stack((row, tf.cast(ids, tf.int32)), axis=-1)
    counts = tf.scatter_nd(indices, tf.cast(taken, tf.int32), tf.shape(scores))
    return counts > 0


def _token_before(
    sequences: tf.Tensor, counted: tf.Tensor, length: int | tf.Tensor, distance: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The token `distance` positions before `length`, shape (rows, 1), and whether there is one."""
    place = length - distance
    inside = tf.maximum(place, 0)
    token = tf.gather(sequences, inside, axis=1)[:, None]
    return token, tf.gather(counted, inside, axis=1)[:, None] & (place >= 0)
