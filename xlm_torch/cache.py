"""Key-value caches for causal models and decoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
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
        self._grown: dict[int, Pair] = {}  # what is held of a layer without reserved memory
        # Of a layer with: (batch, max_length, heads, head_dim), and how many positions are held.
        self._buffers: dict[int, Pair] = {}
        self._lengths: dict[int, int] = {}
        self._cross: dict[int, Pair] = {}
        # int64, shape (batch, positions): which row computed what a row holds of a position; equal
        # numbers in a column, equal keys and values. Only positions before the last `select`.
        self._origins: NDArray[np.int64] | None = None

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
        held = self._held(layer)
        cached = 0 if held is None else held[0].shape[2]
        if held is not None:
            check_cache_batch(held[0].shape[0], key.shape[0])
        if self.max_length is not None:
            check_cache_length(self.max_length, cached + key.shape[2])
        if self.max_length is None or (torch.is_grad_enabled() and _require_grad(key, value)):
            self._buffers.pop(layer, None)
            if held is not None:
                key, value = torch.cat((held[0], key), dim=2), torch.cat((held[1], value), dim=2)
            self._grown[layer] = (key, value)
            return key, value
        buffers = self._buffers.get(layer)
        if buffers is None:
            buffers = _reserved(key, self.max_length), _reserved(value, self.max_length)
            self._buffers[layer] = buffers
            for buffer, past in zip(buffers, held or (), strict=False):
                buffer[:, :cached] = past.transpose(1, 2)
            self._grown.pop(layer, None)
        total = cached + key.shape[2]
        buffers[0][:, cached:total] = key.transpose(1, 2)
        buffers[1][:, cached:total] = value.transpose(1, 2)
        self._lengths[layer] = total
        return _first_positions(buffers, total)

    def _held(self, layer: int) -> Pair | None:
        """Keys and values of a layer, float, shape (batch, heads, cached, head_dim)."""
        if layer in self._buffers:
            return _first_positions(self._buffers[layer], self._lengths[layer])
        return self._grown.get(layer)

    def get_seq_length(self) -> int:
        """Number of positions held."""
        held = self._held(0)
        return 0 if held is None else int(held[0].shape[2])

    def is_reserved(self, layers: int) -> bool:
        """Whether so many layers hold equally many positions, in reserved memory with room left."""
        lengths = {self._lengths[layer] for layer in self._buffers}
        return (
            len(self._buffers) == layers
            and len(lengths) == 1
            and self.max_length is not None
            and lengths.pop() < self.max_length
        )

    def open_position(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Count one more position of all layers, for the caller to write, if `is_reserved`.

        Returns:
            Of each layer, where its key and its value are to be written, float, shape
            (batch, heads * head_dim), and all keys and values, those included, float, shape
            (batch, heads, cached + 1, head_dim).
        """
        opened = []
        for layer, buffers in sorted(self._buffers.items()):
            place = self._lengths[layer]
            check_cache_length(buffers[0].shape[1], place + 1)
            self._lengths[layer] = place + 1
            new = [buffer.select(1, place).flatten(1) for buffer in buffers]
            opened.append((new[0], new[1], *_first_positions(buffers, place + 1)))
        return opened

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
        for layer, (key, value) in self._grown.items():
            self._grown[layer] = (key.index_select(0, rows), value.index_select(0, rows))
        if self._buffers:
            self._select_in_place(rows)
        else:
            self._origins = None
        if sources:
            for layer, (key, value) in self._cross.items():
                self._cross[layer] = (key.index_select(0, rows), value.index_select(0, rows))

    def _select_in_place(self, rows: Tensor) -> None:
        """`select` in reserved memory: what a row held already, like its source, is not moved.

        Beams of a sentence have all but their last few positions in common.
        """
        batch, positions = next(iter(self._buffers.values()))[0].shape[:2]
        cached = max(self._lengths[layer] for layer in self._buffers)
        origins = np.arange(batch)[:, None].repeat(cached, axis=1)
        if self._origins is not None:
            known = min(self._origins.shape[1], cached)
            origins[:, :known] = self._origins[:, :known]
        chosen = rows.cpu().numpy()
        self._origins = origins[chosen]
        if len(chosen) > batch:
            for layer, buffers in self._buffers.items():
                held, wider = self._lengths[layer], []
                for buffer in buffers:
                    wider.append(buffer.new_empty((len(chosen), *buffer.shape[1:])))
                    wider[-1][:, :held] = buffer[:, :held].index_select(0, rows)
                self._buffers[layer] = (wider[0], wider[1])
            return
        row, position = (self._origins != origins[: len(chosen)]).nonzero()
        moved = [torch.from_numpy(r * positions + position) for r in (chosen[row], row)]
        source, target = (each.to(rows.device) for each in moved)
        for layer, (key, value) in self._buffers.items():
            if len(source):
                for buffer in (key, value):
                    vectors = buffer.view(batch * positions, *buffer.shape[2:])
                    vectors.index_copy_(0, target, vectors.index_select(0, source))
            self._buffers[layer] = (key[: len(chosen)], value[: len(chosen)])


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
    """Of (batch, heads, new, head_dim), memory of the shape (batch, positions, heads, head_dim)."""
    batch, heads, _, width = new.shape
    return new.new_empty((batch, positions, heads, width))


def _first_positions(buffers: Pair, total: int) -> Pair:
    """Keys and values of these many positions, float, shape (batch, heads, total, head_dim)."""
    key, value = buffers
    return key[:, :total].transpose(1, 2), value[:, :total].transpose(1, 2)


def _require_grad(*tensors: Tensor) -> bool:
    return any(tensor.requires_grad for tensor in tensors)
