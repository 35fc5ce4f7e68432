"""Multi-head attention, by its formula.

Source: Vaswani et al. 2017, section 3.2; MultiHeadAttention in xlm/model/transformer.py of the
original. Shapes use the legend of `xlm_tf.model`.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_tf.layers import Linear, dropout, shape_of, softmax


class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads.

    Args:
        config: Width, dropout and heads.
        layer: Its index; decides which heads are pruned, and its place in a cache.
    """

    def __init__(self, config: XLMConfig, layer: int, **options: Any) -> None:
        super().__init__(**options)
        self.layer = layer
        self.n_heads = len(config.heads_of(layer))
        self.head_dim = config.head_dim
        self.rate = config.attention_dropout
        inner = self.n_heads * self.head_dim
        policy = self.dtype_policy
        self.q_lin = Linear(config.emb_dim, inner, name="q_lin", dtype=policy)
        self.k_lin = Linear(config.emb_dim, inner, name="k_lin", dtype=policy)
        self.v_lin = Linear(config.emb_dim, inner, name="v_lin", dtype=policy)
        self.out_lin = Linear(inner, config.emb_dim, name="out_lin", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        for layer in (self.q_lin, self.k_lin, self.v_lin, self.out_lin):
            layer.build()

    def call(
        self,
        hidden: tf.Tensor,
        attention_mask: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        cache: Any = None,
        source: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend from every position to the visible ones: of the same sequence, or of a source.

        Args:
            hidden: float, shape (batch, new, hidden).
            attention_mask: bool, broadcastable to (batch, heads, query, key): True where visible.
            head_mask: float, broadcastable to (batch, heads, query, key); multiplies the weights.
            cache: Holds the keys and values of earlier positions, or those of the source.
            source: float, shape (batch, source, hidden): keys and values come from it (in
                cross-attention, where `key` is the source) and not from `hidden`.
            seed: Of the dropout, in training.

        Returns:
            The context, float, shape (batch, new, hidden), and the weights, float, shape
            (batch, heads, query, key), after dropout and head_mask.
        """
        query = self.split_heads(self.q_lin(hidden))
        held = None if source is None else held_source(cache, self.layer)
        if held is not None:
            key, value = held
        else:
            seen = hidden if source is None else source
            key = self.split_heads(self.k_lin(seen))
            value = self.split_heads(self.v_lin(seen))
            if source is not None:
                hold_source(cache, key, value, self.layer)
            elif cache is not None:
                key, value = cache.update(key, value, self.layer)
        context, weights = self.attend(query, key, value, attention_mask, head_mask, seed)
        return self.out_lin(context), weights

    def attend(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        attention_mask: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """softmax(query key^T / sqrt(head_dim), where visible) value.

        Args:
            query: float, shape (batch, heads, query, head_dim).
            key, value: float, shape (batch, heads, key, head_dim).
            attention_mask, head_mask, seed: As in `call`.

        Returns:
            The context of all heads, float, shape (batch, query, heads * head_dim), and the
            weights, float, shape (batch, heads, query, key). The softmax is taken in float32 for
            half types.
        """
        scores = tf.matmul(query / math.sqrt(self.head_dim), key, transpose_b=True)
        scores = tf.where(attention_mask, scores, scores.dtype.min)
        weights = dropout(softmax(scores), self.rate, seed, site=0)
        if head_mask is not None:
            weights = weights * tf.cast(head_mask, weights.dtype)
        context = tf.transpose(tf.matmul(weights, value), (0, 2, 1, 3))
        batch, new = shape_of(context)[:2]
        return tf.reshape(context, (batch, new, self.n_heads * self.head_dim)), weights

    def split_heads(self, x: tf.Tensor) -> tf.Tensor:
        """(batch, new, heads * head_dim) to (batch, heads, new, head_dim)."""
        batch, new = shape_of(x)[:2]
        x = tf.reshape(x, (batch, new, self.n_heads, self.head_dim))
        return tf.transpose(x, (0, 2, 1, 3))

    def keep_heads(self, heads: list[int]) -> None:
        """Keep only the attention heads at these places among the present ones."""
        columns = [
            head * self.head_dim + column for head in heads for column in range(self.head_dim)
        ]
        for layer in (self.q_lin, self.k_lin, self.v_lin):
            layer.keep(columns, axis=1)
        self.out_lin.keep(columns, axis=0)
        self.n_heads = len(heads)


def held_source(cache: Any, layer: int) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Keys and values of the source that a cache holds, if it is one that can."""
    cross = getattr(cache, "cross", None)
    held: tuple[tf.Tensor, tf.Tensor] | None = None if cross is None else cross(layer)
    return held


def hold_source(cache: Any, key: tf.Tensor, value: tf.Tensor, layer: int) -> None:
    """Let a cache hold keys and values of the source, if it is one that can."""
    update = getattr(cache, "update_cross", None)
    if update is not None:
        update(key, value, layer)


def attention_mask_of(
    tokens: tf.Tensor,
    *,
    causal: bool,
    cached: int | tf.Tensor = 0,
    new: int | tf.Tensor | None = None,
) -> tf.Tensor:
    """Which key each query sees: every token, or with `causal` every token up to the query.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        cached: Positions that are in a cache and no longer query.
        new: How many query after these; None: all that follow.

    Returns:
        bool, broadcastable to (batch, heads, query, key): True where visible.
    """
    # TensorFlow Lite has no slice that adds dimensions to tensors of unknown size.
    attention_mask = tf.expand_dims(tf.expand_dims(tokens, 1), 1)
    if causal:
        key = tf.range(shape_of(tokens)[1])
        query = key[cached:] if new is None else cached + tf.range(new)
        attention_mask = attention_mask & (key <= tf.expand_dims(query, 1))
    return attention_mask
