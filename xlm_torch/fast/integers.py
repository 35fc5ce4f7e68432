"""Products of integers: what int8 layers are computed by where the processor is fast at it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xlm_torch.fast.onednn import HAS_ONEDNN
from xlm_torch.fast.packing import PACKED, PackedMatrix
from xlm_torch.fast.rule import are_traced, is_on_cpu, only_formulas


def integer_product(
    layer: Any, integers: Tensor, scale: Tensor, dtype: torch.dtype
) -> Tensor | None:
    """(integers * scale) (layer.weight * layer.scale)^T + layer.bias, where int8 is fast.

    The sums are exact, so that only the scales round. Packs the layer's matrix at its first use,
    beside the matrix.

    Args:
        layer: A `QuantizedLinear`.
        integers: int8, shape (..., inputs).
        scale: float, shape (..., 1).
        dtype: Of what is returned.

    Returns:
        float, shape (..., outputs); None where there is no such product.
    """
    weight, bias = layer.weight, layer.bias
    able = (
        MULTIPLIES_INTEGERS
        and dtype in (torch.float32, torch.bfloat16, torch.float16)
        and integers.shape[-1] == weight.shape[1]
        and weight.shape[1] * 127**2 < 2**31
        and is_on_cpu(integers)
        and is_on_cpu(weight)
        and not are_traced(integers, weight)
        and torch.backends.mkldnn.enabled
        and not only_formulas()
    )
    if not able:
        return None
    packed = PACKED.get(layer)
    if packed is None or not packed.is_of(weight):
        packed = PACKED[layer] = PackedMatrix(weight, _order_integers)
    product = torch.ops.onednn.qlinear_pointwise
    zero_points = torch.zeros(len(weight), dtype=torch.int64)
    # Integers as they are (scale 1, zero point 0), then the matrix with its scales and zero points;
    # no bias, no rescaling of what comes out, nothing fused.
    of_matrix = (packed.matrix, layer.scale.float(), zero_points)
    y = product(integers, 1.0, 0, *of_matrix, None, 1.0, 0, torch.float32, "none", [], "")
    y = y.mul_(scale) if bias is None else torch.addcmul(bias.float(), y, scale)
    return y.to(dtype)


def _order_integers(weight: Tensor) -> Tensor:
    ordered: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return ordered


def _multiplies_integers() -> bool:
    """Whether this processor sums products of int8 exactly, and oneDNN can be asked to."""
    supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return HAS_ONEDNN and hasattr(torch.ops.onednn, "qlinear_pointwise") and bool(supported())


MULTIPLIES_INTEGERS = _multiplies_integers()
