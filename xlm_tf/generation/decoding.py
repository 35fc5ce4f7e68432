"""How a model gives the logits of the next token: three kinds of models, one protocol.

`first` reads what is given and returns the logits of its end, with the state of the decoding;
`next` appends a token to every row. Shapes: rows (sequences that are generated), source, capacity (positions that there is
room for), vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from xlm_tf.cache import CacheBuffers, grown
from xlm_tf.fast.rule import are_traced
from xlm_tf.language_model import TiedLinear
from xlm_tf.layers import shape_of

# Tensors by name, so that a loop in a graph, or a graph of one step, can carry them.
State = dict[str, tf.Tensor]
# Positions that buffers have room for are a multiple of this.
BLOCK = 64
_OF_SOURCE = ("encoder_hidden_states", "encoder_mask")
_CACHE = ("key", "value", "source_key", "source_value")


class CachedDecoding:
    """A causal model, of whose earlier positions the keys and values are held.

    Args:
        encoder: The `TFXLMModel` that runs: a language model's encoder, or a decoder.
        pred_layer: Its hidden states to logits.
    """

    def __init__(self, encoder: Any, pred_layer: Any) -> None:
        self.encoder, self.pred_layer = encoder, pred_layer

    def first(
        self, given: Mapping[str, tf.Tensor], capacity: int | tf.Tensor
    ) -> tuple[tf.Tensor, State]:
        """Read the prompts.

        Args:
            given: `input_ids`, integer, shape (rows, prompt); `tokens`, bool, shape (rows, prompt):
                False for padding, on either side; `langs`, integer, shape (rows, prompt), and
                `new_langs`, integer, shape (rows,), or neither. For a decoder also
                `encoder_hidden_states`, float, shape (rows, source, hidden), and `encoder_mask`,
                bool, shape (rows, source).
            capacity: Positions that there is to be room for.

        Returns:
            Logits after the last token of each prompt, float, shape (rows, vocabulary), and the
            state.
        """
        input_ids, tokens = given["input_ids"], given["tokens"]
        counts = tf.cumsum(tf.cast(tokens, tf.int32), axis=1)
        cache = CacheBuffers(capacity=capacity)
        hidden = self.encoder.step(
            input_ids,
            tf.maximum(counts - 1, 0),
            given.get("langs"),
            tokens,
            cache,
            **{name: given[name] for name in _OF_SOURCE if name in given},
        )
        prompt = shape_of(input_ids)[1]
        # The last token of each row, wherever its padding is.
        ends = tf.reduce_max(tf.where(tokens, tf.range(prompt), 0), axis=1)
        state = {
            **_held(cache),
            "length": tf.convert_to_tensor(prompt, tf.int32),
            "tokens": with_room(tokens, capacity),
            "positions": counts[:, -1],
        }
        if "new_langs" in given:
            state["new_langs"] = given["new_langs"]
        if "encoder_mask" in given:
            state["encoder_mask"] = given["encoder_mask"]
        return self._logits(tf.gather(hidden, ends, batch_dims=1)), state

    def next(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Append a token to every row, for which the state must have room.

        Args:
            ids: integer, shape (rows,).
            state: As it was left.

        Returns:
            The logits after it, float, shape (rows, vocabulary), and the state.
        """
        length = state["length"]
        tokens = state["tokens"] | (tf.range(shape_of(state["tokens"])[1]) == length)
        keys, values, *of_source = (_layers(state, name) for name in _CACHE)
        cross = tuple(zip(*of_source, strict=True))
        cache = CacheBuffers(keys, values, length=length, cross=cross)
        source: dict[str, Any] = {}
        if "encoder_mask" in state:
            source = {"encoder_hidden_states": None, "encoder_mask": state["encoder_mask"]}
        hidden = self.encoder.step(
            ids[:, None],
            state["positions"][:, None],
            state["new_langs"][:, None] if "new_langs" in state else None,
            tokens,
            cache,
            **source,
        )
        state = state | {
            **_held(cache),
            "length": length + 1,
            "tokens": tokens,
            "positions": state["positions"] + 1,
        }
        return self._logits(hidden[:, 0]), state

    def grow(self, state: State, capacity: int | tf.Tensor) -> State:
        """The state with room for `capacity` positions."""
        buffers = {
            name: grown(x, capacity)
            for name, x in state.items()
            if name.partition(".")[0] in ("key", "value")
        }
        return state | buffers | {"tokens": with_room(state["tokens"], capacity)}

    def _logits(self, hidden: tf.Tensor) -> tf.Tensor:
        return _scored(self.pred_layer, hidden, self.encoder)


class MaskedDecoding:
    """A bidirectional model: a mask token is appended, and everything computed again.

    Source: `prepare_inputs_for_generation` of transformers' XLMWithLMHeadModel.

    Args:
        model: A `TFXLMWithLMHeadModel`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def first(
        self, given: Mapping[str, tf.Tensor], capacity: int | tf.Tensor
    ) -> tuple[tf.Tensor, State]:
        """As `CachedDecoding.first`; the language of every position is `new_langs`."""
        input_ids = given["input_ids"]
        # There is room for the mask, too.
        state: State = {
            "ids": with_room(input_ids, capacity + 1),
            "length": tf.convert_to_tensor(shape_of(input_ids)[1], tf.int32),
            "tokens": with_room(given["tokens"], capacity + 1),
        }
        if "new_langs" in given:
            state["new_langs"] = given["new_langs"]
        return self._logits(state), state

    def next(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """As `CachedDecoding.next`."""
        here = tf.range(shape_of(state["ids"])[1]) == state["length"]
        state = state | {
            "ids": tf.where(here, tf.cast(ids, state["ids"].dtype)[:, None], state["ids"]),
            "tokens": state["tokens"] | here,
            "length": state["length"] + 1,
        }
        return self._logits(state), state

    def grow(self, state: State, capacity: int | tf.Tensor) -> State:
        """As `CachedDecoding.grow`."""
        return state | {name: with_room(state[name], capacity + 1) for name in ("ids", "tokens")}

    def _logits(self, state: State) -> tf.Tensor:
        """Those of a mask after the sequences."""
        length, ids = state["length"], state["ids"]
        here = tf.range(shape_of(ids)[1]) == length
        ids = tf.where(here, tf.cast(self.model.config.mask_token_id, ids.dtype), ids)
        tokens = state["tokens"] | here
        if not are_traced():
            # XLA and exports compute all that there is room for, as padding.
            ids, tokens = ids[:, : length + 1], tokens[:, : length + 1]
        langs = None
        if "new_langs" in state:
            langs = tf.broadcast_to(state["new_langs"][:, None], tf.shape(ids))
        encoder = self.model.transformer
        output = encoder(ids, attention_mask=tokens, langs=langs, return_dict=True)
        end = tf.gather(output.last_hidden_state, length, axis=1)
        return _scored(self.model.pred_layer, end, encoder)


Decoding = CachedDecoding | MaskedDecoding


def selected(state: State, rows: tf.Tensor) -> State:
    """The state of these rows, in this order.

    Args:
        state: Of a decoding.
        rows: integer, shape (rows,).
    """
    return {name: x if name == "length" else tf.gather(x, rows) for name, x in state.items()}


def room_for(length: Any) -> Any:
    """`length`, a number or a scalar tensor, rounded up to whole blocks."""
    return (length + BLOCK - 1) // BLOCK * BLOCK


def with_room(x: tf.Tensor, capacity: int | tf.Tensor) -> tf.Tensor:
    """(rows, positions) with zeros up to `capacity` positions."""
    return tf.pad(x, ((0, 0), (0, capacity - shape_of(x)[1])))


def _held(cache: CacheBuffers) -> State:
    """What a cache holds, by the names of `_CACHE` and the layer."""
    sources = tuple(zip(*cache.crosses, strict=True)) or ((), ())
    return {
        f"{name}.{layer}": x
        for name, layers in zip(_CACHE, (cache.keys, cache.values, *sources), strict=True)
        for layer, x in enumerate(layers)
    }


def _layers(state: State, name: str) -> tuple[tf.Tensor, ...]:
    """What the state holds under one of `_CACHE`, of each layer."""
    count = sum(each.partition(".")[0] == name for each in state)
    return tuple(state[f"{name}.{layer}"] for layer in range(count))


def _scored(pred_layer: Any, hidden: tf.Tensor, encoder: Any) -> tf.Tensor:
    """(rows, hidden) to logits, (rows, vocabulary)."""
    matrix = None
    if isinstance(pred_layer.proj, TiedLinear):
        matrix = tf.convert_to_tensor(encoder.embeddings.embeddings)
    return pred_layer(hidden, matrix)
