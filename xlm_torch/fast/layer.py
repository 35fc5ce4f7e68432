"""One layer of the encoder by the fast operations: what stands in for `XLMModel._layer`.

Linear layers are called through `linear`, so that a layer put in their place is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from xlm_torch.attention import MultiHeadAttention
from xlm_torch.fast.attention import attend_within_sentences, fused_attention
from xlm_torch.fast.linear import feed_forward, linear, linears
from xlm_torch.fast.unpadding import Unpadding

# (attention, hidden) to the context of all heads before the output layer, and the weights if
# these are asked for.
Attend = Callable[[MultiHeadAttention, Tensor], tuple[Tensor, Tensor | None]]


def run_layer(
    encoder: Any, index: int, hidden: Tensor, attend: Attend, selected: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Attention and feed-forward layer, each added to its input, then normalised.

    Args:
        encoder: An `XLMModel` whose attention and feed-forward layers are unmodified.
        index: Which layer.
        hidden: float, shape (tokens, hidden) or (batch, new, hidden).
        attend: How to attend, one of the functions below with its first arguments given.
        selected: int64, shape (some,): compute what follows attention for these of the flattened
            tokens only; None: for all.

    Returns:
        The hidden states, of the shape of `hidden` or (some, hidden), and the weights
        that `attend` returns.
    """
    attention, module = encoder.attentions[index], encoder.ffns[index]
    residual = _select(hidden, selected)
    context, weights = attend(attention, hidden)
    context = _select(context, selected)
    rate = encoder.config.dropout if encoder.training else 0.0
    hidden = add_linear(attention.out_lin, context, residual, rate)
    hidden = encoder.layer_norm1[index](hidden)
    rate = module.dropout if module.training else 0.0
    hidden = _add_feed_forward(module, hidden, rate)
    return encoder.layer_norm2[index](hidden), weights


def _add_feed_forward(module: Any, hidden: Tensor, rate: float) -> Tensor:
    """hidden + dropout(module(hidden)), of a `TransformerFFN`."""
    first, second = module.lin1, module.lin2
    if not rate and (y := feed_forward(first, second, hidden, module.activation)) is not None:
        return y.add_(hidden)
    return add_linear(second, linear(first, hidden, module.activation), hidden, rate)


def add_linear(layer: nn.Module, x: Tensor, residual: Tensor, dropout: float) -> Tensor:
    """residual + dropout(layer(x)), in one operation where nothing is dropped."""
    if dropout:
        return residual + F.dropout(linear(layer, x), dropout)
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


def attend_with_weights(
    attention_mask: Tensor,
    head_mask: Tensor | None,
    cache: Any,
    attention: MultiHeadAttention,
    hidden: Tensor,
) -> tuple[Tensor, Tensor]:
    """The formula's attention, which keeps its weights and takes any cache."""
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
