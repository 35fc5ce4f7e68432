"""Packed weights: a second copy of matrices in the order of oneDNN's products."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xlm_torch.fast import onednn
from xlm_torch.fast.rule import needs_gradient

# Where MKL is tuned, packed matrices are used for so many rows: oneDNN is 2 % ahead at 512, 2 %
# behind at 1024 (measured).
PACKED_ROWS = range(700)


class PackedMatrix:
    """Matrices, one below the other, in the order of oneDNN's products; and whose they are.

    What writes to a tensor counts a version. Writing through `.data` does not, so some of the
    values are compared at each use; a few changed in that way are not seen.

    Args:
        weights: float or int8, shape (outputs, inputs), each.
        reorder: Brings a matrix into the order of the product.
    """

    def __init__(self, weights: Sequence[Tensor], reorder: Callable[[Tensor], Tensor]) -> None:
        whole = weights[0].detach() if len(weights) == 1 else torch.cat(tuple(weights)).detach()
        self.matrix = reorder(whole)
        self._states = [_state_of(weight) for weight in weights]
        self._samples = [_sample(weight).clone() for weight in weights]

    def is_of(self, weights: Sequence[Tensor]) -> bool:
        """Whether it was made of `weights` as they are now."""
        return self._states == [_state_of(weight) for weight in weights] and all(
            torch.equal(_sample(weight), sampled)
            for weight, sampled in zip(weights, self._samples, strict=True)
        )


def _state_of(weight: Tensor) -> tuple[int, int]:
    """Where it lies, and how often it was written; -1: made in inference mode, counts nothing."""
    return weight.data_ptr(), -1 if weight.is_inference() else weight._version


def _sample(weight: Tensor) -> Tensor:
    return weight.detach().flatten()[:: max(weight.numel() // 61, 1)]


# By layer, beside it: neither copied nor saved with a model. Those of several layers of one input
# are the first one's.
PACKED: weakref.WeakKeyDictionary[nn.Module, PackedMatrix] = weakref.WeakKeyDictionary()
PACKED_TOGETHER: weakref.WeakKeyDictionary[nn.Module, PackedMatrix] = weakref.WeakKeyDictionary()


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
    if not packed.is_of((linear.weight,)):
        return None
    return packed.matrix


def packed_together(layers: Sequence[nn.Module], reorder: Callable[[Tensor], Tensor]) -> Tensor:
    """The matrices of `layers`, packed by `reorder` at the first call, and after a change."""
    kept = PACKED if len(layers) == 1 else PACKED_TOGETHER
    weights = [cast(Tensor, layer.weight) for layer in layers]
    packed = kept.get(layers[0])
    if packed is None or not packed.is_of(weights):
        packed = kept[layers[0]] = PackedMatrix(weights, reorder)
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
            PACKED[layer] = PackedMatrix((layer.weight,), torch.ops.mkldnn._reorder_linear_weight)
            size += layer.weight.nbytes
    return size


def unpack_weights(model: nn.Module) -> None:
    """Drop the copies that `pack_weights` made."""
    for layer in model.modules():
        PACKED.pop(layer, None)
        PACKED_TOGETHER.pop(layer, None)
