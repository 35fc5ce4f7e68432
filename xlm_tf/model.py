"""The encoder: embeddings, attention, feed-forward layers, and `TFXLMModel` over them.

Shapes use one legend: batch, sequence (all positions), new (the positions of this call: all but
the cached ones), query, key, heads, head_dim, hidden (config.emb_dim).

Source: Lample & Conneau 2019, section 3; xlm/model/transformer.py of the original.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.inputs import check_cache
from xlm_tf.fast.graphs import are_plain, as_written, compiled, embedding, linear
from xlm_tf.fast.unpadding import (
    Rows,
    all_rows,
    asked_rows,
    gather_rows,
    last_rows,
    rows_of,
    wanted_rows,
)
from xlm_tf.inputs import as_index, check_inputs
from xlm_tf.keras_model import model_call
from xlm_tf.layers import Embedding, LayerNorm, Linear, dropout, shape_of, softmax
from xlm_tf.outputs import BaseModelOutput
from xlm_tf.pretrained import TFXLMPreTrainedModel
from xlm_tf.quantization import QuantizedLinear


class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads (Vaswani et al. 2017, section 3.2).

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
        visible: tf.Tensor,
        head_mask: tf.Tensor | None = None,
        cache: Any = None,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Attend.

        Args:
            hidden: float, shape (batch, new, hidden).
            visible: bool, broadcastable to (batch, heads, query, key): which key each query sees.
            head_mask: float, broadcastable to (batch, heads, query, key); multiplies the weights.
            cache: Holds the keys and values of earlier positions.
            seed: Of the dropout, in training.

        Returns:
            The context, float, shape (batch, new, hidden), and the weights, float, shape
            (batch, heads, query, key), after dropout and head_mask.
        """
        query = self._split(linear(self.q_lin, hidden)) / math.sqrt(self.head_dim)
        key = self._split(linear(self.k_lin, hidden))
        value = self._split(linear(self.v_lin, hidden))
        if cache is not None:
            key, value = cache.update(key, value, self.layer)

        scores = tf.matmul(query, key, transpose_b=True)
        scores = tf.where(visible, scores, scores.dtype.min)
        weights = dropout(softmax(scores), self.rate, seed, site=0)
        if head_mask is not None:
            weights = weights * tf.cast(head_mask, weights.dtype)

        context = tf.transpose(tf.matmul(weights, value), (0, 2, 1, 3))
        batch, new = shape_of(hidden)[:2]
        context = tf.reshape(context, (batch, new, self.n_heads * self.head_dim))
        return linear(self.out_lin, context), weights

    def fused(
        self,
        hidden: tf.Tensor,
        rows: Rows,
        residual: tf.Tensor | None = None,
        kept: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """`call` where nobody asks for weights: the context alone, plus `residual`.

        Args:
            hidden: float: rows, as `rows` defines them.
            rows: Which of them see each other.
            residual: float, of the shape of what is returned.
            kept: int32, shape (some,): which rows are wanted; None: all.
            seed: Of the dropout, in training.
        """
        query, key, value = (
            linear(layer, hidden) for layer in (self.q_lin, self.k_lin, self.v_lin)
        )
        context = rows.attend(query, key, value, self.n_heads, self.rate, seed)
        return linear(self.out_lin, _rows(context, kept), residual=residual)

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """(batch, new, heads * head_dim) to (batch, heads, new, head_dim)."""
        batch, new = shape_of(x)[:2]
        x = tf.reshape(x, (batch, new, self.n_heads, self.head_dim))
        return tf.transpose(x, (0, 2, 1, 3))

    def keep_heads(self, kept: list[int]) -> None:
        """Keep only the heads at these places among the present ones."""
        columns = [
            head * self.head_dim + column for head in kept for column in range(self.head_dim)
        ]
        for layer in (self.q_lin, self.k_lin, self.v_lin):
            layer.keep(columns, axis=1)
        self.out_lin.keep(columns, axis=0)
        self.n_heads = len(kept)


class TransformerFFN(keras.layers.Layer):
    """The position-wise feed-forward layer: hidden to 4 hidden and back."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.rate = config.dropout
        self.chunk_size = config.chunk_size_feed_forward
        self.activation = "gelu" if config.gelu_activation else "relu"
        width, policy = config.emb_dim, self.dtype_policy
        self.lin1 = Linear(width, 4 * width, name="lin1", dtype=policy)
        self.lin2 = Linear(4 * width, width, name="lin2", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.lin1.build()
        self.lin2.build()

    def call(self, hidden: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """float, shape (batch, new, hidden), to the same; `seed` drops out in training."""
        new = hidden.shape[1]
        # Chunks save memory and change no number; a length unknown while tracing is not cut.
        if self.chunk_size == 0 or new is None:
            return dropout(self._chunk(hidden), self.rate, seed, site=2)
        starts = range(0, new, self.chunk_size)
        chunks = [self._chunk(hidden[:, start : start + self.chunk_size]) for start in starts]
        return dropout(tf.concat(chunks, axis=1), self.rate, seed, site=2)

    def _chunk(self, hidden: tf.Tensor) -> tf.Tensor:
        return linear(self.lin2, linear(self.lin1, hidden, self.activation))

    def fused(self, hidden: tf.Tensor, residual: tf.Tensor) -> tf.Tensor:
        """`call` without dropout and chunks, plus `residual`."""
        return linear(self.lin2, linear(self.lin1, hidden, self.activation), residual=residual)


_OWN_LAYERS = as_written(
    MultiHeadAttention,
    TransformerFFN,
    Embedding,
    LayerNorm,
    Linear,
    QuantizedLinear,
)


@keras.saving.register_keras_serializable(package="xlm_models")
class TFXLMModel(TFXLMPreTrainedModel):
    """The XLM encoder, without a head.

    Args:
        config: Its shape. Weights are initialised as by the published code; `from_pretrained`
            loads them.
        options: As in `TFXLMPreTrainedModel`.
    """

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(config, **options)
        width, policy = config.emb_dim, self.dtype_policy

        def norm(name: str) -> LayerNorm:
            return LayerNorm(width, config.layer_norm_eps, name=name, dtype=policy)

        self.position_embeddings = Embedding(
            config.max_position_embeddings,
            width,
            trainable=not config.sinusoidal_embeddings,
            name="position_embeddings",
            dtype=policy,
        )
        if config.has_lang_embeddings:
            self.lang_embeddings = Embedding(
                config.n_langs, width, name="lang_embeddings", dtype=policy
            )
        self.embeddings = Embedding(
            config.vocab_size,
            width,
            padding_index=config.pad_index,
            name="embeddings",
            dtype=policy,
        )
        self.layer_norm_emb = norm("layer_norm_emb")
        layers = range(config.n_layers)
        self.attentions = [
            MultiHeadAttention(config, layer, name=f"attentions.{layer}", dtype=policy)
            for layer in layers
        ]
        self.layer_norm1 = [norm(f"layer_norm1.{layer}") for layer in layers]
        self.ffns = [TransformerFFN(config, name=f"ffns.{layer}", dtype=policy) for layer in layers]
        self.layer_norm2 = [norm(f"layer_norm2.{layer}") for layer in layers]
        self.seed_generator = keras.random.SeedGenerator()
        self.post_init()

    @model_call
    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        langs: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        lengths: tf.Tensor | None = None,
        cache: Any = None,
        head_mask: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool | None = None,
        **unknown: Any,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode a batch.

        Args:
            input_ids: integer, shape (batch, sequence). Exactly one of it and inputs_embeds. A
                dictionary of arguments may stand in its place.
            attention_mask: bool, integer or float, shape (batch, sequence): 1 for tokens, 0 for
                padding, on either side. Default: from lengths, else from input_ids (all that is
                not config.pad_index), else all tokens.
            langs: integer, shape (batch, sequence): the language of each token.
            token_type_ids: integer, shape (batch, sequence): added as *word* embeddings.
            position_ids: integer, shape (batch, sequence). Default: 0, 1, 2, ...
            lengths: integer, shape (batch,): tokens before the padding on the right. Only used
                without attention_mask.
            cache: An object with `update(key, value, layer)` and `get_seq_length()`, for causal
                models. All tensors hold the whole sequence; only what the cache lacks is
                computed and returned.
            head_mask: float, shape (heads,) or (layers, heads): 1 keeps a head, 0 silences it.
            inputs_embeds: float, shape (batch, sequence, hidden), in place of word embeddings.
            output_attentions, output_hidden_states, return_dict: Defaults from the config.
            training: Whether dropout is active; Keras sets it.

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
        tensors = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "langs": langs,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "lengths": lengths,
            "head_mask": head_mask,
            "inputs_embeds": inputs_embeds,
        }
        check_inputs(self, tensors, cached)
        flags: dict[str, Any] = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            "training": bool(training),
            "recompute": bool(self._gradient_checkpointing and training and cache is None),
        }
        if isinstance(wanted, int):
            flags["column"] = wanted
        elif wanted is not None and wanted.shape.is_compatible_with(
            (input_ids if input_ids is not None else inputs_embeds).shape[:2]
        ):  # others are refused when their turn comes
            tensors["wanted"] = wanted
        if cache is None:
            encoded = compiled(self, "_encode", tensors, **flags)
        else:
            encoded = self._encode(tensors, **flags, cache=cache, cached=cached)
        hidden, hidden_states, attentions = encoded

        output = BaseModelOutput(
            last_hidden_state=hidden,
            hidden_states=hidden_states if output_hidden_states else None,
            attentions=attentions if output_attentions else None,
        )
        return output if _default(return_dict, config.use_return_dict) else output.to_tuple()

    def _encode(
        self,
        tensors: Mapping[str, tf.Tensor | None],
        *,
        output_attentions: bool,
        output_hidden_states: bool,
        training: bool,
        recompute: bool,
        column: int | None = None,
        cache: Any = None,
        cached: int | None = None,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        """The last hidden states, all of them, and attention weights, as far as asked for.

        Args:
            tensors: The arguments of `call`, by name; with "wanted", of `wanted_rows`.
            output_attentions, output_hidden_states, training, cache: As of `call`.
            recompute: Compute layers again in the backward pass.
            column: As "wanted": one position of each sentence.
            cached: Positions that the cache holds.
        """
        config = self.config
        input_ids, langs = as_index(tensors["input_ids"]), as_index(tensors["langs"])
        token_type_ids = as_index(tensors["token_type_ids"])
        position_ids = as_index(tensors["position_ids"])
        inputs_embeds, head_mask = tensors["inputs_embeds"], tensors["head_mask"]
        new = slice(cached or 0, None)
        tokens = self._token_mask(
            input_ids, tensors["attention_mask"], tensors["lengths"], inputs_embeds
        )
        fused = (
            not output_attentions and head_mask is None and cache is None and self._is_untouched()
        )
        if fused:
            rows = rows_of(tokens, causal=config.causal)
        else:
            rows = all_rows(tokens, causal=config.causal, cached=cached or 0)
        kept, last = None, rows
        if fused and not output_hidden_states:
            kept, last = last_rows(
                rows, tokens, tensors.get("wanted") if column is None else column
            )

        if inputs_embeds is None:
            assert input_ids is not None
            hidden = embedding(self.embeddings, rows.pack(input_ids[:, new]))
        else:
            hidden = rows.pack(tf.cast(inputs_embeds[:, new], self.compute_dtype))
        if position_ids is not None:
            position_ids = rows.pack(position_ids[:, new])
        else:
            position_ids = rows.of_positions(tf.range(shape_of(tokens)[1])[new])
        hidden = hidden + self.position_embeddings(position_ids)
        if langs is not None and config.has_lang_embeddings:
            hidden = hidden + self.lang_embeddings(rows.pack(langs[:, new]))
        if token_type_ids is not None:
            hidden = hidden + embedding(self.embeddings, rows.pack(token_type_ids[:, new]))
        hidden = self.layer_norm_emb(hidden)
        hidden = dropout(hidden, config.dropout, self.draw_seed(training), site=0)
        hidden = rows.mask(hidden)

        hidden_states: list[tf.Tensor] = []
        attentions = []
        for layer in range(config.n_layers):
            if output_hidden_states:
                hidden_states.append(rows.unpack(hidden))
                hidden = rows.pack(hidden_states[-1])  # on one path of derivatives
            seed = self.draw_seed(training)
            arguments: tuple[Any, ...] = (rows, seed)
            if fused:
                function = self._fused_layer
                arguments = (*arguments, kept if layer == config.n_layers - 1 else None)
            else:
                function = self._layer
                arguments = (*arguments, cache, self._head_mask(head_mask, layer))
            if recompute:
                hidden, weights = _recomputed(function, layer, hidden, *arguments)
            else:
                hidden, weights = function(layer, hidden, *arguments)
            if output_attentions:
                attentions.append(weights)
        hidden = last.unpack(hidden)
        if output_hidden_states:
            hidden_states.append(hidden)
        return hidden, tuple(hidden_states), tuple(attentions)

    def _layer(
        self,
        layer: int,
        hidden: tf.Tensor,
        rows: Rows,
        seed: tf.Tensor | None,
        cache: Any,
        head_mask: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One layer: each sublayer's output is added to its input, then normalised."""
        context, weights = self.attentions[layer](
            hidden, rows.visible, head_mask=head_mask, cache=cache, seed=seed
        )
        context = dropout(context, self.config.dropout, seed, site=1)
        hidden = self.layer_norm1[layer](hidden + context)
        hidden = self.layer_norm2[layer](hidden + self.ffns[layer](hidden, seed))
        return rows.mask(hidden), weights

    def _fused_layer(
        self,
        layer: int,
        hidden: tf.Tensor,
        rows: Rows,
        seed: tf.Tensor | None,
        kept: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`_layer` without attention weights, over untouched sublayers; of the rows `kept`."""
        attention, ffn = self.attentions[layer], self.ffns[layer]
        residual = _rows(hidden, kept)
        if seed is not None and self.config.dropout:
            context = attention.fused(hidden, rows, kept=kept, seed=seed)
            context = dropout(context, self.config.dropout, seed, site=1)
            hidden = self.layer_norm1[layer](residual + context)
            hidden = self.layer_norm2[layer](hidden + ffn(hidden, seed))
        else:
            hidden = self.layer_norm1[layer](attention.fused(hidden, rows, residual, kept, seed))
            hidden = self.layer_norm2[layer](ffn.fused(hidden, hidden))
        hidden = rows.mask(hidden) if kept is None else hidden
        return hidden, hidden[:0]  # no weights; recomputation wants tensors

    def _is_untouched(self) -> bool:
        """Whether all sublayers are the library's own, as they were made, and none is in chunks.

        Otherwise each is called, with the whole batch, as its documentation says.
        """
        inside = self._flatten_layers(include_self=False)
        return are_plain(inside, _OWN_LAYERS) and self.config.chunk_size_feed_forward == 0

    def _token_mask(
        self,
        input_ids: tf.Tensor | None,
        attention_mask: tf.Tensor | None,
        lengths: tf.Tensor | None,
        inputs_embeds: tf.Tensor | None,
    ) -> tf.Tensor:
        """bool, shape (batch, sequence): True for tokens, False for padding."""
        if attention_mask is not None:
            return attention_mask if attention_mask.dtype == tf.bool else attention_mask != 0
        batch, sequence = shape_of(input_ids if input_ids is not None else inputs_embeds)[:2]
        if lengths is not None:
            return tf.range(sequence) < tf.cast(lengths, tf.int32)[:, None]
        if input_ids is not None:
            return input_ids != self.config.pad_index
        return tf.ones((batch, sequence), dtype=tf.bool)

    def _head_mask(self, head_mask: tf.Tensor | None, layer: int) -> tf.Tensor | None:
        """The mask of one layer, broadcastable to (batch, heads that remain, query, key)."""
        if head_mask is None:
            return None
        rank = head_mask.shape.rank
        if rank == 1:
            mask = head_mask[None, :, None, None]
        elif rank == 2:
            mask = head_mask[layer][None, :, None, None]
        else:
            mask = head_mask[layer]
        kept = self.config.heads_of(layer)
        if len(kept) < self.config.n_heads == mask.shape[1]:
            mask = tf.gather(mask, kept, axis=1)
        return mask

    def keep_heads(self, layer: int, kept: list[int]) -> None:
        """Keep only the heads at these places among those that `layer` still has."""
        self.attentions[layer].keep_heads(kept)


_OWN_ENCODER = as_written(TFXLMModel)


def only(encoder: Any, wanted: tf.Tensor | int | None) -> AbstractContextManager[None]:
    """`wanted_rows`, if calling `encoder` runs `TFXLMModel.call` and nothing else.

    Args:
        encoder: What a head calls.
        wanted: Of `wanted_rows`.
    """
    plain = are_plain((encoder,), _OWN_ENCODER)
    return wanted_rows(encoder, wanted) if plain else nullcontext()


def _rows(x: tf.Tensor, kept: tf.Tensor | None) -> tf.Tensor:
    """(rows, width) to (kept rows, width), or as it is."""
    return x if kept is None else gather_rows(x, kept)


def _default(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _recomputed(
    function: Callable[..., Any], layer: int, hidden: tf.Tensor, *arguments: Any
) -> Any:
    """function(layer, hidden, *arguments), computed again in the backward pass.

    The seed among the arguments makes its dropout the same.
    """

    @tf.recompute_grad
    def compute(hidden: tf.Tensor) -> Any:
        return function(layer, hidden, *arguments)

    return compute(hidden)
