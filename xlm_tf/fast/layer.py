"""One layer of the encoder by the fast operations: what stands in for `TFXLMModel._layer`.

Linear layers are called through `linear`, so that a layer put in their place is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from xlm_tf.attention import MultiHeadAttention, held_source, hold_source
from xlm_tf.fast.attention import attend_within_sentences
from xlm_tf.fast.linear import feed_forward, linear, linears
from xlm_tf.fast.norm import normalise
from xlm_tf.fast.unpadding import Unpadding, gather_rows
from xlm_tf.layers import dropout, other_seed

# (attention, hidden, seed) to the context of all heads before the output layer.
Attend = Callable[[MultiHeadAttention, tf.Tensor, tf.Tensor | None], tf.Tensor]
# The same, after the hidden states of a source.
AttendToSource = Callable[[tf.Tensor, MultiHeadAttention, tf.Tensor, tf.Tensor | None], tf.Tensor]


def run_layer(
    encoder: Any,
    index: int,
    hidden: tf.Tensor,
    attend: Attend,
    selected: tf.Tensor | None = None,
    seed: tf.Tensor | None = None,
    to_source: Attend | None = None,
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
        to_source: How a decoder's layer attends to its source, between the two; None: it has none.

    Returns:
        float, shape (tokens, hidden) or (some, hidden).
    """
    rate = encoder.config.dropout

    def attended(
        attention: Any,
        norm: Any,
        hidden: tf.Tensor,
        attend: Attend,
        selected: tf.Tensor | None,
        seed: tf.Tensor | None,
    ) -> tf.Tensor:
        context = _select(attend(attention, hidden, seed), selected)
        residual = _select(hidden, selected)
        added = add_linear(attention.out_lin, context, residual, rate, seed, site=1)
        return normalise(norm, added, trained=seed is not None)

    attention, norm = encoder.attentions[index], encoder.layer_norm1[index]
    if to_source is None:
        hidden = attended(attention, norm, hidden, attend, selected, seed)
    else:
        hidden = attended(attention, norm, hidden, attend, None, seed)
        attention, norm = encoder.encoder_attn[index], encoder.layer_norm15[index]
        hidden = attended(attention, norm, hidden, to_source, selected, other_seed(seed))
    hidden = _add_feed_forward(encoder.ffns[index], hidden, seed)
    return normalise(encoder.layer_norm2[index], hidden, trained=seed is not None)


def _add_feed_forward(module: Any, hidden: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
    """hidden + dropout(module(hidden)), of a `TransformerFFN`."""
    first, second = module.lin1, module.lin2
    if seed is None or not module.rate:
        y = feed_forward(first, second, hidden, module.activation)
        if y is not None:
            return hidden + y
    inner = linear(first, hidden, module.activation, trained=seed is not None)
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


def attend_to_source(
    unpadding: Unpadding,
    of_source: Unpadding,
    cache: Any,
    rows: tf.Tensor,
    attention: MultiHeadAttention,
    hidden: tf.Tensor,
    seed: tf.Tensor | None,
) -> tf.Tensor:
    """Attention of each sentence to its source.

    Args:
        unpadding: Of the sentences.
        of_source: Of their sources.
        cache: Holds keys and values of the source, or None; then nothing is unpadded.
        rows: The source's hidden states, float, shape (tokens, hidden); with a cache, (batch,
            source, hidden).
        attention: The layer's cross-attention.
        hidden: The sentences' hidden states.
        seed: Of the dropout, in training.
    """
    query = linear(attention.q_lin, hidden)
    key_value = (attention.k_lin, attention.v_lin)
    if cache is None:
        key, value = (linear(layer, rows) for layer in key_value)
        return attend_within_sentences(
            unpadding, query, key, value, attention.n_heads, attention.rate, seed, of_source
        )
    held = held_source(cache, attention.layer)
    if held is None:
        key, value = held = tuple(attention.split_heads(linear(layer, rows)) for layer in key_value)
        hold_source(cache, key, value, attention.layer)
    query = attention.split_heads(unpadding.pad(query))
    context, _ = attention.attend(query, *held, of_source.attention_mask, seed=seed)
    return unpadding.unpad(context)


def _query_key_value(attention: MultiHeadAttention, hidden: tf.Tensor) -> list[tf.Tensor]:
    return linears((attention.q_lin, attention.k_lin, attention.v_lin), hidden)


def _select(x: tf.Tensor, selected: tf.Tensor | None) -> tf.Tensor:
    """(tokens, width) to (selected tokens, width), or as it is."""
    return x if selected is None else gather_rows(x, selected)
