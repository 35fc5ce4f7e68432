"""The token that a random number chooses."""

from __future__ import annotations

import torch
from torch import Tensor


def sample(scores: Tensor, numbers: Tensor) -> Tensor:
    """Choose by the inverse of the cumulative distribution, its tokens in order of their ids.

    Args:
        scores: float64, shape (rows, vocabulary): logits; -inf for what is ruled out.
        numbers: float64, shape (rows,): in [0, 1).

    Returns:
        int64, shape (rows,): the first token at which the sum of probabilities exceeds the number.
    """
    sums = scores.softmax(-1).cumsum(-1)
    whole = sums[:, -1:].contiguous()
    chosen = torch.searchsorted(sums, numbers[:, None] * whole, right=True)
    # A number close to 1 may be rounded to the whole; the last token is that which reaches it.
    return torch.minimum(chosen, torch.searchsorted(sums, whole)).squeeze(1)
