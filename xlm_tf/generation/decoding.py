"""Decodings: what gives the logits of the next token, of the three kinds of models.

They have the same methods: `first` gives the logits after the prompt, `next` those after one more
token, and both the state between them. The state is tensors by name, so that a loop in a graph, or
a graph of one step, can carry it; `select` reorders its rows, repeats them or leaves some out.

Shapes use the legend of `xlm_tf.model`; `rows` are the sentences at first, then what `select`
makes of them; `capacity`: the positions that there is room for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from xlm_tf.cache import CacheBuffers, grown
from xlm_tf.fast.rule import are_traced
from xlm_tf.layers import shape_of

State = dict[str, tf.Tensor]
Tensors = Mapping[str, tf.Tensor]
# Positions that there is room for are a multiple of this, unless shapes must be known.
BLOCK = 64
_CACHE = ("key", "value", "source_key", "source_value")
# What belongs to a sentence, and is the same for all its beams.
_OF_SENTENCES = (
    *("source_key", "source_value", "encoder_hidden_states", "encoder_mask"),
    *("following", "positions", "tokens", "is_unpadded"),
)


class CachedDecoding:
    """A causal language model, or a decoder over its sources: one position a step, and a cache.

    Padding of prompts is moved to the left, and positions are counted without it, so that each
    sentence gets what it would alone.

    Args:
        model: A causal language model, or an encoder-decoder.
    """

    def __init__(self, model: Any) -> None:
        self.body, self.pred_layer = _parts(model)

    def first(self, given: Tensors, capacity: int | tf.Tensor) -> tuple[tf.Tensor, State]:
        """Logits of the token after the prompt.

        Args:
            given: input_ids, integer, shape (rows, prompt); tokens, bool, shape (rows, prompt):
                False for padding; langs, integer, shape (rows, prompt), if there are any;
                following, integer, shape (rows,): the language of what is generated, if there is
                one; of a decoder, encoder_hidden_states, float, shape (rows, source, hidden), and
                encoder_mask, bool, shape (rows, source).
            capacity: At least one more than the prompt, but for one token.

        Returns:
            The logits, float, shape (rows, vocabulary), and the state.
        """
        prompt = moved_left({name: given[name] for name in _OF_PROMPT if name in given})
        tokens = prompt["tokens"]
        counts = tf.cumsum(tf.cast(tokens, tf.int32), axis=1)
        cache = CacheBuffers(capacity=capacity)
        source = (given[name] for name in _OF_SOURCE if name in given)
        hidden = self.body.step(
            prompt["input_ids"], tf.maximum(counts - 1, 0), prompt.get("langs"), tokens, cache,
            *source,
        )  # fmt: skip
        state = _held(cache) | {
            "length": tf.convert_to_tensor(shape_of(tokens)[1], tf.int32),
            "tokens": with_room(tokens, capacity),
            "positions": counts[:, -1],
        }
        kept = ("following", "encoder_mask")
        state |= {name: given[name] for name in kept if name in given}
        return self._logits(hidden), state

    def next(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Logits of the token after one more.

        Args:
            ids: integer, shape (rows,).
            state: As it was left, with room for a position.

        Returns:
            As `first`.
        """
        length = state["length"]
        tokens = state["tokens"] | (tf.range(shape_of(state["tokens"])[1]) == length)
        keys, values, *of_source = (_layers(state, name) for name in _CACHE)
        cross = tuple(zip(*of_source, strict=True))
        cache = CacheBuffers(keys, values, length=length, cross=cross)
        # Rows that are finished and stay in the batch may run out of positions.
        last = self.body.config.max_position_embeddings - 1
        positions = tf.minimum(state["positions"], last)
        langs = state["following"][:, None] if "following" in state else None
        source = (None, state["encoder_mask"]) if "encoder_mask" in state else ()
        hidden = self.body.step(ids[:, None], positions[:, None], langs, tokens, cache, *source)
        state = state | {
            **_held(cache),
            "length": length + 1,
            "tokens": tokens,
            "positions": state["positions"] + 1,
        }
        return self._logits(hidden), state

    def grow(self, state: State, capacity: int | tf.Tensor) -> State:
        """The state with room for `capacity` positions."""
        buffers = {
            name: grown(x, capacity)
            for name, x in state.items()
            if name.partition(".")[0] in ("key", "value")
        }
        return state | buffers | {"tokens": with_room(state["tokens"], capacity)}

    def _logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Of the last position."""
        return _scored(self.pred_layer, hidden[:, -1], self.body)


class UncachedDecoding:
    """A causal model whose code is not the library's alone: it is called with whole sequences.

    Args:
        model: As in `CachedDecoding`.
    """

    def __init__(self, model: Any) -> None:
        self.body, self.pred_layer = _parts(model)

    def first(self, given: Tensors, capacity: int | tf.Tensor) -> tuple[tf.Tensor, State]:
        """As in `CachedDecoding`."""
        prompt = moved_left({name: given[name] for name in _OF_PROMPT if name in given})
        state = {name: with_room(x, capacity) for name, x in prompt.items()}
        state["length"] = tf.convert_to_tensor(shape_of(given["tokens"])[1], tf.int32)
        kept = ("following", *_OF_SOURCE)
        state |= {name: given[name] for name in kept if name in given}
        return self._logits(state), state

    def next(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """As in `CachedDecoding`."""
        here = tf.range(shape_of(state["input_ids"])[1]) == state["length"]
        new = {"input_ids": tf.cast(ids, state["input_ids"].dtype)}
        if "following" in state:
            new["langs"] = tf.cast(state["following"], state["langs"].dtype)
        written = {name: tf.where(here, x[:, None], state[name]) for name, x in new.items()}
        state = state | written | {"tokens": state["tokens"] | here, "length": state["length"] + 1}
        return self._logits(state), state

    def grow(self, state: State, capacity: int | tf.Tensor) -> State:
        """As in `CachedDecoding`."""
        names = [name for name in _OF_PROMPT if name in state]
        return state | {name: with_room(state[name], capacity) for name in names}

    def _logits(self, state: State) -> tf.Tensor:
        length, tokens = state["length"], state["tokens"]
        counts = tf.cumsum(tf.cast(tokens, tf.int32), axis=1)
        last = self.body.config.max_position_embeddings - 1
        whole = {
            "input_ids": state["input_ids"],
            "attention_mask": tokens,
            "position_ids": tf.clip_by_value(counts - 1, 0, last),
        } | {name: state[name] for name in ("langs",) if name in state}
        if not are_traced():
            whole = {name: x[:, :length] for name, x in whole.items()}
        source = {}
        if "encoder_mask" in state:
            source = {
                "encoder_hidden_states": state["encoder_hidden_states"],
                "encoder_attention_mask": state["encoder_mask"],
            }
        options = {"output_attentions": False, "output_hidden_states": False, "training": False}
        output = self.body(**whole, **source, **options, return_dict=True)
        hidden = tf.gather(output.last_hidden_state, length - 1, axis=1)
        return _scored(self.pred_layer, hidden, self.body)


class MaskedDecoding:
    """A masked language model by transformers' procedure: a mask is appended, all is computed.

    Args:
        model: A `TFXLMWithLMHeadModel`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def first(self, given: Tensors, capacity: int | tf.Tensor) -> tuple[tf.Tensor, State]:
        """As in `CachedDecoding`; padding is hidden where it stands."""
        input_ids, room = given["input_ids"], capacity + 1  # for the mask as well
        length = shape_of(input_ids)[1]
        state: State = {
            "input_ids": with_room(input_ids, room),
            "length": tf.convert_to_tensor(length, tf.int32),
            "tokens": with_room(given["tokens"], room),
            "is_unpadded": tf.broadcast_to(tf.reduce_all(given["tokens"]), tf.shape(input_ids)[:1]),
        }
        if "following" in given:
            langs, following = given.get("langs"), given["following"]
            if langs is None:
                langs = tf.broadcast_to(following[:, None], tf.shape(input_ids))
            here = tf.range(room) < length
            state["langs"] = tf.where(here, with_room(langs, room), following[:, None])
            state["following"] = following
        return self._logits(state), state

    def next(self, ids: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """As in `CachedDecoding`."""
        here = tf.range(shape_of(state["input_ids"])[1]) == state["length"]
        ids = tf.cast(ids, state["input_ids"].dtype)
        state = state | {
            "input_ids": tf.where(here, ids[:, None], state["input_ids"]),
            "tokens": state["tokens"] | here,
            "length": state["length"] + 1,
        }
        return self._logits(state), state

    def grow(self, state: State, capacity: int | tf.Tensor) -> State:
        """As in `CachedDecoding`."""
        room = capacity + 1
        grown_state = {name: with_room(state[name], room) for name in ("input_ids", "tokens")}
        if "langs" in state:
            here = tf.range(room) < shape_of(state["langs"])[1]
            langs = with_room(state["langs"], room)
            grown_state["langs"] = tf.where(here, langs, state["following"][:, None])
        return state | grown_state

    def _logits(self, state: State) -> tf.Tensor:
        """Of a mask after the sequences."""
        config = self.model.config
        length, ids, langs = state["length"], state["input_ids"], state.get("langs")
        position = tf.range(shape_of(ids)[1])
        ids = tf.where(position == length, tf.cast(config.mask_token_id or 0, ids.dtype), ids)
        # As in transformers: padding that is generated hides the last position.
        real = (ids != config.pad_index) & (position <= length)
        counted = position < tf.reduce_sum(tf.cast(real, tf.int32), axis=1, keepdims=True)
        tokens = state["tokens"] | (position == length)
        tokens = tf.where(state["is_unpadded"][:, None], counted, tokens)
        static = are_traced()
        if not static:
            # XLA and exports compute all that there is room for, as padding.
            ids, tokens = ids[:, : length + 1], tokens[:, : length + 1]
            langs = None if langs is None else langs[:, : length + 1]
        encoded = self.model.encode(
            ids, tokens, langs, None, None, None, None, None, None, False, False, {},
            output_positions=None if static else -1, training=False,
        )  # fmt: skip
        hidden = tf.gather(encoded.last_hidden_state, length, axis=1)
        return _scored(self.model.pred_layer, hidden, self.model.transformer)


Decoding = CachedDecoding | UncachedDecoding | MaskedDecoding
_OF_PROMPT = ("input_ids", "tokens", "langs")
_OF_SOURCE = ("encoder_hidden_states", "encoder_mask")


def select(state: State, rows: tf.Tensor, *, sentences: bool = True) -> State:
    """Go on with these rows, in this order.

    Args:
        state: Of a decoding.
        rows: integer, shape (rows,).
        sentences: False: each is of the same sentence as the row that was in its place.
    """
    same = ("length",) if sentences else ("length", *_OF_SENTENCES)
    return {
        name: x if name.partition(".")[0] in same else tf.gather(x, rows)
        for name, x in state.items()
    }


def moved_left(prompt: Tensors) -> State:
    """Prompts with their padding on the left: input_ids, tokens and langs, (rows, prompt) each."""
    order = tf.argsort(tf.cast(prompt["tokens"], tf.int32), axis=1, stable=True)
    return {name: tf.gather(x, order, batch_dims=1) for name, x in prompt.items()}


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


def _parts(model: Any) -> tuple[Any, Any]:
    """The `TFXLMModel` that is causal, and its output layer."""
    if hasattr(model, "decoder"):
        return model.decoder, model.decoder.pred_layer
    return model.base_model, model.pred_layer


def _scored(pred_layer: Any, hidden: tf.Tensor, body: Any) -> tf.Tensor:
    """(rows, hidden) to logits, (rows, vocabulary)."""
    matrix = getattr(body.embeddings, "embeddings", None)
    return pred_layer(hidden, None if matrix is None else tf.convert_to_tensor(matrix))
