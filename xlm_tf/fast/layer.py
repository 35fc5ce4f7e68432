"""One layer of the encoder by the fast operations: what stands in for `TFXLMModel._layer`.

Linear layers are called through `linear`, so that a layer put in their place is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from xlm_tf.attention import MultiHeadAttention
from xlm_tf.fast.attention import attend_within_sentences
from xlm_tf.fast.linear import feed_forward, linear, linears
from xlm_tf.fast.unpadding import Unpadding, gather_rows
from xlm_tf.layers import dropout

# (attention, hidden, seed) to the context of all heads before the output layer.
Attend = Callable[[MultiHeadAttention, tf.Tensor, tf.Tensor | None], tf.Tensor]


def run_layer(
    encoder: Any,
    index: int,
    hidden: tf.Tensor,
    attend: Attend,
    selected: tf.Tensor | None = None,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Attention and feed-forward layer, each added to its input, then normalised.

    Args:
        encoder: A `TFXLMModel` whose layers are unmodified.
        index: Which layer.
        hidden: float, shape (tokens, hidden).
        attend: How to attend, one of the functions below with its first arguments given.
        selected: int32, shape (some,): compute what follows attention for these of the tokens
            only; None: for all.
        seed: Of the dropouts, in training.

    Returns:
        float, shape (tokens, hidden) or (some, hidden).
    """
    attention, module = encoder.attentions[index], encoder.ffns[index]
    context = _select(attend(attention, hidden, seed), selected)
    residual = _select(hidden, selected)
    rate = encoder.config.dropout
    hidden = add_linear(attention.out_lin, context, residual, rate, seed, site=1)
    hidden = encoder.layer_norm1[index](hidden)
    hidden = _add_feed_forward(module, hidden, seed)
    return encoder.layer_norm2[index](hidden)


def _add_feed_forward(module: Any, hidden: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """hidden + dropout(module(hidden)), of a `TransformerFFN`."""
    first, second = module.lin1, module.lin2
    if seed is None or not module.rate:
        y = feed_forward(first, second, hidden, module.activation)
        if y is not None:
            return hidden + y
    inner = linear(first, hidden, module.activation)
    return add_linear(second, inner, hidden, module.rate, seed, site=2)


def add_linear(
    layer: Any, x: tf.Tensor, residual: tf.Tensor, rate: float, seed: tf.Tensor | None, site: int
) -> tf.Tensor:
    """residual + dropout(layer(x))."""
    if seed is not None and rate:
        return residual + dropout(linear(layer, x), rate, seed, site)
    return linear(layer, x, residual=residual)


# -- ways to attend --------------------------------------------------------------------------------


def attend_to_sentence(
    unpadding: Unpadding,
    attention: MultiHeadAttention,
    hidden: tf.Tensor,
    seed: tf.Tensor | None,
) -> tf.Tensor:
    """Attention within each sentence."""
    query, key, value = _query_key_value(attention, hidden)
    return attend_within_sentences(
        unpadding, query, key, value, attention.n_heads, attention.rate, seed
    )


def attend_to_cache(
    unpadding: Unpadding,
    cache: Any,
    attention: MultiHeadAttention,
    hidden: tf.Tensor,
    seed: tf.Tensor | None,
) -> tf.Tensor:
    """The formula's attention to the cached positions and the new ones; none is left out."""
    query, key, value = (
        attention.split_heads(unpadding.pad(each)) for each in _query_key_value(attention, hidden)
    )
    key, value = cache.update(key, value, attention.layer)
    context, _ = attention.attend(query, key, value, unpadding.attention_mask, seed=seed)
    return unpadding.unpad(context)


def _query_key_value(attention: MultiHeadAttention, hidden: tf.Tensor) -> list[tf.Tensor]:
    return linears((attention.q_lin, attention.k_lin, attention.v_lin), hidden)


def _select(x: tf.Tensor, selected: tf.Tensor | None) -> tf.Tensor:
    """(tokens, width) to (selected tokens, width), or as it is."""
    return x if selected is None else gather_rows(x, selected)
