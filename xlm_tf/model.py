"""The encoder, `TFXLMModel`: embeddings, layers of attention and feed-forward, and their loop.

The decoder of `xlm_tf.translation` has the same layers, each of which attends to a source too.

Shapes use one legend: batch, sequence (all positions), new (the positions of this call: all but
the cached ones), source (the positions of what a decoder attends to), query, key, heads,
head_dim, hidden (config.emb_dim).

Source: Lample & Conneau 2019, section 3; TransformerModel in xlm/model/transformer.py of the
original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from xlm_core.changes import check_embeddings
from xlm_core.config import XLMConfig
from xlm_core.inputs import check_cache
from xlm_tf.attention import MultiHeadAttention, attention_mask_of
from xlm_tf.fast.embedding import embedding
from xlm_tf.fast.graphs import compiled
from xlm_tf.fast.path import fast_path
from xlm_tf.feed_forward import TransformerFFN
from xlm_tf.inputs import as_index, check_inputs, check_requests
from xlm_tf.keras_model import model_call
from xlm_tf.layers import Embedding, LayerNorm, dropout, other_seed, shape_of
from xlm_tf.outputs import BaseModelOutput
from xlm_tf.pretrained import TFXLMPreTrainedModel


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
        if not config.is_encoder:
            self.layer_norm15 = [norm(f"layer_norm15.{layer}") for layer in layers]
            self.encoder_attn = [
                MultiHeadAttention(config, layer, name=f"encoder_attn.{layer}", dtype=policy)
                for layer in layers
            ]
        self.ffns = [TransformerFFN(config, name=f"ffns.{layer}", dtype=policy) for layer in layers]
        self.layer_norm2 = [norm(f"layer_norm2.{layer}") for layer in layers]
        self.seed_generator = keras.random.SeedGenerator()
        self.post_init()

    def encoder(self) -> Any:
        """The model itself, as models with a head give the encoder inside."""
        return self

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
        *,
        output_positions: tf.Tensor | int | None = None,
        embedding_matrix: tf.Tensor | None = None,
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
            head_mask: float, bool or integer, shape (heads,), (layers, heads) or (layers, batch or
                1, heads or 1, query or 1, key or 1): 1 keeps an attention head, 0 silences it.
            inputs_embeds: float, shape (batch, sequence, hidden), in place of word embeddings.
            output_attentions, output_hidden_states, return_dict: Defaults from the config.
            training: Whether dropout is active; Keras sets it.
            output_positions: For heads: the positions whose last hidden state the caller looks at;
                those of others may be zeros. bool, shape (batch, new) (ignored if it has another),
                or the index of one position, the same for all sentences. Default: all.
            embedding_matrix: For heads: the word embeddings' matrix under another name, never
                other values; float, shape (vocabulary, hidden), see `xlm_tf.fast.embedding`.

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
        hidden, hidden_states, attentions, _ = compiled(
            self,
            "_encode",
            inputs,
            cache=cache,
            cached=cached,
            output_attentions=_default(output_attentions, self.config.output_attentions),
            output_hidden_states=_default(output_hidden_states, self.config.output_hidden_states),
            output_positions=if_fitting(output_positions, inputs),
            embedding_matrix=embedding_matrix,
            training=bool(training),
            recompute=bool(self._gradient_checkpointing and training and cache is None),
        )
        output = BaseModelOutput(
            last_hidden_state=hidden, hidden_states=hidden_states, attentions=attentions
        )
        return self.in_asked_form(output, return_dict)

    def _check(
        self,
        inputs: dict[str, tf.Tensor | None],
        cache: Any,
        output_positions: tf.Tensor | int | None,
        embedding_matrix: tf.Tensor | None,
    ) -> int:
        """Check what `call` was given; returns how many positions are cached."""
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
        matrix = getattr(self.embeddings, "embeddings", None)
        if matrix is not None:
            check_embeddings(self.config, tuple(matrix.shape))

    def _encode(
        self,
        inputs: Mapping[str, tf.Tensor | None],
        *,
        output_attentions: bool,
        output_hidden_states: bool,
        output_positions: tf.Tensor | int | None,
        embedding_matrix: tf.Tensor | None,
        training: bool,
        recompute: bool,
        cache: Any = None,
        cached: int | tf.Tensor = 0,
    ) -> tuple[tf.Tensor, _Tensors, _Tensors, _Tensors]:
        """Embed, run the layers, and collect what is asked for.

        Args:
            inputs: The tensors that `call` was given, by name.
            output_attentions, output_hidden_states, output_positions, embedding_matrix, training:
                As in `call`.
            recompute: Whether to compute layers again in the backward pass.
            cache, cached: What holds earlier keys and values, and for how many positions.

        Returns:
            The last hidden states, all of them, and each layer's attention weights, to the
            sequence itself and to the source.
        """
        tokens = self._token_mask(inputs)
        head_masks = self._head_masks(inputs["head_mask"])
        source = None
        if (mask := inputs.get("encoder_attention_mask")) is not None:
            tokens_of_source = mask if mask.dtype == tf.bool else mask != 0
            source = Source(inputs["encoder_hidden_states"], tokens_of_source)
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
            training=training,
            recompute=recompute,
        )

    def step(
        self,
        input_ids: tf.Tensor,
        position_ids: tf.Tensor,
        langs: tf.Tensor | None,
        tokens: tf.Tensor,
        cache: Any,
        encoder_hidden_states: tf.Tensor | None = None,
        encoder_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Hidden states of new positions alone: a step of generation, which checks nothing.

        It may run inside a graph. No tensor of the whole sequence is made but the attention mask.

        Args:
            input_ids, position_ids: integer, shape (batch, new).
            langs: integer, shape (batch, new), or None.
            tokens: bool, shape (batch, key): which of the keys that `cache` returns are tokens;
                what lies behind the new positions is not.
            cache: A `KeyValueCache` or `CacheBuffers`.
            encoder_hidden_states: Of a decoder: float, shape (batch, source, hidden); not needed
                where the cache holds the keys and values of the source.
            encoder_mask: Of a decoder: bool, shape (batch, source): False for padding.

        Returns:
            float, shape (batch, new, hidden).
        """
        source = None
        if encoder_mask is not None:
            if encoder_hidden_states is None:  # a cache that lacked the keys would not fit the mask
                encoder_hidden_states = tf.zeros((shape_of(tokens)[0], 0, 0), self.compute_dtype)
            source = Source(encoder_hidden_states, encoder_mask)
        cached, new = cache.get_seq_length(), shape_of(input_ids)[1]
        head_masks: list[tf.Tensor | None] = [None] * self.config.n_layers
        path = fast_path(
            self,
            tokens,
            cache=cache,
            cached=cached,
            new=new,
            head_masks=head_masks,
            output_attentions=False,
            output_hidden_states=False,
            output_positions=None,
            source=source,
        ) or FormulaPath(
            self,
            tokens,
            cache=cache,
            cached=cached,
            new=new,
            head_masks=head_masks,
            source=source,
        )
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "langs": langs}
        given = {name: as_index(x) for name, x in inputs.items() if x is not None}
        return self._run(path, given)[0]

    def _run(
        self,
        path: Any,
        new: dict[str, tf.Tensor],
        *,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        embedding_matrix: tf.Tensor | None = None,
        training: bool = False,
        recompute: bool = False,
    ) -> tuple[tf.Tensor, _Tensors, _Tensors, _Tensors]:
        """`_encode`, of a path that was chosen and of what `_embed` needs of the new positions."""
        hidden = self._embed(
            {name: path.unpad(x) for name, x in new.items()},
            embedding_matrix,
            self.draw_seed(training),
        )
        hidden = path.zero_padding(hidden)
        hidden_states: list[tf.Tensor] = []
        weights = []
        for layer in range(self.config.n_layers):
            if output_hidden_states:
                hidden_states.append(path.pad(hidden))
                hidden = path.unpad(hidden_states[-1])  # so that gradients flow through it
            run = _recomputed(path.layer) if recompute else path.layer
            hidden, *of_layer = run(layer, hidden, self.draw_seed(training), path.source)
            weights.append(of_layer)
        hidden = path.pad(hidden, last=True)
        attentions = [tuple(each) for each in zip(*weights, strict=True)]
        return (
            hidden,
            (*hidden_states, hidden) if output_hidden_states else None,
            attentions[0] if output_attentions else None,
            attentions[1] if output_attentions and len(attentions) > 1 else None,
        )

    def _embed(
        self,
        inputs: dict[str, tf.Tensor],
        matrix: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Words, positions and languages, added and normalised.

        Args:
            inputs: input_ids or inputs_embeds, position_ids, and if given langs and
                token_type_ids: of any leading shape, which is one for all of them.
            matrix: As `embedding_matrix` in `call`.
            seed: Of the dropout, in training.

        Returns:
            float, shape (..., hidden).
        """
        if "inputs_embeds" in inputs:
            hidden = tf.cast(inputs["inputs_embeds"], self.compute_dtype)
        else:
            hidden = embedding(self.embeddings, inputs["input_ids"], matrix)
        hidden = hidden + self.position_embeddings(inputs["position_ids"])
        if "langs" in inputs and self.config.has_lang_embeddings:
            hidden = hidden + self.lang_embeddings(inputs["langs"])
        if "token_type_ids" in inputs:
            hidden = hidden + embedding(self.embeddings, inputs["token_type_ids"], matrix)
        return dropout(self.layer_norm_emb(hidden), self.config.dropout, seed, site=0)

    def _layer(
        self,
        layer: int,
        hidden: tf.Tensor,
        attention_mask: tf.Tensor,
        head_mask: tf.Tensor | None,
        cache: Any,
        seed: tf.Tensor | None,
        source: Source | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """One layer: each sublayer's output is added to its input, then normalised.

        Args:
            layer: Which.
            hidden: float, shape (batch, new, hidden).
            attention_mask, head_mask, cache, seed: As in `MultiHeadAttention.call`.
            source: What a decoder's layer attends to as well.

        Returns:
            The hidden states, float, shape (batch, new, hidden), and the attention weights, with a
            source those to it as well.
        """
        context, *weights = self.attentions[layer](
            hidden, attention_mask, head_mask=head_mask, cache=cache, seed=seed
        )
        context = dropout(context, self.config.dropout, seed, site=1)
        hidden = self.layer_norm1[layer](hidden + context)
        if source is not None:
            other = other_seed(seed)
            context, to_source = self.encoder_attn[layer](
                hidden, source.attention_mask, cache=cache, source=source.hidden, seed=other
            )
            context = dropout(context, self.config.dropout, other, site=1)
            hidden = self.layer_norm15[layer](hidden + context)
            weights.append(to_source)
        hidden = self.layer_norm2[layer](hidden + self.ffns[layer](hidden, seed))
        return hidden, *weights

    def _token_mask(self, inputs: Mapping[str, tf.Tensor | None]) -> tf.Tensor:
        """bool, shape (batch, sequence): True for tokens, False for padding."""
        if (attention_mask := inputs["attention_mask"]) is not None:
            return attention_mask if attention_mask.dtype == tf.bool else attention_mask != 0
        input_ids = inputs["input_ids"]
        shaped = input_ids if input_ids is not None else inputs["inputs_embeds"]
        batch, sequence = shape_of(shaped)[:2]
        if (lengths := inputs["lengths"]) is not None:
            return tf.range(sequence) < tf.cast(lengths, tf.int32)[:, None]
        if input_ids is not None:
            return as_index(input_ids) != self.config.pad_index
        return tf.ones((batch, sequence), dtype=tf.bool)

    def _new_positions(
        self, inputs: Mapping[str, tf.Tensor | None], cached: int | tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """What `_embed` needs of the positions that are not cached.

        Shape (batch, new), or (batch, new, hidden) of inputs_embeds, or (new,) of positions that
        are the same for all sentences.
        """
        names = ("input_ids", "inputs_embeds", "langs", "token_type_ids", "position_ids")
        given = {name: x for name in names if (x := inputs[name]) is not None}
        new = {name: x[:, cached:] for name, x in given.items()}
        if "position_ids" not in new:
            words = given["input_ids" if "input_ids" in given else "inputs_embeds"]
            new["position_ids"] = tf.range(shape_of(words)[1])[cached:]
        return {name: x if name == "inputs_embeds" else as_index(x) for name, x in new.items()}

    def _head_masks(self, head_mask: tf.Tensor | None) -> list[tf.Tensor | None]:
        """For each layer its mask, broadcastable to (batch, heads that remain, query, key)."""
        layers = range(self.config.n_layers)
        return [
            None if head_mask is None else self._head_mask(head_mask, layer) for layer in layers
        ]

    def _head_mask(self, head_mask: tf.Tensor, layer: int) -> tf.Tensor:
        if head_mask.shape.rank == 1:
            mask = tf.reshape(head_mask, (1, -1, 1, 1))
        elif head_mask.shape.rank == 2:
            mask = tf.reshape(head_mask[layer], (1, -1, 1, 1))
        else:
            mask = head_mask[layer]
        remaining = self.config.heads_of(layer)
        if len(remaining) < self.config.n_heads == mask.shape[1]:
            mask = tf.gather(mask, remaining, axis=1)
        return mask

    def keep_heads(self, layer: int, heads: list[int]) -> None:
        """Keep only the attention heads at these places among those that `layer` still has."""
        self.attentions[layer].keep_heads(heads)


class FormulaPath:
    """How one call is computed by the formulas alone: every position, padding zeroed.

    `xlm_tf.fast.path.FastPath` has the same methods.

    Args:
        encoder: The model that is called.
        tokens: bool, shape (batch, sequence): False for padding.
        cache, cached: What holds earlier keys and values, and for how many positions.
        head_masks: For each layer, what its attention weights are multiplied by, if anything.
        new: Positions that are computed after the cached ones; None: all that follow.
        source: What a decoder attends to.

    Attributes:
        source: Its hidden states.
    """

    def __init__(
        self,
        encoder: TFXLMModel,
        tokens: tf.Tensor,
        *,
        cache: Any,
        cached: int | tf.Tensor,
        head_masks: list[tf.Tensor | None],
        new: int | tf.Tensor | None = None,
        source: Source | None = None,
    ) -> None:
        self.encoder, self.cache, self.head_masks = encoder, cache, head_masks
        causal = encoder.config.causal
        self.attention_mask = attention_mask_of(tokens, causal=causal, cached=cached, new=new)
        if new is None:
            computed = tokens[:, cached:]
        else:
            computed = tf.slice(tokens, (0, cached), (shape_of(tokens)[0], new))
        self.tokens = tf.expand_dims(computed, 2)
        self.source = None if source is None else source.hidden
        self.source_tokens = None if source is None else source.tokens

    def unpad(self, x: tf.Tensor) -> tf.Tensor:
        """The whole batch, as it is."""
        return x

    def pad(self, hidden: tf.Tensor, *, last: bool = False) -> tf.Tensor:
        """The whole batch, as it is."""
        return hidden

    def zero_padding(self, hidden: tf.Tensor) -> tf.Tensor:
        """Zeros where there is padding."""
        return hidden * tf.cast(self.tokens, hidden.dtype)

    def layer(
        self,
        index: int,
        hidden: tf.Tensor,
        seed: tf.Tensor | None,
        source: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """`TFXLMModel._layer`, padding zeroed; `source` is the path's."""
        arguments: tuple[Any, ...] = (self.attention_mask, self.head_masks[index], self.cache, seed)
        if source is not None:
            arguments = (*arguments, Source(source, self.source_tokens))
        hidden, *weights = self.encoder._layer(index, hidden, *arguments)
        return self.zero_padding(hidden), *weights


@dataclass(frozen=True)
class Source:
    """What a decoder attends to.

    Attributes:
        hidden: The last hidden states of an encoder, float, shape (batch, source, hidden).
        tokens: bool, shape (batch, source): False for padding.
    """

    hidden: tf.Tensor
    tokens: tf.Tensor

    @property
    def attention_mask(self) -> tf.Tensor:
        """bool, broadcastable to (batch, heads, query, source): True where visible."""
        return attention_mask_of(self.tokens, causal=False)


_Tensors = tuple[tf.Tensor, ...] | None


def _default(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def if_fitting(
    output_positions: tf.Tensor | int | None, inputs: Mapping[str, tf.Tensor | None]
) -> tf.Tensor | int | None:
    """`output_positions`, or None if its shape is another than the batch's.

    Whoever asked for them refuses the labels that they come from, when the encoder is done.
    """
    if output_positions is None or isinstance(output_positions, int):
        return output_positions
    input_ids, inputs_embeds = inputs["input_ids"], inputs["inputs_embeds"]
    shaped: tf.Tensor = input_ids if input_ids is not None else inputs_embeds
    fitting = output_positions.shape.is_compatible_with(shaped.shape[:2])
    return output_positions if fitting else None


def _recomputed(run: Callable[..., Any]) -> Callable[..., Any]:
    """A path's `layer` that is computed again in the backward pass.

    The seed makes its dropout the same.
    """

    def layer(
        index: int, hidden: tf.Tensor, seed: tf.Tensor | None, source: tf.Tensor | None
    ) -> tuple[Any, ...]:
        # Gradients flow to what it is called with: so the source is among that.
        @tf.recompute_grad
        def compute(hidden: tf.Tensor, *source: tf.Tensor) -> list[tf.Tensor]:
            return [x for x in run(index, hidden, seed, *source) if x is not None]

        hidden, *weights = compute(hidden, *([] if source is None else [source]))
        return (hidden, *weights) if weights else (hidden, None, None)

    return layer
