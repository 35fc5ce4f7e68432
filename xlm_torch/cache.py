"""A key-value cache for causal models and decoders."""

from __future__ import annotations

import torch
from torch import Tensor

from xlm_core.inputs import check_cache_batch


class KeyValueCache:
    """Keys and values of the positions that a causal model has already seen.

    Any object with these two methods serves as `cache`; transformers' DynamicCache is one.
    """

    def __init__(self) -> None:
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._cross: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
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
            key = torch.cat((past_key, key), dim=2)
            value = torch.cat((past_value, value), dim=2)
        self._layers[layer] = (key, value)
        return key, value

    def cross(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of the source that `update_cross` was given for one layer, if any."""
        return self._cross.get(layer)

    def update_cross(self, key: Tensor, value: Tensor, layer: int) -> None:
        """Hold the keys and values of the source, which are the same at every step.

        Args:
            key, value: float, shape (batch, heads, source, head_dim).
            layer: Index of the layer, from 0.
        """
        self._cross[layer] = (key, value)

    def get_seq_length(self) -> int:
        """Number of positions held."""
        return int(self._layers[0][0].shape[2]) if 0 in self._layers else 0
