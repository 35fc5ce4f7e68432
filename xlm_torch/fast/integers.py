"""Products of int8: which one this processor computes fast and exactly, and rounding for it.

The rule: rows as unsigned integers with a zero point of 128, if a trial finds that product exact
and fast; else rows as signed integers; else `torch._int_mm`; else the same integers as floats,
summed so that nothing is rounded. All give the same bits, since sums of integers are exact.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_core.quantization import LARGEST
from xlm_torch.fast.onednn import HAS_ONEDNN
from xlm_torch.fast.packing import packed_together
from xlm_torch.fast.rule import are_traced, is_on_cpu, only_formulas

# -- ways to multiply ------------------------------------------------------------------------------


@dataclass(frozen=True)
class IntegerProduct:
    """A way to multiply rows of integers by a matrix of int8.

    Attributes:
        name: As documented and printed.
        zero_point: What stands for 0 in the rows: 128 in uint8, 0 in int8.
        order: Brings a matrix, int8, shape (outputs, inputs), into the order that `multiply` wants;
            None: as it is, so that no copy is kept.
        multiply: (rows, ordered matrix, float32 scales of the outputs) to float32, shape
            (rows, outputs): the exact sums, rounded to float32, times the scales.
    """

    name: str
    zero_point: int
    order: Callable[[Tensor], Tensor] | None
    multiply: Callable[[Tensor, Tensor, Tensor], Tensor]

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.uint8 if self.zero_point else torch.int8


def _order_for_onednn(weight: Tensor) -> Tensor:
    ordered: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return ordered


@functools.lru_cache
def _zero_points(outputs: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.zeros(outputs, dtype=torch.int64, device="cpu")


def _by_onednn(zero_point: int, rows: Tensor, matrix: Tensor, scales: Tensor) -> Tensor:
    # Rows of scale 1; the matrix with its scales and zero points; no bias, nothing rescaled or
    # fused.
    of_matrix = (matrix, scales, _zero_points(len(scales)))
    product = torch.ops.onednn.qlinear_pointwise
    y: Tensor = product(
        rows, 1.0, zero_point, *of_matrix, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return y


def _by_int_mm(rows: Tensor, matrix: Tensor, scales: Tensor) -> Tensor:
    return torch._int_mm(rows, matrix.t()).float().mul_(scales)


# So many products of the largest int8 sum to what float32 still holds exactly.
EXACT_IN_FLOAT32 = 2**24 // LARGEST**2


def _by_floats(rows: Tensor, matrix: Tensor, scales: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        parts = [
            F.linear(some.float(), columns.float())
            for some, columns in zip(
                rows.split(EXACT_IN_FLOAT32, 1), matrix.split(EXACT_IN_FLOAT32, 1), strict=True
            )
        ]
    if len(parts) == 1:
        return parts[0].mul_(scales)
    total = parts[0].double()
    for part in parts[1:]:
        total += part
    return total.float().mul_(scales)


UNSIGNED = IntegerProduct("unsigned", 128, _order_for_onednn, functools.partial(_by_onednn, 128))
SIGNED = IntegerProduct("signed", 0, _order_for_onednn, functools.partial(_by_onednn, 0))
INT_MM = IntegerProduct("_int_mm", 0, None, _by_int_mm)
FLOATS = IntegerProduct("floats", 0, None, _by_floats)


def available() -> list[IntegerProduct]:
    """The products of integers that this PyTorch has, the preferred one first."""
    has_qlinear = HAS_ONEDNN and hasattr(torch.ops.onednn, "qlinear_pointwise")
    found = [UNSIGNED, SIGNED] if has_qlinear else []
    return [*found, INT_MM] if hasattr(torch, "_int_mm") else found


# -- which one -------------------------------------------------------------------------------------

# (rows, inputs, outputs). The first is small enough for a reference kernel to take milliseconds;
# the second tells a plain loop from a kernel that uses the processor.
TRIALS = ((8, 256, 64), (1, 256, 64), (32, 512, 256))
# A trial ends after so many tries, or so many seconds.
TRIES, LONGEST_TRIAL = 8, 0.02
# A product may take so many times as long as that of floats, beyond the cost of calling it.
SLOWEST, CALLING = 2.0, 2e-4


@functools.cache
def chosen_product() -> IntegerProduct:
    """The product of integers that this process uses: the first that is exact and not slow.

    Found at its first use, by products so small that even oneDNN's reference kernel, into which
    signed rows fall on a processor with AVX512-VNNI and without AMX, takes milliseconds.
    """
    with torch.inference_mode(False), torch.no_grad():
        return next((each for each in available() if is_exact_and_fast(each)), FLOATS)


def is_exact_and_fast(product: IntegerProduct) -> bool:
    """Whether this processor sums the largest values exactly so, and not slower than floats."""
    return is_exact(product) and all(_is_fast(product, Trial.of(*sizes)) for sizes in TRIALS)


def is_exact(product: IntegerProduct) -> bool:
    """Whether this processor sums the largest values exactly so."""
    try:
        return all(_is_exact(product, Trial.of(*sizes)) for sizes in TRIALS)
    except (RuntimeError, NotImplementedError):
        return False


@dataclass(frozen=True)
class Trial:
    """Rows and a matrix of the largest values, int64, whose sums an inexact product cuts off."""

    rows: Tensor
    weight: Tensor

    @classmethod
    def of(cls, rows: int, inputs: int, outputs: int) -> Trial:
        """Both signs, and a few rows and outputs with small values among the largest."""
        largest = torch.full((max(rows, outputs), inputs), LARGEST, device="cpu")
        largest[1::2] = -LARGEST
        largest[2::4, ::3] = 1
        return cls(largest[:rows], -largest[:outputs])

    def given_to(self, product: IntegerProduct) -> tuple[Tensor, Tensor, Tensor]:
        """What `product.multiply` takes."""
        matrix = self.weight.to(torch.int8)
        return (
            (self.rows + product.zero_point).to(product.dtype),
            matrix if product.order is None else product.order(matrix),
            torch.ones(len(self.weight), dtype=torch.float32, device="cpu"),
        )


def _is_exact(product: IntegerProduct, trial: Trial) -> bool:
    found = product.multiply(*trial.given_to(product))
    return torch.equal(found, (trial.rows @ trial.weight.t()).float())


def _is_fast(product: IntegerProduct, trial: Trial) -> bool:
    """Both by their least, so that what else the machine does meanwhile counts for neither."""
    given, of_floats = trial.given_to(product), (trial.rows.float(), trial.weight.float())
    floats = min(_seconds(F.linear, *of_floats) for _ in range(3))
    seconds, start = float("inf"), time.perf_counter()
    for tried in range(TRIES):
        if tried > 2 and time.perf_counter() - start > LONGEST_TRIAL:
            return False
        seconds = min(seconds, _seconds(product.multiply, *given))
        floats = min(floats, _seconds(F.linear, *of_floats))
        if seconds <= SLOWEST * floats + CALLING:
            return True
    return False


def _seconds(function: Callable[..., Tensor], *given: Tensor) -> float:
    start = time.perf_counter()
    function(*given)
    return time.perf_counter() - start


# -- rounding --------------------------------------------------------------------------------------

# Added to a small number in float32, it leaves that number's nearest integer, ties to even, in the
# last bits.
LAST_BITS = 1.5 * 2**23


def row_scales(x: Tensor) -> Tensor:
    """The largest size in each row over 127; 1 for rows of zeros.

    Args:
        x: float32 or float64, shape (..., width).

    Returns:
        Of that dtype, shape (..., 1). A row that holds NaN or infinity has that as its scale.
    """
    # Ten times as fast as torch.linalg.vector_norm(x, inf) (measured).
    scale = torch.maximum(x.amax(-1, keepdim=True), -x.amin(-1, keepdim=True)) / LARGEST
    # Zeros, and what is too small to be divided exactly: all become 0.
    return scale.masked_fill_(scale < torch.finfo(scale.dtype).tiny, 1.0)


def _scale_of_one_row(x: Tensor) -> Tensor:
    """`row_scales` of a single row, by half as many operations, whose number counts here."""
    scale = x.abs().amax(-1, keepdim=True).div_(LARGEST)
    return scale.fill_(1.0) if scale.item() < torch.finfo(scale.dtype).tiny else scale


@functools.lru_cache
def _shift(width: int, zero_point: int) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((width,), LAST_BITS + zero_point, dtype=torch.float32, device="cpu")


# Rows that are rounded, or go through a feed-forward layer, at a time. What lies between two steps
# then stays in memory that is used again, which is as fast as cached: 1.1 ms to round 1,843 rows of
# 1,024, and 2.1 all at once; 18 ms for a feed-forward layer of 1,024 rows, and 33 (measured).
BLOCK = 512


def round_rows(
    x: Tensor, product: IntegerProduct, *, may_overwrite: bool = False
) -> tuple[Tensor, Tensor]:
    """Rows as integers for `product`: those of `rounded`, plus its zero point.

    Args:
        x: float32 or of a half type, shape (rows, width).
        product: What they are for.
        may_overwrite: Whether nobody needs `x` afterwards, so that its memory may serve.

    Returns:
        Its dtype, shape (rows, width); and float32, shape (rows, 1).
    """
    integers = torch.empty(x.shape, dtype=product.dtype, device="cpu")
    scales = [
        _round_into(part, some, product, may_overwrite)
        for part, some in zip(integers.split(BLOCK), x.split(BLOCK), strict=True)
    ]
    return integers, scales[0] if len(scales) == 1 else torch.cat(scales)


def _round_into(
    integers: Tensor, x: Tensor, product: IntegerProduct, may_overwrite: bool
) -> Tensor:
    """Write what `round_rows` returns into `integers`, and return the scales.

    One operation divides, rounds, and adds the zero point.
    """
    wide = x.float()
    scale = _scale_of_one_row(wide) if len(wide) == 1 else row_scales(wide)
    out = wide if may_overwrite or wide is not x else torch.empty_like(wide)
    shifted = torch.addcdiv(_shift(x.shape[-1], product.zero_point), wide, scale, out=out)
    integers.copy_(shifted.view(torch.int32))  # which keeps the last eight bits
    return scale


# -- layers ----------------------------------------------------------------------------------------


def integer_linears(layers: Sequence[Any], x: Tensor) -> list[Tensor] | None:
    """Linear layers of int8 that have the same input, which is rounded once for all.

    (integers * scale) (layer.weight * layer.scale)^T + layer.bias for each, with exact sums, so
    that only the scales round. Keeps a second copy of a layer's matrix where the product wants it
    in another order.

    Args:
        layers: `QuantizedLinear`, of the same number of inputs.
        x: float, shape (..., inputs).

    Returns:
        Of the dtype of `x`, shape (..., outputs), each; None where the formula has to serve.
    """
    if not _can_serve(x, *layers) or not all(_can_multiply(x.shape[-1], each) for each in layers):
        return None
    product = _product()
    integers, scale = round_rows(x.reshape(-1, x.shape[-1]), product)
    # Packed matrices are packed together, for one product; others would be copied for that.
    groups = [(layer,) for layer in layers] if product.order is None else [layers]
    found: list[Tensor] = []
    for group in groups:
        y = _scaled(group, integers, scale, product).to(x.dtype)
        y = y.view(*x.shape[:-1], y.shape[-1])
        found += y.split([len(layer.weight) for layer in group], -1)
    return found


def integer_feed_forward(
    first: Any, second: Any, x: Tensor, activation: Callable[[Tensor], Tensor]
) -> Tensor | None:
    """second(activation(first(x))) for two layers of int8: the same bits as one after the other.

    What lies between the two is kept as integers, and is a block of rows of floats at a time.

    Args:
        first, second: `QuantizedLinear`, unmodified, both of which round their input.
        x: float, shape (..., inputs).
        activation: May overwrite what it is given.

    Returns:
        Of the dtype of `x`, shape (..., outputs); None where the layers have to be called.
    """
    if not (
        _can_serve(x, first, second)
        and _can_multiply(x.shape[-1], first)
        and _can_multiply(len(first.weight), second)
    ):
        return None
    product = _product()
    rows, scale = round_rows(x.reshape(-1, x.shape[-1]), product)
    inner = torch.empty(len(rows), len(first.weight), dtype=product.dtype, device="cpu")
    scales = []
    blocks = (each.split(BLOCK) for each in (rows, scale, inner))
    for some, of_some, part in zip(*blocks, strict=True):
        y = activation(_scaled((first,), some, of_some, product).to(x.dtype))
        scales.append(_round_into(part, y, product, may_overwrite=True))
    inner_scale = scales[0] if len(scales) == 1 else torch.cat(scales)
    y = _scaled((second,), inner, inner_scale, product).to(x.dtype)
    return y.view(*x.shape[:-1], len(second.weight))


def _product() -> IntegerProduct:
    return chosen_product() if torch.backends.mkldnn.enabled else FLOATS


def _can_serve(x: Tensor, *layers: Any) -> bool:
    """Whether rows can be rounded here, and nobody looks on."""
    return (
        x.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and x.dim() > 0
        and is_on_cpu(x)
        and not are_traced(x, *(layer.weight for layer in layers))
        and not only_formulas()
    )


def _can_multiply(inputs: int, layer: Any) -> bool:
    """Whether the sums of so many inputs fit, and the matrix is here."""
    weight = layer.weight
    return (
        inputs == weight.shape[1]
        and 0 < inputs * 2 * (LARGEST + 1) * LARGEST < 2**31
        and is_on_cpu(weight)
    )


def _scaled(
    layers: Sequence[Any], integers: Tensor, scale: Tensor, product: IntegerProduct
) -> Tensor:
    """The layers' products, with the scales and the biases, beside each other.

    Args:
        layers: One, if the product takes matrices as they are.
        integers, scale: From `round_rows`.
        product: Theirs.

    Returns:
        float32, shape (rows, outputs of all layers).
    """
    order = product.order
    matrix = layers[0].weight if order is None else packed_together(layers, order)
    scales = _beside_each_other([layer.scale.float() for layer in layers])
    y = product.multiply(integers, matrix, scales)
    if all(layer.bias is None for layer in layers):
        return y.mul_(scale)
    bias = _beside_each_other([_bias_of(layer) for layer in layers])
    return torch.addcmul(bias, y, scale, out=y)


def _bias_of(layer: Any) -> Tensor:
    if layer.bias is None:
        return torch.zeros(len(layer.weight), dtype=torch.float32, device="cpu")
    bias: Tensor = layer.bias.float()
    return bias


def _beside_each_other(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tuple(tensors))
