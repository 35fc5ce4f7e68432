"""The SQuAD beam head: the likeliest starts, and for each the likeliest ends.

Padded positions are exact zeros when they come from the encoder. Their logits are made exactly
equal here, so that ties among them go to the lowest position, whatever the order of summation.

Source: Yang et al. 2019 (XLNet), section A.2; transformers' XLMSQuADHead.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.heads import check_beams
from xlm_tf.layers import LayerNorm, Linear, shape_of
from xlm_tf.losses import binary_cross_entropy, cross_entropy
from xlm_tf.outputs import XLMForQuestionAnsweringOutput


def top_k(values: tf.Tensor, k: int) -> tf.Tensor:
    """Indices of the k largest along the last dimension, the lower index first among equals."""
    return tf.cast(tf.math.top_k(values, k).indices, tf.int64)


def exclude(logits: tf.Tensor, p_mask: tf.Tensor | None) -> tf.Tensor:
    """`logits`, with a very low value where p_mask is not 0; both (batch, ..., sequence)."""
    if p_mask is None:
        return logits
    lowest = -65500.0 if logits.dtype == tf.float16 else -1e30
    excluded = p_mask if p_mask.dtype == tf.bool else p_mask != 0
    return tf.where(excluded, tf.constant(lowest, logits.dtype), logits)


class PoolerStartLogits(keras.layers.Layer):
    """Hidden states to start logits."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.dense = Linear(config.emb_dim, 1, name="dense", dtype=self.dtype_policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.dense.build()

    def call(self, hidden: tf.Tensor, p_mask: tf.Tensor | None = None) -> tf.Tensor:
        """float, shape (batch, sequence, hidden), to float, shape (batch, sequence)."""
        return exclude(tf.squeeze(self.dense(hidden), axis=-1), p_mask)


class PoolerEndLogits(keras.layers.Layer):
    """Hidden states and a start to end logits."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        width, policy = config.emb_dim, self.dtype_policy
        self.dense_0 = Linear(2 * width, width, name="dense_0", dtype=policy)
        self.LayerNorm = LayerNorm(width, config.layer_norm_eps, name="LayerNorm", dtype=policy)
        self.dense_1 = Linear(width, 1, name="dense_1", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        for layer in (self.dense_0, self.LayerNorm, self.dense_1):
            layer.build()

    def call(
        self, hidden: tf.Tensor, start_states: tf.Tensor, p_mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """End logits for each start.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            start_states: float, shape (batch, starts, hidden).
            p_mask: shape (batch, sequence).

        Returns:
            float, shape (batch, starts, sequence).
        """
        starts, sequence = shape_of(start_states)[1], shape_of(hidden)[1]
        # One more position, all zeros: what every padded position gets.
        padding = tf.expand_dims(tf.reduce_all(hidden == 0, axis=-1), 1)
        hidden = tf.pad(hidden, ((0, 0), (0, 1), (0, 0)))
        pairs = tf.concat(
            (
                tf.repeat(tf.expand_dims(hidden, 1), starts, axis=1),
                tf.repeat(tf.expand_dims(start_states, 2), sequence + 1, axis=2),
            ),
            axis=-1,
        )
        pairs = self.LayerNorm(tf.tanh(self.dense_0(pairs)))
        logits = tf.squeeze(self.dense_1(pairs), axis=-1)
        logits = tf.where(padding, logits[..., -1:], logits[..., :-1])
        return exclude(logits, None if p_mask is None else p_mask[:, None])


class PoolerAnswerClass(keras.layers.Layer):
    """The start and the "no answer" token to the logit that there is no answer."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        width, policy = config.emb_dim, self.dtype_policy
        self.dense_0 = Linear(2 * width, width, name="dense_0", dtype=policy)
        self.dense_1 = Linear(width, 1, use_bias=False, name="dense_1", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.dense_0.build()
        self.dense_1.build()

    def call(
        self, hidden: tf.Tensor, start_states: tf.Tensor, cls_index: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Answerability.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            start_states: float, shape (batch, hidden).
            cls_index: integer, shape (batch,); default the last position.

        Returns:
            float, shape (batch,).
        """
        cls_states = hidden[:, -1] if cls_index is None else states_at(hidden, cls_index)
        both = tf.concat((start_states, cls_states), axis=-1)
        return tf.squeeze(self.dense_1(tf.tanh(self.dense_0(both))), axis=-1)


def states_at(hidden: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Hidden states at positions of shape (batch,) or (batch, n): (batch, [n,] hidden)."""
    return tf.gather(hidden, positions, batch_dims=1)


class SQuADHead(keras.layers.Layer):
    """Start, end and answerability together."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.config = config
        policy = self.dtype_policy
        self.start_logits = PoolerStartLogits(config, name="start_logits", dtype=policy)
        self.end_logits = PoolerEndLogits(config, name="end_logits", dtype=policy)
        self.answer_class = PoolerAnswerClass(config, name="answer_class", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        for layer in (self.start_logits, self.end_logits, self.answer_class):
            layer.build()

    def call(
        self,
        hidden: tf.Tensor,
        cls_index: tf.Tensor | None = None,
        p_mask: tf.Tensor | None = None,
    ) -> XLMForQuestionAnsweringOutput:
        """The beams.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            cls_index: integer, shape (batch,); default the last position.
            p_mask: shape (batch, sequence); 1 excludes a position.

        Returns:
            The output without loss.

        Raises:
            InputError: If the sequence is shorter than a beam.
        """
        check_beams(self.config, hidden.shape[1])
        start_logits = self.start_logits(hidden, p_mask)
        start_probs = _softmax(start_logits)
        start_index = top_k(start_logits, self.config.start_n_top)

        end_logits = self.end_logits(hidden, states_at(hidden, start_index), p_mask)
        end_index = top_k(end_logits, self.config.end_n_top)
        end_probs = tf.gather(_softmax(end_logits), end_index, batch_dims=2)

        expected_start = tf.squeeze(tf.matmul(tf.expand_dims(start_probs, 1), hidden), axis=1)
        flat = (-1, self.config.start_n_top * self.config.end_n_top)
        return XLMForQuestionAnsweringOutput(
            start_top_log_probs=tf.gather(start_probs, start_index, batch_dims=1),
            start_top_index=start_index,
            # (batch, starts, ends) to the flat index end * starts + start
            end_top_log_probs=tf.reshape(tf.transpose(end_probs, (0, 2, 1)), flat),
            end_top_index=tf.reshape(tf.transpose(end_index, (0, 2, 1)), flat),
            cls_logits=self.answer_class(hidden, expected_start, cls_index),
        )

    def loss(
        self,
        hidden: tf.Tensor,
        start_positions: tf.Tensor,
        end_positions: tf.Tensor,
        cls_index: tf.Tensor | None = None,
        is_impossible: tf.Tensor | None = None,
        p_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Mean of start and end cross-entropy, plus half the answerability's.

        Args: As in `TFXLMForQuestionAnswering.call`.
        """
        judges = is_impossible is not None
        start_logits, end_logits, cls_logits = self.logits_to_train(
            hidden, start_positions, cls_index if judges else None, p_mask
        )
        start_loss = cross_entropy(start_logits, start_positions)
        end_loss = cross_entropy(end_logits, end_positions)
        total = (start_loss + end_loss) / 2
        if cls_logits is not None:
            total = total + 0.5 * binary_cross_entropy(cls_logits, is_impossible)
        return total

    def logits_to_train(
        self,
        hidden: tf.Tensor,
        start_positions: tf.Tensor,
        cls_index: tf.Tensor | None,
        p_mask: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """What the loss compares with labels, given the true starts.

        Args: As in `TFXLMForQuestionAnswering.call`.

        Returns:
            Logits of starts and of ends, float, shape (batch, sequence) each; of there being no
            answer, float, shape (batch,), None without cls_index.
        """
        start_states = states_at(hidden, start_positions)
        start_logits = self.start_logits(hidden, p_mask)
        end_logits = tf.squeeze(self.end_logits(hidden, start_states[:, None], p_mask), axis=1)
        if cls_index is None:
            return start_logits, end_logits, None
        return start_logits, end_logits, self.answer_class(hidden, start_states, cls_index)


def _softmax(logits: tf.Tensor) -> tf.Tensor:
    if logits.dtype in (tf.float16, tf.bfloat16):
        return tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), logits.dtype)
    return tf.nn.softmax(logits)
