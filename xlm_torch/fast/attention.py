"""Attention where nobody asks for its weights: fused, within each sentence."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_torch.fast.double_backward import gradients_of
from xlm_torch.fast.dropout import draws_fast, dropout_factors
from xlm_torch.fast.rule import are_traced, needs_gradient
from xlm_torch.fast.unpadding import Unpadding

# Tokens of a sentence from which it attends alone: shorter ones cost less together (measured).
_SHORTEST_ALONE = 64


def attend_within_sentences(
    unpadding: Unpadding,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    of_source: Unpadding | None = None,
) -> Tensor:
    """Attention in which each sentence of an unpadded batch sees itself only, or its source only.

    Args:
        unpadding: Which tokens of the batch are computed, and what they see.
        query, key, value: float, shape (tokens, heads, head_dim) where padding is left out, else
            (batch, new or key, heads, head_dim).
        dropout: Rate at which weights are dropped.
        of_source: Which tokens of the sources `key` and `value` are of, and which of them are
            seen; None: they are of the sentences themselves. See `choose_source`.

    Returns:
        As query, with heads and head_dim made one.
    """
    seen = unpadding if of_source is None else of_source
    if unpadding.positions is None:
        if seen is unpadding and _serves_dropping(query, seen, dropout):
            sentences = zip(query, key, value, strict=True)
            each = [_attend_and_drop(*x, causal=seen.causal, dropout=dropout) for x in sentences]
            return torch.stack(each).flatten(2)
        attended = fused_attention(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            seen.attention_mask,
            causal=seen.causal and seen.attention_mask is None,
            dropout=dropout,
        )
        return attended.transpose(1, 2).flatten(2)
    if unpadding.bounds is not None and seen.bounds is not None:
        from torch.nn.attention.varlen import varlen_attn  # sets filters of warnings

        window = (-1, 0) if seen.causal else (-1, -1)
        by_sentences = varlen_attn(
            query,
            key,
            value,
            unpadding.bounds,
            seen.bounds,
            max(unpadding.lengths),
            max(seen.lengths),
            window_size=window,
        )
        return cast(Tensor, by_sentences).flatten(1)
    keys, values = key.split(seen.lengths), value.split(seen.lengths)
    sentences = zip(query.split(unpadding.lengths), keys, values, strict=True)
    if draws_fast(query, dropout) and query.dtype == key.dtype == value.dtype:
        parts = [_attend_and_drop(*x, causal=seen.causal, dropout=dropout) for x in sentences]
        return torch.cat(parts).flatten(1)
    parts = [
        fused_attention(
            *(x.transpose(0, 1)[None] for x in sentence), causal=seen.causal, dropout=dropout
        )[0].transpose(0, 1)
        for sentence in sentences
    ]
    return torch.cat(parts).flatten(1)


def _serves_dropping(query: Tensor, seen: Unpadding, dropout: float) -> bool:
    """Whether sentences that were not unpadded attend one after the other, to drop weights."""
    return (
        seen.attention_mask is None
        and query.shape[1] >= _SHORTEST_ALONE
        and draws_fast(query, dropout)
    )


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(query key^T / sqrt(head_dim), where visible) value, without keeping the weights.

    Args:
        query: float, shape (batch, heads, query, head_dim).
        key, value: float, shape (batch, heads, key, head_dim).
        attention_mask: bool, broadcastable to (batch, heads, query, key): True where visible; each
            query sees some key.
        causal: Without `attention_mask`: each query sees the keys up to its own position.
        dropout: Rate at which weights are dropped.

    Returns:
        float, shape (batch, heads, query, head_dim).
    """
    by_flash = (
        query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.float64)
        and dropout == 0
        and needs_gradient(query, key, value)
        and not are_traced(query, key, value)
        and query.numel() > 0
    )
    if by_flash:
        attended: Tensor = FlashAttention.apply(query, key, value, attention_mask, causal)
        return attended
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout, is_causal=causal
    )


def _attend_and_drop(
    query: Tensor, key: Tensor, value: Tensor, *, causal: bool, dropout: float
) -> Tensor:
    """Attention of one sentence whose weights are dropped: fused attention on CPUs drops none.

    Args:
        query: float, shape (query, heads, head_dim).
        key, value: float, shape (key, heads, head_dim).
        causal, dropout: As in `fused_attention`.

    Returns:
        As query.
    """
    query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    scores = torch.bmm(query / query.shape[-1] ** 0.5, key.transpose(1, 2))
    if causal:
        later = torch.ones(scores.shape[1:], dtype=torch.bool).triu_(1)
        scores = scores.masked_fill(later, -torch.inf)
    weights = F.softmax(scores, dim=-1)
    return torch.bmm(weights * dropout_factors(weights, dropout), value).transpose(0, 1)


class FlashAttention(torch.autograd.Function):
    """PyTorch's fused attention for CPUs, which by itself has no derivatives of derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        causal: bool,
    ) -> Tensor:
        """As in `fused_attention`."""
        additive_mask = None
        if attention_mask is not None:
            additive_mask = query.new_zeros(attention_mask.shape).masked_fill_(
                ~attention_mask, -torch.inf
            )
        ctx.options = (0.0, causal)  # no dropout
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        attended, log_sums = flash(query, key, value, *ctx.options, attn_mask=additive_mask)
        ctx.save_for_backward(query, key, value, attended, log_sums, additive_mask)
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        query, key, value, attended, log_sums, additive_mask = ctx.saved_tensors
        if torch.is_grad_enabled():  # by the formula, which has a double backward

            def formula(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
                if additive_mask is not None:
                    scores = scores + additive_mask
                elif ctx.options[1]:
                    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
                    scores = scores.masked_fill(later, -torch.inf)
                return F.softmax(scores, dim=-1) @ value

            inputs, needed = (query, key, value), ctx.needs_input_grad[:3]
            return (*gradients_of(formula, inputs, needed, gradient), None, None)
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        gradients = backward(
            gradient, query, key, value, attended, log_sums, *ctx.options, attn_mask=additive_mask
        )
        return (*gradients, None, None)
