"""Clipping gradients: the norm and what is left, as PyTorch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from xlm_torch.training.clipping import clip_gradients


def _parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (7,), (), (2, 0)]
    found = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    for each in found:
        each.grad = torch.randn(each.shape, generator=generator).to(dtype)
    return [*found, nn.Parameter(torch.zeros(4, dtype=dtype))]  # which has no gradient


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [each.grad.clone() for each in parameters if each.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_too_large_gradients_are_scaled_as_by_pytorch(dtype: torch.dtype) -> None:
    own, theirs = _parameters(dtype), _parameters(dtype)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
    assert clip_gradients(own, 0.5) == pytest.approx(float(expected), rel=1e-6)
    for found, known in zip(_gradients(own), _gradients(theirs), strict=True):
        bound = {2: 1e-2, 4: 1e-6, 8: 1e-15}[dtype.itemsize]
        torch.testing.assert_close(found, known, rtol=bound, atol=0)


def test_small_gradients_keep_their_bits() -> None:
    parameters = _parameters()
    before = _gradients(parameters)
    norm = clip_gradients(parameters, 100.0)
    assert norm == pytest.approx(math.sqrt(sum(float((x * x).sum()) for x in before)), rel=1e-15)
    assert all(a.equal(b) for a, b in zip(_gradients(parameters), before, strict=True))


def test_gradients_of_any_strides_count() -> None:
    parameter = nn.Parameter(torch.zeros(3, 5))
    parameter.grad = torch.arange(15.0).reshape(5, 3).t()
    assert clip_gradients([parameter], 1.0) == pytest.approx(math.sqrt(1015))
    assert float(parameter.grad.norm()) == pytest.approx(1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_told(value: float) -> None:
    parameters = _parameters()
    assert parameters[0].grad is not None
    parameters[0].grad[0, 0] = value
    assert not math.isfinite(clip_gradients(parameters, 1.0))
    assert bool(parameters[1].grad.isfinite().all())  # type: ignore[union-attr]


def test_no_gradient_at_all() -> None:
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0) == 0
