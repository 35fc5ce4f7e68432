"""The encoder: embeddings, attention, feed-forward layers, and `XLMModel` over them.

Shapes use one legend: batch, sequence (all positions), new (the positions of this call: all but
the cached ones), query, key, heads, head_dim, hidden (config.emb_dim).

Source: Lample & Conneau 2019, section 3; xlm/model/transformer.py of the original.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xlm_core.config import XLMConfig
from xlm_core.inputs import check_cache
from xlm_torch.fast.linear import are_plain, as_written, embedding, linear
from xlm_torch.fast.unpadding import (
    Rows,
    all_rows,
    asked_rows,
    has_varlen,
    last_rows,
    rows_of,
    wanted_rows,
)
from xlm_torch.inputs import as_index, check_inputs
from xlm_torch.outputs import BaseModelOutput
from xlm_torch.pretrained import XLMPreTrainedModel
from xlm_torch.quantization import QuantizedLinear


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, section 3.2).

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
        visible: Tensor,
        head_mask: Tensor | None = None,
        cache: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Args:
            hidden: float, shape (batch, new, hidden).
            visible: bool, broadcastable to (batch, heads, query, key): which key each query sees.
            head_mask: float, broadcastable to (batch, heads, query, key); multiplies the weights.
            cache: Holds the keys and values of earlier positions.

        Returns:
            The context, float, shape (batch, new, hidden), and the weights, float, shape
            (batch, heads, query, key), after dropout and head_mask.
        """
        query = self._split(linear(self.q_lin, hidden)) / math.sqrt(self.head_dim)
        key = self._split(linear(self.k_lin, hidden))
        value = self._split(linear(self.v_lin, hidden))
        if cache is not None:
            key, value = cache.update(key, value, self.layer)

        scores = query @ key.transpose(2, 3)
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        if scores.dtype in (torch.float16, torch.bfloat16):
            weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype)
        else:
            weights = F.softmax(scores, dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        if head_mask is not None:
            weights = weights * head_mask.to(weights.dtype)

        context = weights @ value
        context = context.transpose(1, 2).flatten(2)
        return linear(self.out_lin, context), weights

    def fused(
        self,
        hidden: Tensor,
        rows: Rows,
        residual: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """`forward` where nobody asks for weights: the context alone, plus `residual`.

        Args:
            hidden: float: rows, as `rows` defines them.
            rows: Which of them see each other.
            residual: float, of the shape of what is returned.
            kept: int64, shape (some,): which rows are wanted; None: all.
        """
        query, key, value = (
            linear(layer, hidden).unflatten(-1, (self.n_heads, self.head_dim))
            for layer in (self.q_lin, self.k_lin, self.v_lin)
        )
        context = rows.attend(query, key, value, self.dropout if self.training else 0.0)
        return linear(self.out_lin, _rows(context, kept), residual=residual)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, new, heads * head_dim) to (batch, heads, new, head_dim)."""
        return x.unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)

    def keep_heads(self, kept: list[int]) -> None:
        """Keep only the heads at these places among the present ones."""
        rows = torch.cat(
            [torch.arange(head * self.head_dim, (head + 1) * self.head_dim) for head in kept]
        )
        for layer in (self.q_lin, self.k_lin, self.v_lin):
            layer.weight = _selected(layer.weight, rows, 0)
            layer.bias = _selected(layer.bias, rows, 0)
            layer.out_features = len(rows)
        self.out_lin.weight = _selected(self.out_lin.weight, rows, 1)
        self.out_lin.in_features = len(rows)
        self.n_heads = len(kept)


def _selected(parameter: nn.Parameter, rows: Tensor, dim: int) -> nn.Parameter:
    chosen = parameter.detach().index_select(dim, rows.to(parameter.device))
    return nn.Parameter(chosen, requires_grad=parameter.requires_grad)


class TransformerFFN(nn.Module):
    """The position-wise feed-forward layer: hidden to 4 hidden and back."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.chunk_size = config.chunk_size_feed_forward
        self.activation = "gelu" if config.gelu_activation else "relu"
        self.lin1 = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.lin2 = nn.Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """float, shape (batch, new, hidden), to the same."""
        if self.chunk_size == 0:
            return self._chunk(hidden)
        return torch.cat([self._chunk(part) for part in hidden.split(self.chunk_size, 1)], 1)

    def _chunk(self, hidden: Tensor) -> Tensor:
        hidden = linear(self.lin2, linear(self.lin1, hidden, self.activation))
        return F.dropout(hidden, self.dropout, self.training)

    def fused(self, hidden: Tensor, residual: Tensor) -> Tensor:
        """`forward` without dropout and chunks, plus `residual`."""
        return linear(self.lin2, linear(self.lin1, hidden, self.activation), residual=residual)


_OWN_MODULES = as_written(
    MultiHeadAttention,
    TransformerFFN,
    nn.Embedding,
    nn.LayerNorm,
    nn.Linear,
    nn.ModuleList,
    QuantizedLinear,
)


class XLMModel(XLMPreTrainedModel):
    """The XLM encoder, without a head.

    Args:
        config: Its shape. Weights are initialised as by the published code; `from_pretrained`
            loads them.
    """

    def __init__(self, config: XLMConfig) -> None:
        super().__init__(config)
        width = config.emb_dim
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        if config.has_lang_embeddings:
            self.lang_embeddings = nn.Embedding(config.n_langs, width)
        self.embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_index)
        self.layer_norm_emb = nn.LayerNorm(width, eps=config.layer_norm_eps)
        layers = range(config.n_layers)
        self.attentions = nn.ModuleList(MultiHeadAttention(config, layer) for layer in layers)
        self.layer_norm1 = nn.ModuleList(
            nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in layers
        )
        self.ffns = nn.ModuleList(TransformerFFN(config) for _ in layers)
        self.layer_norm2 = nn.ModuleList(
            nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in layers
        )
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        langs: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        lengths: Tensor | None = None,
        cache: Any = None,
        head_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **unknown: Any,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode a batch.

        Args:
            input_ids: int64, shape (batch, sequence). Exactly one of it and inputs_embeds.
            attention_mask: bool, integer or float, shape (batch, sequence): 1 for tokens, 0 for
                padding, on either side. Default: from lengths, else from input_ids (all that is
                not config.pad_index), else all tokens.
            langs: int64, shape (batch, sequence): the language of each token.
            token_type_ids: int64, shape (batch, sequence): added as *word* embeddings.
            position_ids: int64, shape (batch, sequence). Default: 0, 1, 2, ...
            lengths: int64, shape (batch,): tokens before the padding on the right. Only used
                without attention_mask.
            cache: An object with `update(key, value, layer)` and `get_seq_length()`, for causal
                models. All tensors hold the whole sequence; only what the cache lacks is
                computed and returned.
            head_mask: float, shape (heads,) or (layers, heads): 1 keeps a head, 0 silences it.
            inputs_embeds: float, shape (batch, sequence, hidden), in place of word embeddings.
            output_attentions, output_hidden_states, return_dict: Defaults from the config.

        Returns:
            `BaseModelOutput`, or with return_dict=False the tuple of what it holds.

        Raises:
            InputError: For tensors that do not fit.
            UnknownArgumentError: For any other keyword.
        """
        if unknown:
            self.refuse(unknown)
        wanted = asked_rows(self)
        config = self.config
        output_attentions = _default(output_attentions, config.output_attentions)
        output_hidden_states = _default(output_hidden_states, config.output_hidden_states)
        cache = getattr(cache, "self_attention_cache", cache)
        cached = None
        if cache is not None:
            check_cache(cache)
            cached = int(cache.get_seq_length())
        _, sequence = check_inputs(
            self,
            {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "langs": langs,
                "token_type_ids": token_type_ids,
                "position_ids": position_ids,
                "lengths": lengths,
                "head_mask": head_mask,
                "inputs_embeds": inputs_embeds,
            },
            cached,
        )
        new = slice(cached or 0, None)
        input_ids, langs = as_index(input_ids), as_index(langs)
        token_type_ids, position_ids = as_index(token_type_ids), as_index(position_ids)

        tokens = self._token_mask(input_ids, attention_mask, lengths, inputs_embeds)
        fused = (
            not output_attentions and head_mask is None and cache is None and self._is_untouched()
        )
        if fused:
            rows = rows_of(
                tokens,
                causal=config.causal,
                width=config.emb_dim,
                varlen=has_varlen(
                    self.embeddings.weight,
                    config.head_dim,
                    config.attention_dropout if self.training else 0.0,
                ),
            )
        else:
            rows = all_rows(tokens, causal=config.causal, cached=cached or 0)

        kept, last = None, rows
        if fused and not output_hidden_states:
            kept, last = last_rows(rows, tokens, wanted)

        if inputs_embeds is None:
            assert input_ids is not None
            hidden = embedding(self.embeddings, rows.pack(input_ids[:, new]))
        else:
            hidden = rows.pack(inputs_embeds[:, new]).to(self.embeddings.weight.dtype)
        if position_ids is not None:
            position_ids = rows.pack(position_ids[:, new])
        else:
            position_ids = rows.of_positions(torch.arange(sequence, device=tokens.device)[new])
        hidden = hidden + self.position_embeddings(position_ids)
        if langs is not None and config.has_lang_embeddings:
            hidden = hidden + self.lang_embeddings(rows.pack(langs[:, new]))
        if token_type_ids is not None:
            hidden = hidden + embedding(self.embeddings, rows.pack(token_type_ids[:, new]))
        hidden = self.layer_norm_emb(hidden)
        hidden = F.dropout(hidden, config.dropout, self.training)
        hidden = rows.mask(hidden)

        hidden_states: list[Tensor] = []
        attentions = []
        recompute = self._gradient_checkpointing and self.training and cache is None
        for layer in range(config.n_layers):
            if output_hidden_states:
                hidden_states.append(rows.unpack(hidden))
                hidden = rows.pack(hidden_states[-1])  # on one path of derivatives
            arguments: tuple[Any, ...] = (layer, hidden, rows)
            if fused:
                function = self._fused_layer
                arguments = (*arguments, kept if layer == config.n_layers - 1 else None)
            else:
                function = self._layer
                arguments = (*arguments, cache, self._head_mask(head_mask, layer))
            if recompute:
                hidden, weights = checkpoint(function, *arguments, use_reentrant=False)
            else:
                hidden, weights = function(*arguments)
            if output_attentions:
                attentions.append(weights)
        hidden = last.unpack(hidden)
        if output_hidden_states:
            hidden_states.append(hidden)

        output = BaseModelOutput(
            last_hidden_state=hidden,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
        return output if _default(return_dict, config.use_return_dict) else output.to_tuple()

    def _layer(
        self,
        layer: int,
        hidden: Tensor,
        rows: Rows,
        cache: Any,
        head_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One layer: each sublayer's output is added to its input, then normalised."""
        context, weights = self.attentions[layer](hidden, rows.visible, head_mask, cache)
        context = F.dropout(context, self.config.dropout, self.training)
        hidden = self.layer_norm1[layer](hidden + context)
        hidden = self.layer_norm2[layer](hidden + self.ffns[layer](hidden))
        return rows.mask(hidden), weights

    def _fused_layer(
        self, layer: int, hidden: Tensor, rows: Rows, kept: Tensor | None
    ) -> tuple[Tensor, None]:
        """`_layer` without attention weights, over untouched submodules; of the rows `kept`."""
        attention, ffn = self.attentions[layer], self.ffns[layer]
        residual = _rows(hidden, kept)
        if (self.training or ffn.training) and self.config.dropout:
            context = attention.fused(hidden, rows, kept=kept)
            context = F.dropout(context, self.config.dropout, self.training)
            hidden = self.layer_norm1[layer](residual + context)
            hidden = self.layer_norm2[layer](hidden + ffn(hidden))
        else:
            hidden = self.layer_norm1[layer](attention.fused(hidden, rows, residual, kept))
            hidden = self.layer_norm2[layer](ffn.fused(hidden, hidden))
        return (rows.mask(hidden) if kept is None else hidden), None

    def _is_untouched(self) -> bool:
        """Whether all submodules are the library's own, as they were made, and none is in chunks.

        Otherwise each is called, with the whole batch, as its documentation says.
        """
        inside = (module for module in self.modules() if module is not self)
        return are_plain(inside, _OWN_MODULES) and self.config.chunk_size_feed_forward == 0

    def _token_mask(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        lengths: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> Tensor:
        """bool, shape (batch, sequence): True for tokens, False for padding."""
        if attention_mask is not None:
            return attention_mask != 0
        shaped = input_ids if input_ids is not None else inputs_embeds
        assert shaped is not None
        if lengths is not None:
            return torch.arange(shaped.shape[1], device=lengths.device) < lengths[:, None]
        if input_ids is not None:
            return input_ids != self.config.pad_index
        return torch.ones(shaped.shape[:2], dtype=torch.bool, device=shaped.device)

    def _head_mask(self, head_mask: Tensor | None, layer: int) -> Tensor | None:
        """The mask of one layer, broadcastable to (batch, heads that remain, query, key)."""
        if head_mask is None:
            return None
        if head_mask.dim() == 1:
            mask = head_mask[None, :, None, None]
        elif head_mask.dim() == 2:
            mask = head_mask[layer][None, :, None, None]
        else:
            mask = head_mask[layer]
        kept = self.config.heads_of(layer)
        if len(kept) < self.config.n_heads == mask.shape[1]:
            mask = mask[:, kept]
        return mask

    def keep_heads(self, layer: int, kept: list[int]) -> None:
        """Keep only the heads at these places among those that `layer` still has."""
        self.attentions[layer].keep_heads(kept)


_OWN_ENCODER = as_written(XLMModel)


def only(encoder: nn.Module, wanted: Tensor | int | None) -> AbstractContextManager[None]:
    """`wanted_rows`, if calling `encoder` runs `XLMModel.forward` and nothing else.

    Args:
        encoder: What a head calls.
        wanted: Of `wanted_rows`.
    """
    if torch.compiler.is_compiling() or not are_plain((encoder,), _OWN_ENCODER):
        return nullcontext()
    return wanted_rows(encoder, wanted)


def _rows(x: Tensor, kept: Tensor | None) -> Tensor:
    """(..., width) to (kept rows, width), or as it is."""
    return x if kept is None else x.flatten(0, -2).index_select(0, kept)


def _default(value: bool | None, default: bool) -> bool:
    return default if value is None else value
