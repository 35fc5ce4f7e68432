"""Which token comes next, of the logits: what both a loop in a graph and a single step compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from xlm_core.generation import Settled
from xlm_tf.generation.logits import changed_scores, for_sampling, forbid_end, force_token
from xlm_tf.generation.sampling import sample
from xlm_tf.losses import at_least_float32


@dataclass(frozen=True)
class Choice:
    """The settings that a graph is made for. Attributes: as in `Settled`.

    Attributes:
        samples: Whether tokens are drawn.
        has_minimum: Whether any sequence may not end at once.
        repetition_penalty, no_repeat_ngram_size, bad_words_ids, forced_bos_token_id, temperature,
            top_k, top_p, eos, pad, closing: As in `Settled`.
    """

    samples: bool
    has_minimum: bool
    repetition_penalty: float
    no_repeat_ngram_size: int
    bad_words_ids: tuple[tuple[int, ...], ...]
    forced_bos_token_id: int | None
    temperature: float
    top_k: int
    top_p: float
    eos: tuple[int, ...]
    pad: int
    closing: int | None

    @classmethod
    def of(cls, settled: Settled) -> Choice:
        """The part of a call's settings that graphs depend on."""
        names = cls.__dataclass_fields__.keys() - {"samples", "has_minimum"}
        return cls(
            samples=settled.seed is not None,
            has_minimum=bool(settled.minimums.max(initial=0)) and bool(settled.eos),
            **{name: getattr(settled, name) for name in names},
        )


def scored(
    logits: tf.Tensor,
    sequences: tf.Tensor,
    counted: tf.Tensor,
    length: int | tf.Tensor,
    step: int | tf.Tensor,
    minimums: tf.Tensor,
    choice: Choice,
) -> tf.Tensor:
    """What the next token is chosen by.

    Args:
        logits: float, shape (rows, vocabulary), or log-probabilities.
        sequences, counted, length: As in `changed_scores`.
        step: Tokens that were generated so far.
        minimums: integer, shape (rows,): how many tokens each row gets before it may end.
        choice: By which settings.

    Returns:
        float, shape (rows, vocabulary), at least float32.
    """
    scores = changed_scores(at_least_float32(logits), sequences, counted, length, choice)
    if choice.has_minimum:
        scores = forbid_end(scores, tf.cast(step, minimums.dtype) < minimums, choice.eos)
    if choice.forced_bos_token_id is not None:
        forced = force_token(scores, choice.forced_bos_token_id)
        scores = tf.where(tf.equal(step, 0), forced, scores)
    return for_sampling(scores, choice) if choice.samples else scores


def chosen(scores: tf.Tensor, uniform: tf.Tensor | None) -> tf.Tensor:
    """The best token of each row, or with numbers in [0, 1) one drawn: int64, shape (rows,)."""
    return tf.argmax(scores, axis=-1) if uniform is None else sample(scores, uniform)


def candidates(
    scores: tf.Tensor, sums: tf.Tensor, beams: int, number: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The best ways of all beams of each sentence to go on.

    Args:
        scores: float, shape (sentences * beams, vocabulary): log-probabilities.
        sums: float, shape (sentences * beams,): those of the tokens so far, added up.
        beams: Of each sentence.
        number: How many are wanted.

    Returns:
        Their sums, float, and beam * vocabulary + token, int32, both of shape (sentences, number),
        the best first, of equal ones that with the lower index.
    """
    total = scores + tf.cast(sums, scores.dtype)[:, None]
    return tf.math.top_k(tf.reshape(total, (-1, beams * scores.shape[-1])), number)


def log_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """float, as `logits`, at least float32."""
    return tf.nn.log_softmax(at_least_float32(logits))


Tensors = Mapping[str, tf.Tensor]
