"""Memory for a large gradient that each step of training makes, used again in the next one."""

from __future__ import annotations

import weakref
from contextlib import suppress

import torch
from torch import Tensor, nn

# Bytes. The C library keeps smaller blocks for the next one by itself.
SMALLEST_REUSED = 2**25


class ReusedMemory:
    """A block of memory that is lent again once nobody holds what was written to it.

    Of large blocks, the system hands out fresh memory each time, page by page and zeroed, which
    took up to a third of a step (measured). At most one block is kept while nobody uses it.
    """

    def __init__(self) -> None:
        self._spare: list[Tensor] = []

    def empty_like(self, like: Tensor) -> Tensor:
        """As in `torch.empty_like`; contiguous."""
        if (
            like.numel() * like.element_size() < SMALLEST_REUSED
            or like.device.type != "cpu"
            or like.dtype not in (torch.float32, torch.float64)
        ):
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        block = torch.empty(0)
        with suppress(IndexError):  # another thread was faster
            block = self._spare.pop()
        if block.shape != like.shape or block.dtype != like.dtype:
            block = torch.empty(like.shape, dtype=like.dtype, device="cpu")
        # Whatever is made of the tensor that is lent keeps this array, and nothing else does.
        array = block.numpy()
        weakref.finalize(array, self._take_back, weakref.ref(self), block).atexit = False
        return torch.from_numpy(array)

    @staticmethod
    def _take_back(owner: weakref.ref[ReusedMemory], block: Tensor) -> None:
        memory = owner()
        if memory is not None and not memory._spare:
            memory._spare.append(block)


# By layer, beside it: neither copied nor saved with a model.
_BY_LAYER: weakref.WeakKeyDictionary[nn.Module, ReusedMemory] = weakref.WeakKeyDictionary()


def memory_of(layer: nn.Module) -> ReusedMemory:
    """The memory of `layer`, which lives as long as the layer does."""
    return _BY_LAYER.setdefault(layer, ReusedMemory())
