"""Losses: scalars, in float32 for half-precision models and in the model's dtype otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32 if it is of a half type, otherwise unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def cross_entropy(logits: Tensor, labels: Tensor, ignored: int = IGNORED) -> Tensor:
    """Mean cross-entropy over the labels that are not `ignored`; 0 where all are.

    Args:
        logits: float, shape (..., classes).
        labels: int64, shape (...).
        ignored: The label that does not count.
    """
    return negative_log_likelihood(F.log_softmax(at_least_float32(logits), dim=-1), labels, ignored)


def negative_log_likelihood(log_probs: Tensor, labels: Tensor, ignored: int = IGNORED) -> Tensor:
    """`cross_entropy` for what already are log-probabilities."""
    log_probs = at_least_float32(log_probs).reshape(-1, log_probs.shape[-1])
    labels = labels.reshape(-1).long()
    total = F.nll_loss(log_probs, labels, ignore_index=ignored, reduction="sum")
    return total / (labels != ignored).sum().clamp(min=1)


def mean_squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean of the squared differences; both float, of one shape."""
    predictions = at_least_float32(predictions)
    return F.mse_loss(predictions, targets.to(predictions.dtype))


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of independent yes/no logits; both of one shape."""
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
