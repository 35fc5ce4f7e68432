"""Linear layers, with what comes after them: an activation, a residual.

The layer is called where nothing is faster, or where it is not the library's own: so this serves
adapters and other layers put in a linear layer's place too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from xlm_torch.activations import gelu, relu
from xlm_torch.fast import onednn
from xlm_torch.fast.integers import integer_feed_forward, integer_linears
from xlm_torch.fast.packing import PACKED, packed_for
from xlm_torch.fast.rule import are_traced, are_unmodified, code_of, needs_gradient


def linear(
    layer: nn.Module, x: Tensor, activation: str = "none", residual: Tensor | None = None
) -> Tensor:
    """activation(layer(x)) + residual.

    Args:
        layer: A linear layer, or whatever was put in its place.
        x: float, shape (..., inputs).
        activation: "none", "gelu" (by its exact formula) or "relu".
        residual: float, shape (..., outputs).

    Returns:
        float, shape (..., outputs).
    """
    packed = packed_for(layer, x, residual) if PACKED else None
    if packed is None and not onednn.is_preferred(layer, x):
        y = layer(x)
        if _may_overwrite(layer, y, residual):
            y = _ACTIVATIONS_IN_PLACE[activation](y)
            return y if residual is None else y.add_(residual)
        y = _ACTIVATIONS[activation](y)
        return y if residual is None else residual + y
    plain = cast(nn.Linear, layer)
    x, weight, bias = x.contiguous(), plain.weight, plain.bias
    if needs_gradient(x, weight, bias, residual):
        y = _ACTIVATIONS[activation](onednn.OneDNNLinear.apply(x, weight, bias))
        return y if residual is None else residual + y
    matrix = weight if packed is None else packed
    if residual is not None and activation == "none" and residual.dtype == x.dtype:
        return onednn.multiply.binary(x, residual, matrix, bias, "add")
    y = onednn.multiply(x, matrix, bias, activation, [], "none" if activation == "gelu" else "")
    return y if residual is None else residual + y


def linears(layers: Sequence[nn.Module], x: Tensor) -> list[Tensor]:
    """Linear layers of one input, which is rounded once for all where they are int8.

    Args:
        layers: Of the same number of inputs.
        x: float, shape (..., inputs).

    Returns:
        float, shape (..., outputs), each.
    """
    if _are_rounding(layers, x):
        found = integer_linears(layers, x)
        if found is not None:
            return found
    return [linear(layer, x) for layer in layers]


def feed_forward(first: nn.Module, second: nn.Module, x: Tensor, activation: str) -> Tensor | None:
    """second(activation(first(x))) where both are int8 and are faster together; else None.

    Args:
        first, second: Linear layers, or whatever was put in their places.
        x: float, shape (..., inputs).
        activation: As in `linear`.

    Returns:
        float, shape (..., outputs).
    """
    # A mode may hold what functions returned, which is overwritten between the two.
    if torch._C._len_torch_function_stack() or not _are_rounding((first, second), x):
        return None
    return integer_feed_forward(first, second, x, _ACTIVATIONS_IN_PLACE[activation])


def _are_rounding(layers: Sequence[nn.Module], x: Tensor) -> bool:
    """Whether each is an unmodified `QuantizedLinear` that rounds its input, for inference."""
    return (
        all(type(layer) in OWN_LINEAR and getattr(layer, "activations", False) for layer in layers)
        and are_unmodified(layers, OWN_LINEAR)
        and not needs_gradient(x)
    )


def _may_overwrite(layer: nn.Module, y: Tensor, residual: Tensor | None) -> bool:
    """Whether `y`, just computed by `layer`, is memory that nobody else sees or asks for later."""
    return (
        not y.requires_grad
        and not needs_gradient(residual)
        and torch._C._len_torch_function_stack() == 0  # a mode may hold what functions returned
        and (residual is None or (residual.dtype == y.dtype and residual.shape == y.shape))
        and are_unmodified((layer,), OWN_LINEAR)
        and not are_traced(y)
    )


# Layers whose results nobody else holds; quantization adds its own.
OWN_LINEAR = code_of(nn.Linear)


_ACTIVATIONS = {"none": lambda x: x, "gelu": gelu, "relu": relu}
_ACTIVATIONS_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.ops.aten.gelu_.default,
    "relu": torch.relu_,
}
