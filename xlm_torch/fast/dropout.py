"""Dropout on CPUs, where PyTorch's own spends most of its time on drawing random numbers.

It draws 64 bits for a float of each element; here 64 bits serve four elements. Both draw from
PyTorch's generator, so a seed and a state of the generator repeat what is dropped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_torch.fast.rule import are_traced, is_on_cpu

# A draw decides by so many values, so that rates are rounded to a 65,536th.
VALUES = 2**16


def add_dropout(residual: Tensor, x: Tensor, rate: float) -> Tensor:
    """residual + dropout(x).

    Args:
        residual, x: float, of one shape.
        rate: At which elements are dropped, from 0 to 1.
    """
    if residual.dtype == x.dtype and draws_fast(x, rate):
        return torch.addcmul(residual, x, dropout_factors(x, rate))
    return residual + F.dropout(x, rate)


def draws_fast(x: Tensor, rate: float) -> bool:
    """Whether `dropout_factors` serves: on a CPU, for a rate that does not become 0 or 1."""
    return is_on_cpu(x) and 0 < round(rate * VALUES) < VALUES and not are_traced(x)


def dropout_factors(like: Tensor, rate: float) -> Tensor:
    """What dropout multiplies by: 0 where an element is dropped, else 1 / the share that stays.

    Args:
        like: float, of any shape; the factors have its shape and dtype.
        rate: For which `draws_fast`.
    """
    dropped = round(rate * VALUES)
    # Every value of 64 bits, of which each fourth is one of int16.
    drawn = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    values = drawn.view(torch.int16)[: like.numel()].view(like.shape)
    stays = values >= dropped - VALUES // 2
    return stays.to(like.dtype).mul_(VALUES / (VALUES - dropped))
