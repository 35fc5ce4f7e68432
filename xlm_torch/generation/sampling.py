"""The token that is chosen: the best one, or by a random number."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlm_core.generation import NO_CHOICE


def best_tokens(scores: Tensor) -> NDArray[np.int64]:
    """The best token of each row; of equal ones, the first.

    Args:
        scores: float, shape (rows, vocabulary); -inf for what is ruled out.

    Returns:
        int64, shape (rows,): `NO_CHOICE` where a score is NaN, or all are ruled out.
    """
    if scores.device.type == "cpu":
        values = scores.numpy()  # PyTorch's argmax takes 20 times as long for one row
        best = values.argmax(-1)  # a NaN, where there is one
        return np.where(values[np.arange(len(best)), best] > -np.inf, best, NO_CHOICE)
    chosen = scores.argmax(-1)
    found = scores.gather(1, chosen[:, None]).squeeze(1)
    return torch.where(found > -torch.inf, chosen, NO_CHOICE).cpu().numpy()


def sample(scores: Tensor, numbers: Tensor) -> Tensor:
    """Choose by the inverse of the cumulative distribution, its tokens in order of their ids.

    Args:
        scores: float64, shape (rows, vocabulary): logits; -inf for what is ruled out.
        numbers: float64, shape (rows,): in [0, 1).

    Returns:
        int64, shape (rows,): the first token at which the sum of probabilities exceeds the number;
        `NO_CHOICE` as in `best_tokens`.
    """
    sums = scores.softmax(-1).cumsum(-1)
    whole = sums[:, -1:].contiguous()
    chosen = torch.searchsorted(sums, numbers[:, None] * whole, right=True)
    # A number close to 1 may be rounded to the whole; the last token is that which reaches it.
    chosen = torch.minimum(chosen, torch.searchsorted(sums, whole))
    return torch.where(whole.isnan(), NO_CHOICE, chosen).squeeze(1)
