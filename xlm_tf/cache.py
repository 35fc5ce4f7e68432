"""Key-value caches for causal models: what `call` takes, and what a generation's loop carries."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from xlm_core.errors import InputError
from xlm_core.inputs import check_cache_batch
from xlm_tf.layers import shape_of

Pair = tuple[tf.Tensor, tf.Tensor]


class KeyValueCache:
    """Keys and values of the positions that a causal model has already seen.

    Any object with `update` and `get_seq_length` serves as `cache`; a decoder that attends to a
    source asks for `cross` and `update_cross` too.

    Args:
        max_length: How many positions it may hold; None: any number.
    """

    def __init__(self, max_length: int | None = None) -> None:
        self.max_length = max_length
        self._layers: dict[int, Pair] = {}
        self._cross: dict[int, Pair] = {}

    def update(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> Pair:
        """Append the new positions of one layer and return all of them.

        Args:
            key, value: float, shape (batch, heads, new, head_dim).
            layer: Index of the layer, from 0.

        Returns:
            Keys and values, float, shape (batch, heads, cached + new, head_dim).

        Raises:
            InputError: If the cache holds another number of sentences, or the new positions are
                more than it may hold.
        """
        if layer in self._layers:
            past_key, past_value = self._layers[layer]
            check_cache_batch(past_key.shape[0], key.shape[0])
            key = tf.concat((past_key, key), axis=2)
            value = tf.concat((past_value, value), axis=2)
        self._hold({layer: (key, value)})
        return key, value

    def _hold(self, layers: dict[int, Pair]) -> None:
        """Hold these in the place of what was held of the same layers."""
        for key, _ in layers.values():
            if self.max_length is not None and (key.shape[2] or 0) > self.max_length:
                raise InputError(
                    f"the cache holds up to {self.max_length} positions, and these make "
                    f"{key.shape[2]}: make it with a larger max_length."
                )
        self._layers.update(layers)

    def get_seq_length(self) -> int:
        """Number of positions held."""
        return int(self._layers[0][0].shape[2]) if 0 in self._layers else 0

    def cross(self, layer: int) -> Pair | None:
        """Keys and values of the source, float, (batch, heads, source, head_dim); None: not yet."""
        return self._cross.get(layer)

    def update_cross(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> None:
        """Hold the keys and values that `layer` attends to in the source.

        Args:
            key, value: float, shape (batch, heads, source, head_dim).
            layer: Index of the layer, from 0.
        """
        self._cross[layer] = (key, value)

    def select(self, rows: tf.Tensor, *, sources: bool = True) -> None:
        """Keep these sentences, in this order: for beams, and for batches that sentences leave.

        Args:
            rows: integer, shape (rows,): which of the batch.
            sources: False: the rows have the same sources in the same order as before.
        """
        for held in (self._layers, self._cross) if sources else (self._layers,):
            for layer, (key, value) in held.items():
                held[layer] = (tf.gather(key, rows), tf.gather(value, rows))


class CacheBuffers:
    """Preallocated keys and values, for loops inside a graph, where shapes stay as they are.

    It serves as a `KeyValueCache` does, but returns whole buffers: the attention mask hides what
    lies behind the held positions, which are zeros. A graph writes a new position in place.

    Args:
        keys, values: Of each layer, float, shape (batch, heads, capacity, head_dim), zeros from
            `length` on. None: nothing is held, and the first `update` makes buffers.
        length: Positions held.
        cross: Of each layer, keys and values of the source.
        capacity: Of the buffers that the first `update` makes.
    """

    def __init__(
        self,
        keys: Sequence[tf.Tensor] = (),
        values: Sequence[tf.Tensor] = (),
        *,
        length: int | tf.Tensor = 0,
        cross: Sequence[Pair] = (),
        capacity: int | tf.Tensor = 0,
    ) -> None:
        self.layers = dict(enumerate(zip(keys, values, strict=True)))
        self.length, self.capacity = length, capacity
        self._cross = dict(enumerate(cross))

    @property
    def keys(self) -> tuple[tf.Tensor, ...]:
        """Of each layer, float, shape (batch, heads, capacity, head_dim)."""
        return tuple(self.layers[layer][0] for layer in sorted(self.layers))

    @property
    def values(self) -> tuple[tf.Tensor, ...]:
        """Of each layer, float, shape (batch, heads, capacity, head_dim)."""
        return tuple(self.layers[layer][1] for layer in sorted(self.layers))

    @property
    def crosses(self) -> tuple[Pair, ...]:
        """Of each layer that attends to a source, its keys and values."""
        return tuple(self._cross[layer] for layer in sorted(self._cross))

    def update(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> Pair:
        """Write the new positions of one layer after those held.

        Args:
            key, value: float, shape (batch, heads, new, head_dim).
            layer: Index of the layer, from 0.

        Returns:
            Keys and values: the buffers, float, shape (batch, heads, capacity, head_dim); where
            nothing was held, the new positions alone.
        """
        if layer not in self.layers:
            self.layers[layer] = (grown(key, self.capacity), grown(value, self.capacity))
            return key, value
        held_key, held_value = self.layers[layer]
        pair = (_written(held_key, key, self.length), _written(held_value, value, self.length))
        self.layers[layer] = pair
        return pair

    def get_seq_length(self) -> int | tf.Tensor:
        """Number of positions held before this call."""
        return self.length

    def cross(self, layer: int) -> Pair | None:
        """As in `KeyValueCache`."""
        return self._cross.get(layer)

    def update_cross(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> None:
        """As in `KeyValueCache`."""
        self._cross[layer] = (key, value)


def grown(buffer: tf.Tensor, capacity: int | tf.Tensor) -> tf.Tensor:
    """(batch, heads, positions, head_dim) with zeros up to `capacity` positions."""
    more = capacity - shape_of(buffer)[2]
    if isinstance(more, int) and more == 0:
        return buffer
    return tf.pad(buffer, ((0, 0), (0, 0), (0, more), (0, 0)))


def _written(buffer: tf.Tensor, new: tf.Tensor, start: int | tf.Tensor) -> tf.Tensor:
    """The buffer with new positions from `start` on, where it holds zeros."""
    batch, heads, count, width = shape_of(new)
    rows = tf.range(batch * heads * count)
    indices = tf.stack((rows // (heads * count), rows // count % heads, start + rows % count), 1)
    updates = tf.reshape(new, (-1, width))
    if tf.executing_eagerly() or GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return tf.tensor_scatter_nd_update(buffer, indices, updates)
    # `tensor_scatter_nd_update` copies the buffer at every step of a loop: 50 times the time at
    # 512 positions. This one writes in place where nothing else holds the buffer.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=buffer, indices=indices, updates=updates)
