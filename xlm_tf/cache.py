"""A key-value cache for causal models."""

from __future__ import annotations

import tensorflow as tf

from xlm_core.inputs import check_cache_batch


class KeyValueCache:
    """Keys and values of the positions that a causal model has already seen.

    Any object with these two methods serves as `cache`.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def update(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Append the new positions of one layer and return all of them.

        Args:
            key, value: float, shape (batch, heads, new, head_dim).
            layer: Index of the layer, from 0.

        Returns:
            Keys and values, float, shape (batch, heads, cached + new, head_dim).

        Raises:
            InputError: If the cache holds another number of sentences.
        """
        if layer in self._layers:
            past_key, past_value = self._layers[layer]
            check_cache_batch(past_key.shape[0], key.shape[0])
            key = tf.concat((past_key, key), axis=2)
            value = tf.concat((past_value, value), axis=2)
        self._layers[layer] = (key, value)
        return key, value

    def get_seq_length(self) -> int:
        """Number of positions held."""
        return int(self._layers[0][0].shape[2]) if 0 in self._layers else 0
