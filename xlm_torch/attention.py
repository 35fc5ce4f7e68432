"""Multi-head attention, by its formula.

Source: Vaswani et al. 2017, section 3.2; MultiHeadAttention in xlm/model/transformer.py of the
original. Shapes use the legend of `xlm_torch.model`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads.

    Args:
        config: Width, dropout and heads.
        layer: Its index; decides which heads are pruned, and its place in a cache.
    """

    def __init__(self, config: XLMConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads = len(config.heads_of(layer))
        self.head_dim = config.head_dim
        self.dropout = config.attention_dropout
        inner = self.n_heads * self.head_dim
        self.q_lin = nn.Linear(config.emb_dim, inner)
        self.k_lin = nn.Linear(config.emb_dim, inner)
        self.v_lin = nn.Linear(config.emb_dim, inner)
        self.out_lin = nn.Linear(inner, config.emb_dim)

    def forward(
        self,
        hidden: Tensor,
        attention_mask: Tensor,
        head_mask: Tensor | None = None,
        cache: Any = None,
        source: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend from every position to the visible ones: of the same sequence, or of a source.

        Args:
            hidden: float, shape (batch, new, hidden).
            attention_mask: bool, broadcastable to (batch, heads, query, key): True where visible.
            head_mask: float, broadcastable to (batch, heads, query, key); multiplies the weights.
            cache: Holds the keys and values of earlier positions, or those of the source.
            source: float, shape (batch, source, hidden): keys and values come from it (in
                cross-attention, where `key` is the source) and not from `hidden`.

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
        context, weights = self.attend(query, key, value, attention_mask, head_mask)
        return self.out_lin(context), weights

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor,
        head_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """softmax(query key^T / sqrt(head_dim), where visible) value.

        Args:
            query: float, shape (batch, heads, query, head_dim).
            key, value: float, shape (batch, heads, key, head_dim).
            attention_mask, head_mask: As in `forward`.

        Returns:
            The context of all heads, float, shape (batch, query, heads * head_dim), and the
            weights, float, shape (batch, heads, query, key). The softmax is taken in float32 for
            half types.
        """
        scores = query / math.sqrt(self.head_dim) @ key.transpose(2, 3)
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        if scores.dtype in (torch.float16, torch.bfloat16):
            weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        else:
            weights = F.softmax(scores, dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        if head_mask is not None:
            weights = weights * head_mask.to(weights.dtype)
        context = weights @ value
        return context.transpose(1, 2).flatten(2), weights

    def split_heads(self, x: Tensor) -> Tensor:
        """(batch, new, heads * head_dim) to (batch, heads, new, head_dim)."""
        return x.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)

    def keep_heads(self, heads: list[int]) -> None:
        """Keep only the attention heads at these places among the present ones."""
        columns = torch.cat(
            [torch.arange(head * self.head_dim, (head + 1) * self.head_dim) for head in heads]
        )
        for layer in (self.q_lin, self.k_lin, self.v_lin):
            layer.weight = _selected(layer.weight, columns, 0)
            layer.bias = _selected(layer.bias, columns, 0)
            layer.out_features = len(columns)
        self.out_lin.weight = _selected(self.out_lin.weight, columns, 1)
        self.out_lin.in_features = len(columns)
        self.n_heads = len(heads)


def _selected(parameter: Tensor, columns: Tensor, dim: int) -> nn.Parameter:
    chosen = parameter.detach().index_select(dim, columns.to(parameter.device))
    return nn.Parameter(chosen, requires_grad=parameter.requires_grad)


def held_source(cache: Any, layer: int) -> tuple[Tensor, Tensor] | None:
    """Keys and values of the source that a cache holds, if it is one that can."""
    cross = getattr(cache, "cross", None)
    held: tuple[Tensor, Tensor] | None = None if cross is None else cross(layer)
    return held


def hold_source(cache: Any, key: Tensor, value: Tensor, layer: int) -> None:
    """Let a cache hold keys and values of the source, if it is one that can."""
    update = getattr(cache, "update_cross", None)
    if update is not None:
        update(key, value, layer)


def attention_mask_of(tokens: Tensor, *, causal: bool, cached: int = 0) -> Tensor:
    """Which key each query sees: every token, or with `causal` every token up to the query.

    Args:
        tokens: bool, shape (batch, sequence): False for padding.
        causal: Positions see earlier ones and themselves only.
        cached: Positions that are in a cache and no longer query.

    Returns:
        bool, broadcastable to (batch, heads, query, key): True where visible.
    """
    attention_mask = tokens[:, None, None, :]
    if causal:
        key = torch.arange(tokens.shape[1], device=tokens.device)
        attention_mask = attention_mask & (key <= key[cached:, None])
    return attention_mask
