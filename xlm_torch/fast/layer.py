"""One layer of the encoder by the fast operations: what stands in for `XLMModel._layer`.

Linear layers are called through `linear`, so that a layer put in their place is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from xlm_torch.attention import MultiHeadAttention, held_source, hold_source
from xlm_torch.fast.attention import attend_within_sentences, fused_attention
from xlm_torch.fast.dropout import add_dropout
from xlm_torch.fast.linear import feed_forward, linear, linears
from xlm_torch.fast.unpadding import Unpadding

# (attention, hidden) to the context of all heads before the output layer, and the weights if
# these are asked for.
Attend = Callable[[MultiHeadAttention, Tensor], tuple[Tensor, Tensor | None]]


def run_layer(
    encoder: Any,
    index: int,
    hidden: Tensor,
    attend: Attend,
    selected: Tensor | None = None,
    to_source: Attend | None = None,
) -> tuple[Any, ...]:
    """Attention and feed-forward layer, each added to its input, then normalised.

    Args:
        encoder: An `XLMModel` whose attention and feed-forward layers are unmodified.
        index: Which layer.
        hidden: float, shape (tokens, hidden) or (batch, new, hidden).
        attend: How to attend, one of the functions below with its first arguments given.
        selected: int64, shape (some,): compute what follows attention for these of the flattened
            tokens only; None: for all.
        to_source: How a decoder's layer attends to its source, between the two; None: it has none.

    Returns:
        The hidden states, of the shape of `hidden` or (some, hidden), the weights that `attend`
        returns, and with `to_source` those that it returns.
    """
    rate = encoder.config.dropout if encoder.training else 0.0

    def attended(
        attention: Any, norm: Any, hidden: Tensor, attend: Attend, selected: Tensor | None
    ) -> Tensor:
        residual = _select(hidden, selected)
        context, of_keys = attend(attention, hidden)
        weights.append(of_keys)
        context = _select(context, selected)
        return norm(add_linear(attention.out_lin, context, residual, rate))

    weights: list[Tensor | None] = []
    attention, norm = encoder.attentions[index], encoder.layer_norm1[index]
    if to_source is None:
        hidden = attended(attention, norm, hidden, attend, selected)
    else:
        hidden = attended(attention, norm, hidden, attend, None)
        attention, norm = encoder.encoder_attn[index], encoder.layer_norm15[index]
        hidden = attended(attention, norm, hidden, to_source, selected)
    hidden = _add_feed_forward(encoder.ffns[index], hidden)
    return encoder.layer_norm2[index](hidden), *weights


def _add_feed_forward(module: Any, hidden: Tensor) -> Tensor:
    """hidden + dropout(module(hidden)), of a `TransformerFFN`."""
    first, second = module.lin1, module.lin2
    rate = module.dropout if module.training else 0.0
    if not rate and (y := feed_forward(first, second, hidden, module.activation)) is not None:
        return y.add_(hidden)
    return add_linear(second, linear(first, hidden, module.activation), hidden, rate)


def add_linear(layer: nn.Module, x: Tensor, residual: Tensor, dropout: float) -> Tensor:
    """residual + dropout(layer(x)), in one operation where nothing is dropped."""
    if dropout:
        return add_dropout(residual, linear(layer, x), dropout)
    return linear(layer, x, residual=residual)


# -- ways to attend --------------------------------------------------------------------------------


def attend_to_sentence(
    unpadding: Unpadding, attention: MultiHeadAttention, hidden: Tensor
) -> tuple[Tensor, None]:
    """Fused attention within each sentence, where nobody asks for weights."""
    query, key, value = (
        each.unflatten(-1, (attention.n_heads, attention.head_dim))
        for each in _query_key_value(attention, hidden)
    )
    dropout = attention.dropout if attention.training else 0.0
    return attend_within_sentences(unpadding, query, key, value, dropout), None


def attend_to_cache(
    unpadding: Unpadding, cache: Any, attention: MultiHeadAttention, hidden: Tensor
) -> tuple[Tensor, None]:
    """Fused attention to the cached positions and the new ones."""
    query, key, value = (
        attention.split_heads(each) for each in _query_key_value(attention, hidden)
    )
    key, value = cache.update(key, value, attention.layer)
    dropout = attention.dropout if attention.training else 0.0
    mask = unpadding.attention_mask
    causal = unpadding.causal and mask is None
    context = fused_attention(query, key, value, mask, causal=causal, dropout=dropout)
    return context.transpose(1, 2).flatten(2), None


def attend_to_source(
    unpadding: Unpadding,
    of_source: Unpadding,
    cache: Any,
    rows: Tensor,
    attention: MultiHeadAttention,
    hidden: Tensor,
) -> tuple[Tensor, None]:
    """Fused attention of each sentence to its source.

    Args:
        unpadding: Of the sentences.
        of_source: Of their sources.
        cache: Holds keys and values of the source, or None; then nothing is unpadded.
        rows: The source's hidden states, float, shape (tokens, hidden) or (batch, source, hidden).
        attention: The layer's cross-attention.
        hidden: The sentences' hidden states.
    """
    query = linear(attention.q_lin, hidden)
    dropout = attention.dropout if attention.training else 0.0
    if cache is not None:
        key, value = _keys_of_source(attention, rows, cache)
        context = fused_attention(
            attention.split_heads(query), key, value, of_source.attention_mask, dropout=dropout
        )
        return context.transpose(1, 2).flatten(2), None
    heads = (attention.n_heads, attention.head_dim)
    key, value = linears((attention.k_lin, attention.v_lin), rows)
    query, key, value = (each.unflatten(-1, heads) for each in (query, key, value))
    return attend_within_sentences(unpadding, query, key, value, dropout, of_source), None


def _keys_of_source(
    attention: MultiHeadAttention, source: Tensor, cache: Any
) -> tuple[Tensor, Tensor]:
    """Keys and values of a source, float, shape (batch, heads, source, head_dim)."""
    held = held_source(cache, attention.layer)
    if held is not None:
        return held
    key, value = (
        attention.split_heads(each) for each in linears((attention.k_lin, attention.v_lin), source)
    )
    hold_source(cache, key, value, attention.layer)
    return key, value


def attend_with_weights(
    attention_mask: Tensor,
    head_mask: Tensor | None,
    cache: Any,
    attention: MultiHeadAttention,
    hidden: Tensor,
    source: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The formula's attention, which keeps its weights and takes any cache.

    To a source, if it is given: its hidden states, float, shape (batch, source, hidden).
    """
    if source is not None:
        query = attention.split_heads(linear(attention.q_lin, hidden))
        key, value = _keys_of_source(attention, source, cache)
    else:
        query, key, value = (
            attention.split_heads(each) for each in _query_key_value(attention, hidden)
        )
        if cache is not None:
            key, value = cache.update(key, value, attention.layer)
    return attention.attend(query, key, value, attention_mask, head_mask)


def _query_key_value(attention: MultiHeadAttention, hidden: Tensor) -> list[Tensor]:
    return linears((attention.q_lin, attention.k_lin, attention.v_lin), hidden)


def _select(x: Tensor, selected: Tensor | None) -> Tensor:
    """(..., width) to (selected tokens, width), or as it is."""
    return x if selected is None else x.flatten(0, -2).index_select(0, selected)
