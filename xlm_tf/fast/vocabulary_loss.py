"""The loss of a language model over a large vocabulary, in bounded memory."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from xlm_tf.losses import at_least_float32

# Bytes of logits that are kept for the backward pass, and that are computed at a time beyond that.
KEPT_LOGITS = 2**28
PART_OF_LOGITS = 2**26
# Logits of so many times the width are kept in any case: a layer keeps about as much.
_KEPT_WIDTHS = 8


def linear_cross_entropy(
    hidden: tf.Tensor,
    weight: tf.Tensor,
    bias: tf.Tensor,
    labels: tf.Tensor,
    *,
    keeps_logits: bool = False,
) -> tf.Tensor:
    """`cross_entropy(hidden weight^T + bias, labels)`, in bounded memory.

    Args:
        hidden: float, shape (rows, hidden).
        weight: float, shape (vocabulary, hidden).
        bias: float, shape (vocabulary,).
        labels: integer, shape (rows,), all in the vocabulary: pick the rows that count before.
        keeps_logits: Keep the logits for the backward pass, as `may_keep_logits` allowed; those of
            at most 8 words a unit of width always are. Else it is asked once more when the number
            of rows is known, and without its leave the vocabulary is gone through in parts, and
            once more in the backward pass.
    """
    labels = tf.cast(labels, tf.int32)
    rows = tf.maximum(tf.shape(hidden)[0], 1)

    # Within a branch, gradients may be made of tensors of its own graph alone.
    def own() -> list[tf.Tensor]:
        return [tf.identity(x) for x in (hidden, weight, bias, labels)]

    def kept() -> tf.Tensor:
        return _sum_of_losses(*own())

    def in_parts() -> tf.Tensor:
        # The gradient of a part of the matrix is a part as well.
        longer = tf.maximum(rows, hidden.shape[-1])
        words = tf.maximum(PART_OF_LOGITS // (_size_of(hidden.dtype) * longer), 1)
        return _in_parts(*own(), tf.minimum(words, bias.shape[0]))

    most = KEPT_LOGITS // (bias.shape[0] * _size_of(hidden.dtype))
    if keeps_logits or bias.shape[0] <= _KEPT_WIDTHS * hidden.shape[-1]:
        total = kept()
    else:
        total = tf.cond(rows <= most, kept, in_parts) if most else in_parts()
    return total / tf.cast(rows, total.dtype)


def may_keep_logits(rows: int | None, vocabulary: int, dtype: tf.DType) -> bool:
    """Whether the logits of at most so many rows take no more than 256 MB; None is any number."""
    return rows is not None and rows * vocabulary * _size_of(dtype) <= KEPT_LOGITS


def _size_of(dtype: tf.DType) -> int:
    """Bytes of a logit for hidden states of this dtype."""
    return 8 if dtype == tf.float64 else 4


def _sum_of_losses(
    hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    return _sum_of_cross_entropies(at_least_float32(_logits(hidden, weight, bias)), labels)


@tf.custom_gradient
def _sum_of_cross_entropies(logits: tf.Tensor, labels: tf.Tensor) -> Any:
    """The sum of cross-entropies, and its gradient, by way of the softmax.

    TensorFlow's own operation takes three times as long (154 rows, 64,699 words; measured).
    """
    weights = tf.nn.softmax(logits)
    # The weight of the largest logit is 1 over the sum of all exponentials, and never 0.
    sums = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(weights, axis=-1))
    vocabulary = tf.shape(logits)[1]
    sums = _nan_if_unknown(sums, labels, vocabulary)
    places = tf.stack([tf.range(tf.shape(labels)[0]), labels % vocabulary], axis=1)
    chosen = tf.gather_nd(logits, places)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        of_rows = _nan_if_unknown(tf.fill(tf.shape(labels), upstream), labels, vocabulary)
        return tf.tensor_scatter_nd_sub(weights * of_rows[:, None], places, of_rows), None

    return tf.reduce_sum(sums - chosen), gradient


def _nan_if_unknown(
    of_rows: tf.Tensor, labels: tf.Tensor, vocabulary: int | tf.Tensor
) -> tf.Tensor:
    """NaN where a label names no word: so loss and gradients are no numbers that look right."""
    known = (labels >= 0) & (labels < vocabulary)
    return tf.where(known, of_rows, tf.constant(float("nan"), of_rows.dtype))


def _logits(hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(_product(hidden, weight), bias)


@tf.custom_gradient
def _product(hidden: tf.Tensor, weight: tf.Tensor) -> Any:
    """hidden weight^T, where weight is much the larger one and is best read as it lies.

    As tf.matmul with transpose_b it takes 1.7 times as long (77 rows, 64,699 words; measured).
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.matmul(upstream, weight), tf.matmul(upstream, hidden, transpose_a=True)

    return tf.transpose(tf.matmul(weight, tf.transpose(hidden))), gradient


@tf.custom_gradient
def _in_parts(
    hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, labels: tf.Tensor, words: tf.Tensor
) -> Any:
    """The sum of `linear_cross_entropy`, with the logits of so many words at a time."""
    vocabulary = bias.shape[0]

    def part(
        hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, first: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Logits of the words from `first` on, their matrix, and the labels among them."""
        matrix = weight[first : first + words]
        logits = at_least_float32(_logits(hidden, matrix, bias[first : first + words]))
        # No word is named by a number that is out of range.
        chosen = tf.one_hot(labels - first, tf.shape(logits)[1], dtype=logits.dtype)
        return logits, matrix, chosen

    def within(first: tf.Tensor, *_: Any) -> tf.Tensor:
        return first < vocabulary

    # One part at a time, below: parts that are computed ahead would be kept.
    def forward(first: tf.Tensor, log_sum: tf.Tensor, chosen: tf.Tensor) -> Any:
        logits, _, mine = part(hidden, weight, bias, first)
        more = tf.reduce_logsumexp(logits, axis=-1)
        larger = tf.maximum(log_sum, more)
        log_sum = larger + tf.math.log(tf.exp(log_sum - larger) + tf.exp(more - larger))
        return first + words, log_sum, chosen + tf.reduce_sum(mine * logits, axis=-1)

    zeros = tf.zeros(tf.shape(labels), tf.float64 if hidden.dtype == tf.float64 else tf.float32)
    start = (0, zeros + zeros.dtype.min, zeros)
    _, log_sum, chosen = tf.while_loop(within, forward, start, parallel_iterations=1)

    log_sum = _nan_if_unknown(log_sum, labels, vocabulary)

    @tf.custom_gradient
    def gradients(
        hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor
    ) -> Any:
        # What is computed from these has no derivatives; `second` says what they are.
        fixed = [tf.stop_gradient(x) for x in (hidden, weight, bias, log_sum, upstream)]

        def backward(
            first: tf.Tensor, for_hidden: tf.Tensor, for_weight: tf.Tensor, for_bias: tf.Tensor
        ) -> Any:
            x, whole, whole_bias, sums, scale = fixed
            logits, matrix, mine = part(x, whole, whole_bias, first)
            scores = (tf.exp(logits - sums[:, None]) - mine) * scale
            scores = tf.cast(scores, x.dtype)
            places = tf.range(first, first + tf.shape(matrix)[0])
            of_matrix = tf.matmul(scores, x, transpose_a=True)
            of_bias = tf.reduce_sum(scores, axis=0)
            return (
                first + words,
                for_hidden + tf.cast(tf.matmul(scores, matrix), for_hidden.dtype),
                tf.raw_ops.InplaceUpdate(x=for_weight, i=places, v=of_matrix),
                tf.raw_ops.InplaceUpdate(x=for_bias, i=places, v=of_bias),
            )

        # Memory that nothing else holds, as what is written in place must be; zeros that were
        # folded into a constant would not be that. Copies would cost more than the parts.
        empty = (
            0,
            tf.zeros_like(hidden, dtype=zeros.dtype),  # a half type would round at each part
            tf.raw_ops.Empty(shape=tf.shape(weight), dtype=weight.dtype),
            tf.raw_ops.Empty(shape=tf.shape(bias), dtype=bias.dtype),
        )
        found = tf.while_loop(within, backward, empty, parallel_iterations=1)

        # Of the graph in which this is called, since `second` may be called in a third.
        x, whole, whole_bias, factor, words_of_rows = map(
            tf.identity, (hidden, weight, bias, upstream, labels)
        )
        inputs = [x, whole, whole_bias]

        def second(*of_gradients: tf.Tensor) -> list[tf.Tensor]:
            """By the formula, whose derivatives have derivatives."""
            with tf.GradientTape() as outer:
                outer.watch([*inputs, factor])
                with tf.GradientTape() as inner:
                    inner.watch(inputs)
                    total = _sum_of_losses(x, whole, whole_bias, words_of_rows)
                first = inner.gradient(total, inputs, factor)
            return outer.gradient(first, [*inputs, factor], of_gradients)

        return (tf.cast(found[1], hidden.dtype), *found[2:]), second

    def gradient(upstream: tf.Tensor) -> tuple[Any, ...]:
        return (*gradients(hidden, weight, bias, upstream), None, None)

    return tf.reduce_sum(log_sum - chosen), gradient
