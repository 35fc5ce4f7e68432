"""The norm of all gradients, and gradients that are made no larger than asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from xlm_torch.optimizers import local_part


def clip_gradients(
    parameters: Iterable[Tensor],
    largest: float,
    *,
    over_ranks: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Scale all gradients together so that their norm is at most `largest`.

    As `torch.nn.utils.clip_grad_norm_`. Of whole gradients on a CPU the norm is taken by MKL's
    products, which takes half the time and sums with smaller errors; and gradients whose norm is
    small enough are left as they are and not multiplied by 1.

    Args:
        parameters: Those without a gradient do not count.
        largest: The largest norm; 0: any.
        over_ranks: The sum over all ranks, for gradients that are sharded.

    Returns:
        The norm before; gradients are left as they are if it is not finite.
    """
    given = [each.grad for each in parameters if each.grad is not None]
    gradients = [local_part(each) for each in given]
    if all(map(_is_plain, gradients)):
        flat = [gradient.reshape(-1) for gradient in gradients]
        norm = sum(float(torch.dot(each, each)) for each in flat) ** 0.5
    else:
        norm = float(torch.nn.utils.get_total_norm(gradients))
    if over_ranks is not None and any(a is not b for a, b in zip(gradients, given, strict=True)):
        own = torch.tensor(norm, dtype=torch.float64, device="cpu")
        norm = float(over_ranks(own**2)) ** 0.5
    # PyTorch's small number keeps all ways to the norm alike.
    factor = largest / (norm + 1e-6) if largest and math.isfinite(norm) else 1.0
    if factor < 1:
        torch._foreach_mul_(gradients, factor)
    return norm


def _is_plain(gradient: Tensor) -> bool:
    """Whether it lies on a CPU as a whole, in a dtype that sums well."""
    return (
        type(gradient) is Tensor
        and gradient.device.type == "cpu"
        and gradient.layout == torch.strided
        and gradient.is_contiguous()
        and gradient.dtype in (torch.float32, torch.float64)
    )
