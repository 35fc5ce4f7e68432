"""The encoder, `XLMModel`: embeddings, layers of attention and feed-forward, and their loop.

The decoder of `xlm_torch.translation` has the same layers, each of which attends to a source too.

Shapes use one legend: batch, sequence (all positions), new (the positions of this call: all but
the cached ones), source (the positions of what a decoder attends to), query, key, heads,
head_dim, hidden (config.emb_dim).

Source: Lample & Conneau 2019, section 3; TransformerModel in xlm/model/transformer.py of the
original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xlm_core.changes import check_embeddings
from xlm_core.config import XLMConfig
from xlm_core.inputs import check_cache
from xlm_torch.attention import MultiHeadAttention, attention_mask_of
from xlm_torch.fast.embedding import embedding
from xlm_torch.fast.path import fast_path
from xlm_torch.feed_forward import TransformerFFN
from xlm_torch.inputs import as_index, check_inputs, check_requests
from xlm_torch.outputs import BaseModelOutput
from xlm_torch.pretrained import XLMPreTrainedModel


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
        if not config.is_encoder:
            self.layer_norm15 = nn.ModuleList(
                nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in layers
            )
            self.encoder_attn = nn.ModuleList(MultiHeadAttention(config, layer) for layer in layers)
        self.ffns = nn.ModuleList(TransformerFFN(config) for _ in layers)
        self.layer_norm2 = nn.ModuleList(
            nn.LayerNorm(width, eps=config.layer_norm_eps) for _ in layers
        )
        self.post_init()

    def encoder(self) -> Any:
        """The model itself, as models with a head give the encoder inside."""
        return self

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
        *,
        output_positions: Tensor | int | None = None,
        embedding_matrix: Tensor | None = None,
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
            head_mask: float, bool or integer, shape (heads,), (layers, heads) or (layers, batch or
                1, heads or 1, query or 1, key or 1): 1 keeps an attention head, 0 silences it.
            inputs_embeds: float, shape (batch, sequence, hidden), in place of word embeddings.
            output_attentions, output_hidden_states, return_dict: Defaults from the config.
            output_positions: For heads: the positions whose last hidden state the caller looks at;
                those of others may be zeros. bool, shape (batch, new) (ignored if it has another),
                or the index of one position, the same for all sentences. Default: all.
            embedding_matrix: For heads: the word embeddings' matrix under another name, never
                other values; float, shape (vocabulary, hidden), see `xlm_torch.fast.embedding`.

        Returns:
            `BaseModelOutput`, or with return_dict=False the tuple of what it holds.

        Raises:
            InputError: For tensors that do not fit.
            UnknownArgumentError: For any other keyword.
        """
        if unknown:
            self.refuse(unknown)
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "langs": langs,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "lengths": lengths,
            "head_mask": head_mask,
            "inputs_embeds": inputs_embeds,
        }
        cache = getattr(cache, "self_attention_cache", cache)
        cached = self._check(inputs, cache, output_positions, embedding_matrix)
        hidden, hidden_states, attentions, _ = self._encode(
            inputs,
            cache=cache,
            cached=cached,
            output_attentions=_default(output_attentions, self.config.output_attentions),
            output_hidden_states=_default(output_hidden_states, self.config.output_hidden_states),
            output_positions=output_positions,
            embedding_matrix=embedding_matrix,
        )
        output = BaseModelOutput(
            last_hidden_state=hidden, hidden_states=hidden_states, attentions=attentions
        )
        return self.in_asked_form(output, return_dict)

    def _check(
        self,
        inputs: dict[str, Tensor | None],
        cache: Any,
        output_positions: Tensor | int | None,
        embedding_matrix: Tensor | None,
    ) -> int:
        """Check what `forward` was given; returns how many positions are cached."""
        self._check_matrices()
        cached = None
        if cache is not None:
            check_cache(cache)
            cached = int(cache.get_seq_length())
        _, sequence = check_inputs(self, inputs, cached)
        new = None if sequence is None else sequence - (cached or 0)
        check_requests(self, new, output_positions, embedding_matrix)
        return cached or 0

    def _check_matrices(self) -> None:
        """Raise `ConfigError` if the word embeddings were replaced by some of another shape."""
        weight = getattr(self.embeddings, "weight", None)
        if isinstance(weight, Tensor) and not torch.jit.is_tracing():  # type: ignore[attr-defined]
            check_embeddings(self.config, tuple(weight.shape))

    def _encode(
        self,
        inputs: dict[str, Tensor | None],
        *,
        output_attentions: bool,
        output_hidden_states: bool,
        output_positions: Tensor | int | None,
        embedding_matrix: Tensor | None,
        cache: Any = None,
        cached: int = 0,
    ) -> tuple[Tensor, _Tensors, _Tensors, _Tensors]:
        """Embed, run the layers, and collect what is asked for.

        Args:
            inputs: The tensors that `forward` was given, by name.
            output_attentions, output_hidden_states, output_positions, embedding_matrix: As in
                `forward`.
            cache, cached: What holds earlier keys and values, and for how many positions.

        Returns:
            The last hidden states, all of them, and each layer's attention weights, to the
            sequence itself and to the source.
        """
        tokens = self._token_mask(inputs)
        head_masks = self._head_masks(inputs["head_mask"])
        source = None
        if (mask := inputs.get("encoder_attention_mask")) is not None:
            source = Source(cast(Tensor, inputs["encoder_hidden_states"]), mask != 0)
        path = fast_path(
            self,
            tokens,
            cache=cache,
            cached=cached,
            head_masks=head_masks,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            output_positions=output_positions,
            source=source,
        ) or FormulaPath(
            self, tokens, cache=cache, cached=cached, head_masks=head_masks, source=source
        )
        return self._run(
            path,
            self._new_positions(inputs, cached),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            embedding_matrix=embedding_matrix,
            recompute=self._gradient_checkpointing and self.training and cache is None,
        )

    def step(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        langs: Tensor | None,
        tokens: Tensor,
        cache: Any,
        encoder_hidden_states: Tensor | None = None,
        encoder_mask: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of new positions alone: a step of generation, which checks nothing.

        Args:
            input_ids, position_ids: int64, shape (batch, new).
            langs: int64, shape (batch, new), or None.
            tokens: bool, shape (batch, key): which of the keys that `cache.update` returns are
                tokens. Of several new positions, these are the last keys; one new position may be
                anywhere, and sees all tokens, of which there is one in each sentence.
            cache: Holds earlier keys and values, as for `forward`.
            encoder_hidden_states: Of a decoder: float, shape (batch, source, hidden); not needed
                where the cache holds the keys and values of the source.
            encoder_mask: Of a decoder: bool, shape (batch, source): False for padding.

        Returns:
            float, shape (batch, new, hidden); of padding among several new positions, zeros.
        """
        source = None
        if encoder_mask is not None:
            if encoder_hidden_states is None:  # a cache that lacked the keys would not fit the mask
                encoder_hidden_states = self.layer_norm_emb.weight.new_empty((len(tokens), 0, 0))
            source = Source(encoder_hidden_states, encoder_mask)
        new = {"input_ids": input_ids, "position_ids": position_ids}
        if langs is not None:
            new["langs"] = langs
        several = input_ids.shape[1] > 1
        cached = tokens.shape[1] - input_ids.shape[1] if several else None
        head_masks: list[Tensor | None] = [None] * self.config.n_layers
        path = fast_path(
            self,
            tokens,
            cache=cache,
            cached=cached,
            head_masks=head_masks,
            output_attentions=False,
            output_hidden_states=False,
            output_positions=None,
            source=source,
        ) or FormulaPath(
            self, tokens, cache=cache, cached=cached, head_masks=head_masks, source=source
        )
        return self._run(path, new)[0]

    def _run(
        self,
        path: Any,
        new: dict[str, Tensor],
        *,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        embedding_matrix: Tensor | None = None,
        recompute: bool = False,
    ) -> tuple[Tensor, _Tensors, _Tensors, _Tensors]:
        """`_encode`, of a path that was chosen and of what `_embed` needs of the new positions.

        With `recompute`, layers are computed again in the backward pass.
        """
        hidden = self._embed({name: path.unpad(x) for name, x in new.items()}, embedding_matrix)
        hidden = path.zero_padding(hidden)
        hidden_states: list[Tensor] = []
        weights = []
        for layer in range(self.config.n_layers):
            if output_hidden_states:
                hidden_states.append(path.pad(hidden))
                hidden = path.unpad(hidden_states[-1])  # so that gradients flow through it
            if recompute:
                hidden, *of_layer = checkpoint(path.layer, layer, hidden, use_reentrant=False)
            else:
                hidden, *of_layer = path.layer(layer, hidden)
            weights.append(of_layer)
        hidden = path.pad(hidden, last=True)
        attentions = [tuple(each) for each in zip(*weights, strict=True)]
        return (
            hidden,
            (*hidden_states, hidden) if output_hidden_states else None,
            attentions[0] if output_attentions else None,
            attentions[1] if output_attentions and len(attentions) > 1 else None,
        )

    def _embed(self, inputs: dict[str, Tensor], matrix: Tensor | None = None) -> Tensor:
        """Words, positions and languages, added and normalised.

        Args:
            inputs: input_ids or inputs_embeds, position_ids, and if given langs and
                token_type_ids: of any leading shape, which is one for all of them.
            matrix: As `embedding_matrix` in `forward`.

        Returns:
            float, shape (..., hidden).
        """
        if "inputs_embeds" in inputs:
            hidden = inputs["inputs_embeds"].to(self._embeddings_dtype())
        else:
            hidden = embedding(self.embeddings, inputs["input_ids"], matrix)
        hidden = hidden + self.position_embeddings(inputs["position_ids"])
        if "langs" in inputs and self.config.has_lang_embeddings:
            hidden = hidden + self.lang_embeddings(inputs["langs"])
        if "token_type_ids" in inputs:
            hidden = hidden + embedding(self.embeddings, inputs["token_type_ids"], matrix)
        return F.dropout(self.layer_norm_emb(hidden), self.config.dropout, self.training)

    def _embeddings_dtype(self) -> torch.dtype:
        """Dtype of the word embeddings, or where something without a matrix stands, the model's."""
        weight = getattr(self.embeddings, "weight", None)
        return weight.dtype if isinstance(weight, Tensor) else self.dtype

    def _layer(
        self,
        layer: int,
        hidden: Tensor,
        attention_mask: Tensor,
        head_mask: Tensor | None,
        cache: Any,
        source: Source | None = None,
    ) -> tuple[Tensor, ...]:
        """One layer: each sublayer's output is added to its input, then normalised.

        Args:
            layer: Which.
            hidden: float, shape (batch, new, hidden).
            attention_mask, head_mask, cache: As in `MultiHeadAttention.forward`.
            source: What a decoder's layer attends to as well.

        Returns:
            The hidden states, float, shape (batch, new, hidden), and the attention weights, with a
            source those to it as well.
        """
        context, *weights = self.attentions[layer](hidden, attention_mask, head_mask, cache)
        context = F.dropout(context, self.config.dropout, self.training)
        hidden = self.layer_norm1[layer](hidden + context)
        if source is not None:
            context, to_source = self.encoder_attn[layer](
                hidden, source.attention_mask, None, cache, source.hidden
            )
            context = F.dropout(context, self.config.dropout, self.training)
            hidden = self.layer_norm15[layer](hidden + context)
            weights.append(to_source)
        hidden = self.layer_norm2[layer](hidden + self.ffns[layer](hidden))
        return hidden, *weights

    def _token_mask(self, inputs: dict[str, Tensor | None]) -> Tensor:
        """bool, shape (batch, sequence): True for tokens, False for padding."""
        if (attention_mask := inputs["attention_mask"]) is not None:
            return attention_mask != 0
        input_ids = inputs["input_ids"]
        shaped = input_ids if input_ids is not None else inputs["inputs_embeds"]
        assert shaped is not None
        if (lengths := inputs["lengths"]) is not None:
            return torch.arange(shaped.shape[1], device=lengths.device) < lengths[:, None]
        if input_ids is not None:
            return input_ids != self.config.pad_index
        return torch.ones(shaped.shape[:2], dtype=torch.bool, device=shaped.device)

    def _new_positions(self, inputs: dict[str, Tensor | None], cached: int) -> dict[str, Tensor]:
        """What `_embed` needs of the positions that are not cached.

        Shape (batch, new), or (batch, new, hidden) of inputs_embeds, or (new,) of positions that
        are the same for all sentences.
        """
        names = ("input_ids", "inputs_embeds", "langs", "token_type_ids", "position_ids")
        new = {name: x[:, cached:] for name in names if (x := inputs[name]) is not None}
        if "position_ids" not in new:
            words = new["input_ids" if "input_ids" in new else "inputs_embeds"]
            positions = torch.arange(cached + words.shape[1], device=words.device)
            new["position_ids"] = positions[cached:]
        return {name: x if name == "inputs_embeds" else as_index(x) for name, x in new.items()}

    def _head_masks(self, head_mask: Tensor | None) -> list[Tensor | None]:
        """For each layer its mask, broadcastable to (batch, heads that remain, query, key)."""
        layers = range(self.config.n_layers)
        return [
            None if head_mask is None else self._head_mask(head_mask, layer) for layer in layers
        ]

    def _head_mask(self, head_mask: Tensor, layer: int) -> Tensor:
        if head_mask.dim() == 1:
            mask = head_mask[None, :, None, None]
        elif head_mask.dim() == 2:
            mask = head_mask[layer][None, :, None, None]
        else:
            mask = head_mask[layer]
        remaining = self.config.heads_of(layer)
        if len(remaining) < self.config.n_heads == mask.shape[1]:
            mask = mask[:, remaining]
        return mask

    def keep_heads(self, layer: int, heads: list[int]) -> None:
        """Keep only the attention heads at these places among those that `layer` still has."""
        cast(MultiHeadAttention, self.attentions[layer]).keep_heads(heads)


class FormulaPath:
    """How one call is computed by the formulas alone: every position, padding zeroed.

    `xlm_torch.fast.path.FastPath` has the same methods.

    Args:
        encoder: The model that is called.
        tokens: bool, shape (batch, sequence): False for padding.
        cache, cached: What holds earlier keys and values, and for how many positions; None: one
            position is new, wherever, and sees all tokens.
        head_masks: For each layer, what its attention weights are multiplied by, if anything.
        source: What a decoder attends to.
    """

    def __init__(
        self,
        encoder: XLMModel,
        tokens: Tensor,
        *,
        cache: Any,
        cached: int | None,
        head_masks: list[Tensor | None],
        source: Source | None = None,
    ) -> None:
        self.encoder, self.cache, self.head_masks = encoder, cache, head_masks
        self.source = source
        self.tokens: Tensor | None = None
        if cached is None:
            self.attention_mask = tokens[:, None, None, :]
        else:
            causal = encoder.config.causal
            self.attention_mask = attention_mask_of(tokens, causal=causal, cached=cached)
            self.tokens = tokens[:, cached:, None]

    def unpad(self, x: Tensor) -> Tensor:
        """The whole batch, as it is."""
        return x

    def pad(self, hidden: Tensor, *, last: bool = False) -> Tensor:
        """The whole batch, as it is."""
        return hidden

    def zero_padding(self, hidden: Tensor) -> Tensor:
        """Zeros where there is padding."""
        return hidden if self.tokens is None else hidden * self.tokens.to(hidden.dtype)

    def layer(self, index: int, hidden: Tensor) -> tuple[Tensor, ...]:
        """`XLMModel._layer`, padding zeroed."""
        arguments: tuple[Any, ...] = (self.attention_mask, self.head_masks[index], self.cache)
        if self.source is not None:
            arguments = (*arguments, self.source)
        hidden, *weights = self.encoder._layer(index, hidden, *arguments)
        return self.zero_padding(hidden), *weights


@dataclass(frozen=True)
class Source:
    """What a decoder attends to.

    Attributes:
        hidden: The last hidden states of an encoder, float, shape (batch, source, hidden).
        tokens: bool, shape (batch, source): False for padding.
    """

    hidden: Tensor
    tokens: Tensor

    @property
    def attention_mask(self) -> Tensor:
        """bool, broadcastable to (batch, heads, query, source): True where visible."""
        return self.tokens[:, None, None, :]


_Tensors = tuple[Tensor, ...] | None


def _default(value: bool | None, default: bool) -> bool:
    return default if value is None else value
