"""Packed weights: a second copy of a matrix in the order of oneDNN's products."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from xlm_torch.fast import onednn
from xlm_torch.fast.rule import needs_gradient

# Where MKL is tuned, packed matrices are used for so many rows: oneDNN is 2 % ahead at 512, 2 %
# behind at 1024 (measured).
PACKED_ROWS = range(700)


class PackedMatrix:
    """A matrix in the order of oneDNN's products, and how to tell that it is still the layer's.

    What writes to a tensor counts a version. Writing through `.data` does not, so some of the
    values are compared at each use; a few changed in that way are not seen.

    Args:
        weight: float or int8, shape (outputs, inputs).
        reorder: Brings it into the order of the product.
    """

    def __init__(self, weight: Tensor, reorder: Callable[[Tensor], Tensor]) -> None:
        self.matrix = reorder(weight.detach())
        self._version, self._address = self._version_of(weight), weight.data_ptr()
        self._sampled = self._sample(weight).clone()

    @staticmethod
    def _sample(weight: Tensor) -> Tensor:
        return weight.detach().flatten()[:: max(weight.numel() // 61, 1)]

    @staticmethod
    def _version_of(weight: Tensor) -> int:
        # Tensors made in inference mode count no changes.
        return -1 if weight.is_inference() else weight._version

    def is_of(self, weight: Tensor) -> bool:
        """Whether it was made of `weight` as it is now."""
        return (
            self._version_of(weight) == self._version
            and weight.data_ptr() == self._address
            and torch.equal(self._sample(weight), self._sampled)
        )


# By layer, beside it: neither copied nor saved with a model.
PACKED: weakref.WeakKeyDictionary[nn.Module, PackedMatrix] = weakref.WeakKeyDictionary()


def packed_for(layer: nn.Module, x: Tensor, residual: Tensor | None) -> Tensor | None:
    """The packed matrix of `layer`, if it has one that serves this call better."""
    packed = PACKED.get(layer)
    linear = cast(nn.Linear, layer)
    if packed is None or not onednn.can_serve(layer, x):
        return None
    preferred = onednn.PREFER_ONEDNN.get(x.dtype)
    if preferred != onednn.ANY_ROWS and onednn.rows_of(x) not in PACKED_ROWS:
        return None
    if needs_gradient(x, linear.weight, linear.bias, residual):
        return None
    if not packed.is_of(linear.weight):
        return None
    return packed.matrix


@torch.no_grad()
def pack_weights(model: nn.Module) -> int:
    """Keep a second copy of the linear layers' matrices, ordered for oneDNN, for inference.

    It saves ordering them at each call (2 to 5 % of encoding, more for few rows), and doubles their
    memory. On Intel's processors products of less than 700 rows are then oneDNN's. Training uses
    the plain matrices, and so does a layer whose matrix was changed after it was packed. Does
    nothing where there is no oneDNN. `unpack_weights` takes it back.

    Args:
        model: Any model of this library.

    Returns:
        Bytes that the copies take.

    Changes that leave no trace are not noticed: a few values written through `.data`. Matrices made
    in inference mode, whose changes never leave one, are not packed.
    """
    unpack_weights(model)
    size = 0
    for layer in model.modules():
        if (
            onednn.HAS_ONEDNN
            and type(layer) is nn.Linear
            and onednn.can_serve(layer, layer.weight[:0])
            and not layer.weight.is_inference()  # which counts no changes
        ):
            PACKED[layer] = PackedMatrix(layer.weight, torch.ops.mkldnn._reorder_linear_weight)
            size += layer.weight.nbytes
    return size


def unpack_weights(model: nn.Module) -> None:
    """Drop the copies that `pack_weights` made."""
    for layer in model.modules():
        PACKED.pop(layer, None)
