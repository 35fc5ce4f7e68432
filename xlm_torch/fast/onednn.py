"""Products of matrices by oneDNN: which ones, and the products themselves."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_torch.fast.rule import (
    are_traced,
    are_unmodified,
    code_of,
    is_on_cpu,
    needs_gradient,
    only_formulas,
)

# A smaller matrix gains less than the longer way to its product costs (measured: 256 x 256 is
# even, 512 x 512 ahead).
SMALLEST_MATRIX = 2**18
ANY_ROWS = range(sys.maxsize)
LINEAR = code_of(nn.Linear)

# oneDNN's product, (x, weight, bias, activation, scalars, algorithm); `.binary` adds a residual.
multiply: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(errors="replace")[:4096]
    except OSError:
        return "Intel" in platform.processor()


def _has_onednn() -> bool:
    """Whether oneDNN can be called by name; on other processors PyTorch takes it by itself."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _preferred_rows() -> dict[torch.dtype, range]:
    """For each dtype, for how many rows oneDNN's product is preferred on this machine.

    MKL, which `F.linear` uses for float32 on x86, is tuned for Intel's processors: there oneDNN is
    ahead for few rows only, by 1.1 to 1.9 times (measured). On AMD's it reaches 1.1 to 2.5 times
    MKL's rate (docs/performance.md). `F.linear` in bfloat16 is oneDNN's already, only without what
    can be fused into it.
    """
    if not HAS_ONEDNN:
        return {}
    if torch.backends.mkl.is_available() and _is_intel():
        return {torch.float32: range(8, 257), torch.bfloat16: ANY_ROWS}
    return {torch.float32: ANY_ROWS, torch.bfloat16: ANY_ROWS}


def _transposed_rows() -> range:
    """For how many rows MKL's product in float32 is preferred as weight x^T, on Intel's processors.

    For 8 to 48 rows it takes 0.7 to 0.9 times as long as the better of x weight^T and oneDNN's,
    the order of its result put right included; for 64 it takes longer (measured).
    """
    tuned = torch.backends.mkl.is_available() and _is_intel()
    return range(8, 49) if tuned else range(0)


HAS_ONEDNN = _has_onednn()
PREFER_ONEDNN = _preferred_rows()
PREFER_TRANSPOSED = _transposed_rows()


def rows_of(x: Tensor) -> int:
    """The rows of `x` as a matrix, (..., inputs) to (rows, inputs)."""
    return x.numel() // x.shape[-1] if x.dim() and x.shape[-1] else 0


def is_preferred(layer: nn.Module, x: Tensor) -> bool:
    """Whether oneDNN serves this call of a linear layer better: a large matrix, enough rows."""
    # Sizes come after tracing was ruled out, where they may be symbols; and before all the rest,
    # because a step of generation calls with one row, for which nothing is preferred mostly.
    return (
        x.dtype in PREFER_ONEDNN
        and not are_traced(x)
        and rows_of(x) in PREFER_ONEDNN[x.dtype]
        and can_serve(layer, x)
    )


def can_serve(layer: nn.Module, x: Tensor) -> bool:
    """Whether oneDNN can stand in for a layer: in float32; without gradients, in bfloat16."""
    if are_traced(x) or not are_unmodified((layer,), LINEAR):
        return False
    weight, bias = cast(nn.Linear, layer).weight, cast(nn.Linear, layer).bias
    return (
        weight.numel() >= SMALLEST_MATRIX
        and x.dtype == weight.dtype
        and (x.dtype == torch.float32 or _is_bfloat16_without_gradient(x, weight, bias))
        and is_on_cpu(x)
        and is_on_cpu(weight)
        and weight.is_contiguous()
        and (bias is None or (is_on_cpu(bias) and bias.dtype == x.dtype))
        and not are_traced(weight)
        and x.shape[-1] == weight.shape[1]
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def _is_bfloat16_without_gradient(*tensors: Tensor | None) -> bool:
    first = tensors[0]
    return (
        first is not None
        and first.dtype == torch.bfloat16
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and not needs_gradient(*tensors)
    )


# -- products --------------------------------------------------------------------------------------


class OneDNNLinear(torch.autograd.Function):
    """`F.linear` with its three products, one forward and two backward, through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As in `F.linear`."""
        ctx.save_for_backward(x, weight)
        return multiply(x, weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias, where they are asked for."""
        x, weight = ctx.saved_tensors
        # Where a double backward may follow, these are plain operations.
        by = F.linear if torch.is_grad_enabled() else product
        rows, of_rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            by(gradient, weight.t()) if for_x else None,
            by(of_rows.t(), rows.t()) if for_weight else None,
            of_rows.sum(0) if for_bias else None,
        )


# Bytes: what the caches hold, and the C library keeps for the next one.
COPIED_AT_A_TIME = 2**22


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """`F.linear`, x weight^T + bias, outside of any graph of derivatives.

    Args:
        x: float, shape (..., inputs).
        weight: float, shape (outputs, inputs); of any strides.
        bias: float, shape (outputs,); None with `out`.
        out: float, shape (rows, outputs), contiguous: where to write the product of `x`, which then
            has the shape (rows, inputs).

    Returns:
        float, shape (..., outputs).
    """
    preferred = PREFER_ONEDNN.get(torch.float32, range(0))
    by_onednn = (
        rows_of(x) in preferred
        # Where MKL is tuned too, it is ahead for other orders.
        and (preferred == ANY_ROWS or weight.is_contiguous())
        and torch.backends.mkldnn.enabled
        and x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and is_on_cpu(x)
        and is_on_cpu(weight)
        and not only_formulas()
    )
    if not by_onednn:
        return F.linear(x, weight, bias) if out is None else torch.mm(x, weight.t(), out=out)
    weight = _dense(weight)
    if out is None:
        return multiply(_dense(x), weight, bias, "none", [], "")
    # oneDNN writes to memory of its own only.
    rows = max(COPIED_AT_A_TIME // (out.shape[1] * out.element_size()), 1)
    for part, written in zip(x.split(rows), out.split(rows), strict=True):
        written.copy_(multiply(_dense(part), weight, None, "none", [], ""))
    return out


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns: for others oneDNN takes a slow way."""
    if matrix.is_contiguous() or (matrix.dim() == 2 and matrix.t().is_contiguous()):
        return matrix
    return matrix.contiguous()
