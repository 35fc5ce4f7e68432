"""Gradients that have derivatives themselves, for functions whose fast gradient has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor


def gradients_of(
    formula: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    gradient: Tensor,
) -> Iterator[Tensor | None]:
    """Gradients of formula(*inputs), which have derivatives themselves; None where not needed.

    Args:
        formula: Made of plain operations.
        inputs: Its arguments.
        needed: Which of them want a gradient.
        gradient: Of what it returns.
    """
    # Views: the gradient of one holds no path through another that it was computed from.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    pairs = zip(views, needed, strict=True)
    wanted = [view for view, is_needed in pairs if is_needed and view is not None]
    found = iter(torch.autograd.grad(formula(*views), wanted, gradient, create_graph=True))
    return (next(found) if is_needed else None for is_needed in needed)
