"""Attention where nobody asks for its weights: within each sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from xlm_tf.fast.unpadding import Unpadding, gather_rows
from xlm_tf.layers import dropout, shape_of, softmax

_Step = Callable[[tf.Tensor], tf.Tensor]


def attend_within_sentences(
    unpadding: Unpadding,
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    n_heads: int,
    rate: float,
    seed: tf.Tensor | None,
    of_source: Unpadding | None = None,
) -> tf.Tensor:
    """Attention in which each sentence of an unpadded batch sees itself only, or its source only.

    Args:
        unpadding: Which tokens of the batch are computed, and what they see.
        query, key, value: float, shape (tokens, heads * head_dim).
        n_heads: How many heads.
        rate: At which weights are dropped.
        seed: Of the dropout, in training.
        of_source: Which tokens of the sources `key` and `value` are of, and which of them are
            seen; None: they are of the sentences themselves. See `choose_source`.

    Returns:
        As query.
    """
    inner = query.shape[-1]
    split, merge = _by_heads(unpadding, n_heads, inner // n_heads)
    seen, split_seen = unpadding, split
    if of_source is not None:
        seen, (split_seen, _) = of_source, _by_heads(of_source, n_heads, inner // n_heads)
    query, key, value = split(query), split_seen(key), split_seen(value)
    context = fused_attention(query, key, value, seen.attention_mask, rate=rate, seed=seed)
    return tf.reshape(merge(context), (-1, inner))


def fused_attention(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    attention_mask: tf.Tensor | None = None,
    *,
    rate: float = 0.0,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """softmax(query key^T / sqrt(head_dim), where visible) value, without keeping the weights.

    Args:
        query: float, shape (batch, heads, query, head_dim).
        key, value: float, shape (batch, heads, key, head_dim).
        attention_mask: bool, broadcastable to (batch, heads, query, key): True where visible.
        rate: At which weights are dropped.
        seed: Of the dropout, in training.

    Returns:
        float, shape (batch, heads, query, head_dim).
    """
    scores = tf.matmul(query * query.shape[-1] ** -0.5, key, transpose_b=True)
    if attention_mask is not None:
        scores = scores + tf.where(attention_mask, tf.zeros((), scores.dtype), scores.dtype.min)
    return tf.matmul(dropout(softmax(scores), rate, seed, site=0), value)


def _by_heads(unpadding: Unpadding, n_heads: int, head_dim: int) -> tuple[_Step, _Step]:
    """Steps from tokens to (batch, heads, query, head_dim), and to (tokens, heads, head_dim)."""
    if unpadding.aligned is None or unpadding.back is None:
        shape = (*unpadding.shape, n_heads, head_dim)

        def turn(x: tf.Tensor) -> tf.Tensor:
            return tf.transpose(x, (0, 2, 1, 3))

        return lambda x: turn(tf.reshape(x, shape)), turn
    # Heads are gathered with the tokens, which saves turning them.
    head, longest = tf.range(n_heads), shape_of(unpadding.aligned)[1]
    aligned = unpadding.aligned[:, None] * n_heads + head[:, None]
    sentence, column = unpadding.back[:, None] // longest, unpadding.back[:, None] % longest
    back = tf.reshape((sentence * n_heads + head) * longest + column, (-1,))
    return (
        lambda x: _align(tf.reshape(x, (-1, head_dim)), aligned, back),
        lambda x: gather_rows(tf.reshape(x, (-1, head_dim)), back),
    )


@tf.custom_gradient
def _align(rows: tf.Tensor, aligned: tf.Tensor, back: tf.Tensor) -> Any:
    """The rows at each of `aligned`; a row's gradient comes from its own place, `back`, alone."""

    def gradient(of_places: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return gather_rows(tf.reshape(of_places, (-1, of_places.shape[-1])), back), None, None

    return tf.gather(rows, aligned), gradient
