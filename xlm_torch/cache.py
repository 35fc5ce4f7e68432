"""Key-value caches for causal models and decoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xlm_core.inputs import check_cache_batch, check_cache_length

Pair = tuple[Tensor, Tensor]


class KeyValueCache:
    """Keys and values of the positions that a causal model has already seen.

    Any object with `update` and `get_seq_length` serves as `cache`; a decoder that attends to a
    source asks for `cross` and `update_cross` too.

    Args:
        max_length: How many positions it may hold: then memory is reserved once, and new positions
            are written in place, unless gradients flow through them. None: any number.
    """

    def __init__(self, max_length: int | None = None) -> None:
        self.max_length = max_length
        self._layers: dict[int, Pair] = {}  # what is held, of a layer with buffers a part of these
        self._buffers: dict[int, Pair] = {}
        self._cross: dict[int, Pair] = {}

    def update(self, key: Tensor, value: Tensor, layer: int) -> Pair:
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
        held = self._layers.get(layer)
        cached = 0 if held is None else held[0].shape[2]
        if held is not None:
            check_cache_batch(held[0].shape[0], key.shape[0])
        if self.max_length is not None:
            check_cache_length(self.max_length, cached + key.shape[2])
        if self.max_length is None or (torch.is_grad_enabled() and _require_grad(key, value)):
            self._buffers.pop(layer, None)
            if held is not None:
                key, value = torch.cat((held[0], key), dim=2), torch.cat((held[1], value), dim=2)
            self._layers[layer] = (key, value)
        else:
            buffers = self._buffers.get(layer)
            if buffers is None:
                buffers = _reserved(key, self.max_length), _reserved(value, self.max_length)
                self._buffers[layer] = buffers
                for buffer, past in zip(buffers, held or (), strict=False):
                    buffer[:, :, :cached] = past
            total = cached + key.shape[2]
            buffers[0][:, :, cached:total] = key
            buffers[1][:, :, cached:total] = value
            self._layers[layer] = (buffers[0][:, :, :total], buffers[1][:, :, :total])
        return self._layers[layer]

    def get_seq_length(self) -> int:
        """Number of positions held."""
        return int(self._layers[0][0].shape[2]) if 0 in self._layers else 0

    def cross(self, layer: int) -> Pair | None:
        """Keys and values of the source, float, (batch, heads, source, head_dim); None: not yet."""
        return self._cross.get(layer)

    def update_cross(self, key: Tensor, value: Tensor, layer: int) -> None:
        """Hold the keys and values that `layer` attends to in the source.

        Args:
            key, value: float, shape (batch, heads, source, head_dim).
            layer: Index of the layer, from 0.
        """
        self._cross[layer] = (key, value)

    def select(self, rows: Tensor, *, sources: bool = True) -> None:
        """Keep these sentences, in this order: for beams, and for batches that sentences leave.

        Args:
            rows: int64, shape (rows,): which of the batch.
            sources: False: the rows have the same sources in the same order as before.
        """
        moved = None
        for layer, held in self._layers.items():
            batch, _, cached, _ = held[0].shape
            if layer not in self._buffers or len(rows) > batch:
                selected = (held[0].index_select(0, rows), held[1].index_select(0, rows))
                self._layers[layer] = selected
                self._buffers.pop(layer, None)  # made anew by the next `update`
                continue
            if moved is None:
                moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero().squeeze(1)
            key, value = (buffer[: len(rows)] for buffer in self._buffers[layer])
            for buffer, past in zip((key, value), held, strict=True):
                if len(moved):
                    buffer[moved, :, :cached] = past.index_select(0, rows[moved])
            self._buffers[layer] = (key, value)
            self._layers[layer] = (key[:, :, :cached], value[:, :, :cached])
        if sources:
            for layer, (key, value) in self._cross.items():
                self._cross[layer] = (key.index_select(0, rows), value.index_select(0, rows))


class CacheBuffers:
    """Preallocated keys and values of a fixed shape, for a step that is compiled.

    It serves as a `KeyValueCache` does, but returns whole buffers: the attention mask hides what
    lies behind the held positions, which are zeros. New positions are written in place.

    Args:
        keys, values: Of each layer, float, shape (batch, heads, capacity, head_dim), zeros from
            `length` on. None: nothing is held, and the first `update` makes buffers.
        length: Positions held; a tensor, int64 of no dimension, where a compiled step takes it.
        cross: Of each layer, keys and values of the source.
        capacity: Of the buffers that the first `update` makes.
    """

    def __init__(
        self,
        keys: Sequence[Tensor] = (),
        values: Sequence[Tensor] = (),
        *,
        length: int | Tensor = 0,
        cross: Sequence[Pair] = (),
        capacity: int = 0,
    ) -> None:
        self.layers = dict(enumerate(zip(keys, values, strict=True)))
        self.length, self.capacity = length, capacity
        self._cross = dict(enumerate(cross))

    @property
    def keys(self) -> tuple[Tensor, ...]:
        """Of each layer, float, shape (batch, heads, capacity, head_dim)."""
        return tuple(self.layers[layer][0] for layer in sorted(self.layers))

    @property
    def values(self) -> tuple[Tensor, ...]:
        """Of each layer, float, shape (batch, heads, capacity, head_dim)."""
        return tuple(self.layers[layer][1] for layer in sorted(self.layers))

    @property
    def crosses(self) -> tuple[Pair, ...]:
        """Of each layer that attends to a source, its keys and values."""
        return tuple(self._cross[layer] for layer in sorted(self._cross))

    def update(self, key: Tensor, value: Tensor, layer: int) -> Pair:
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
        held = self.layers[layer]
        positions = self.length + torch.arange(key.shape[2], device=key.device)
        held[0].index_copy_(2, positions, key)
        held[1].index_copy_(2, positions, value)
        return held

    def get_seq_length(self) -> int | Tensor:
        """Number of positions held before this call."""
        return self.length

    def cross(self, layer: int) -> Pair | None:
        """As in `KeyValueCache`."""
        return self._cross.get(layer)

    def update_cross(self, key: Tensor, value: Tensor, layer: int) -> None:
        """As in `KeyValueCache`."""
        self._cross[layer] = (key, value)


def grown(buffer: Tensor, capacity: int) -> Tensor:
    """(batch, heads, positions, head_dim) with zeros up to `capacity` positions."""
    batch, heads, positions, width = buffer.shape
    whole = buffer.new_zeros((batch, heads, capacity, width))
    whole[:, :, :positions] = buffer
    return whole


def _reserved(new: Tensor, positions: int) -> Tensor:
    batch, heads, _, width = new.shape
    return new.new_empty((batch, heads, positions, width))


def _require_grad(*tensors: Tensor) -> bool:
    return any(tensor.requires_grad for tensor in tensors)
