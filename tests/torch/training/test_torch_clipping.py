"""The norm of all gradients, as PyTorch's own."""

from __future__ import annotations

import math

import pytest
import torch

from xlm_torch.training.clipping import total_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_norm_is_that_of_pytorch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 5), (7,), (), (2, 0)]
    found = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    found.append(torch.arange(15.0).to(dtype).reshape(5, 3).t())
    expected = math.sqrt(sum(float(each.double().pow(2).sum()) for each in found))
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}[dtype]
    assert float(total_norm(found)) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_no_number_is_told(value: float) -> None:
    assert not math.isfinite(float(total_norm([torch.ones(3), torch.tensor([1.0, value])])))


def test_of_nothing_it_is_0() -> None:
    assert float(total_norm([])) == 0
