"""Inference in int8: `quantize`, and the layer that stands in for the encoder's linear layers.

Source: none in the published code. Symmetric, one scale for each output and, for what goes in, one
for each row, found when it comes (dynamic quantization).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.errors import ConfigError, InputError
from xlm_core.quantization import linear_layers
from xlm_torch.fast.integers import integer_linears, row_scales
from xlm_torch.fast.linear import OWN_LINEAR
from xlm_torch.fast.onednn import LINEAR
from xlm_torch.fast.rule import are_unmodified, code_of
from xlm_torch.losses import at_least_float32

Model = TypeVar("Model", bound=nn.Module)


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Integers and scales: integers * scales is `x`, rounded.

    Args:
        x: float, shape (..., width).

    Returns:
        int8, shape (..., width), at most 127 in size, ties to even; and in at least float32, shape
        (..., 1), the largest size in each row over 127. A row that holds NaN or infinity has that
        as its scale.
    """
    x = at_least_float32(x)
    scale = row_scales(x)
    return (x / scale).round_().to(torch.int8), scale


class QuantizedLinear(nn.Module):
    """A linear layer whose matrix is int8; for inference.

    Args:
        layer: Whose place it takes.
        activations: Whether what goes in is rounded too, row by row.

    Attributes:
        weight: int8, shape (outputs, inputs).
        scale: float, shape (outputs,), never of a half type: weight * scale is the matrix.
        bias: float, shape (outputs,), or None.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear, *, activations: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.activations = activations
        with torch.inference_mode(False):  # tensors that count their changes
            integers, scale = rounded(layer.weight.detach().clone())
        self.register_buffer("weight", integers)
        self.register_buffer("scale", scale.squeeze(-1))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """float, shape (..., inputs), to float, shape (..., outputs).

        Raises:
            InputError: If a gradient is wanted through activations that are rounded: it would be 0.
        """
        if not self.activations:
            return F.linear(x, self._matrix(x.dtype), self.bias)
        if torch.is_grad_enabled() and x.requires_grad:
            raise InputError(
                "a gradient is wanted through a layer whose activations are rounded to int8, where "
                "it is 0 everywhere: train before quantize(), or use activations=False."
            )
        if (found := integer_linears((self,), x)) is not None:
            return found[0]
        integers, scale = rounded(x)
        return F.linear((integers * scale).to(x.dtype), self._matrix(x.dtype), self.bias)

    def _matrix(self, dtype: torch.dtype) -> Tensor:
        return (self.weight * self.scale[:, None]).to(dtype)

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # `.half()`, `.type(...)` and the like are neither for integers nor for scales.
        weight, scale = self.weight, self.scale
        super()._apply(function, recurse)
        if self.weight.dtype != torch.int8:
            self.weight = weight.to(self.weight.device)
        if self.scale.dtype not in (torch.float32, torch.float64):
            self.scale = scale.to(self.scale.device)
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        # Copying floats into integers would cut them off; half scales would stay so.
        *_, error_msgs = arguments
        for name, kinds in (
            ("weight", (torch.int8,)),
            ("scale", (torch.float32, torch.float64)),
        ):
            value = state_dict.get(prefix + name)
            if value is not None and value.dtype not in kinds:
                error_msgs.append(
                    f"{prefix}{name} is {value.dtype} in the state_dict, and {kinds[0]} here: "
                    "float weights are loaded before quantize()."
                )
                return
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        """Sizes, as `nn.Linear` prints them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, activations={self.activations}"
        )


OWN_LINEAR.update(code_of(QuantizedLinear))


def quantize(model: Model, *, activations: bool = True) -> Model:
    """Turn the encoder's matrices into int8, in place, for inference.

    They then take a quarter of their memory; half of it where integers are multiplied, which wants
    them packed too. Where the processor is faster at that (docs/speed.md), so is the model, if what
    goes into a product is rounded too. Embeddings, norms and heads stay as they are. There is no
    way back; nothing is trainable afterwards.

    Args:
        model: Any model of this library, with nothing put in the place of its linear layers.
        activations: Whether to round what goes into each product to int8 too, row by row. False:
            only the weights are rounded, and products are computed as before.

    Returns:
        The same model.

    Raises:
        ConfigError: If a layer is not the library's own or is int8 already.
        InputError: If a matrix holds NaN or infinity.
    """
    layers = list(linear_layers(model))
    for name, parent, attribute in layers:
        layer = getattr(parent, attribute)
        if isinstance(layer, QuantizedLinear):
            raise ConfigError(f"{name} is int8 already: quantize a model once.")
        if not are_unmodified((layer,), LINEAR):
            raise ConfigError(
                f"{name} is a {type(layer).__name__} or has hooks: quantize() takes models whose "
                "linear layers are untouched. Merge or remove what was put there first."
            )
        if layer.weight.is_meta:
            raise ConfigError(f"{name}.weight is on the meta device: give it values first.")
        if not bool(layer.weight.isfinite().all()):
            raise InputError(f"{name}.weight holds NaN or infinity, which int8 cannot.")
    made: dict[nn.Module, QuantizedLinear] = {}  # layers that were one stay one
    for _, parent, attribute in layers:
        layer = getattr(parent, attribute)
        if not isinstance(layer, QuantizedLinear):  # not done under another name
            if layer not in made:
                made[layer] = QuantizedLinear(layer, activations=activations)
            setattr(parent, attribute, made[layer].train(parent.training))
    return model.requires_grad_(False)


def is_quantized(model: nn.Module) -> bool:
    """Whether any matrix of `model` is int8."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())
