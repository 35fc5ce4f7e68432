"""The loss of a language model over a large vocabulary, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_torch.fast.double_backward import gradients_of
from xlm_torch.fast.memory import ReusedMemory
from xlm_torch.fast.onednn import product
from xlm_torch.fast.rule import needs_gradient
from xlm_torch.losses import at_least_float32, cross_entropy

# Bytes of logits that are kept for a backward pass, and that are computed at a time otherwise: the
# C library keeps such blocks for the next one (see `ReusedMemory`).
KEPT_LOGITS = 2**28
PART_OF_LOGITS = 2**24


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    memory: ReusedMemory | None = None,
) -> Tensor:
    """`cross_entropy(F.linear(hidden, weight, bias), labels)`, in bounded memory.

    The vocabulary is gone through in parts of 16 MB of logits. For gradients the logits are kept
    whole, unless they would take more than 256 MB: then the backward pass computes them once more.

    Args:
        hidden: float, shape (rows, hidden).
        weight: float, shape (vocabulary, hidden).
        bias: float, shape (vocabulary,).
        labels: int64, shape (rows,), all in the vocabulary: pick the rows that count before.
        memory: For the gradient of `weight`.
    """
    memory = ReusedMemory() if memory is None else memory
    kept = KEPT_LOGITS if needs_gradient(hidden, weight, bias) else PART_OF_LOGITS
    total: Tensor = VocabularyLoss.apply(hidden, weight, bias, labels, memory, kept)
    return total / max(len(labels), 1)


_NO_GRADIENT = (None, None, None)  # of labels, memory and kept


class VocabularyLoss(torch.autograd.Function):
    """The sum of `linear_cross_entropy`.

    Its last arguments: memory for the gradient of `weight`, and how many bytes of logits to keep.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        memory: ReusedMemory,
        kept: int,
    ) -> Tensor:
        """The sum over rows of log(sum of exp(logits)) - logit of the label."""
        bytes_of_word = max(len(hidden), 1) * (4 if hidden.dtype != torch.float64 else 8)
        ctx.words, ctx.memory = max(PART_OF_LOGITS // bytes_of_word, 1), memory
        whole = None
        if len(weight) * bytes_of_word <= kept:
            whole = _logits(hidden, weight, bias, slice(None))
        log_sums = []
        of_labels = at_least_float32(hidden.new_zeros(labels.shape))
        for first in range(0, len(weight), ctx.words):
            part = slice(first, first + ctx.words)
            logits = _logits(hidden, weight, bias, part) if whole is None else whole[:, part]
            log_sums.append(logits.logsumexp(-1))
            inside, here = _among(labels, first, logits)
            chosen = logits.gather(1, inside.clamp(0, logits.shape[1] - 1)[:, None]).squeeze(1)
            of_labels = chosen.where(here, of_labels)
        # A label that names no word makes loss and gradients NaN, not numbers that look right.
        unknown = (labels < 0) | (labels >= len(weight))
        log_sum = torch.stack(log_sums).logsumexp(0).masked_fill(unknown, torch.nan)
        ctx.save_for_backward(hidden, weight, bias, labels, log_sum, whole)
        return (log_sum - of_labels).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of hidden, weight and bias."""
        hidden, weight, bias, labels, log_sum, whole = ctx.saved_tensors
        needed = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # by the formula, which has a double backward

            def formula(*inputs: Tensor) -> Tensor:
                return cross_entropy(F.linear(*inputs), labels) * len(labels)

            of_inputs = gradients_of(formula, (hidden, weight, bias), needed, gradient)
            return (*of_inputs, *_NO_GRADIENT)

        rows = torch.arange(len(labels), device=labels.device)
        # A sum over the parts, in which a half type would round each time.
        wide = torch.zeros_like(hidden, dtype=log_sum.dtype) if needed[0] else None
        for_weight = ctx.memory.empty_like(weight) if needed[1] else None
        for_bias = torch.empty_like(bias) if needed[2] else None
        for first in range(0, len(weight), ctx.words):
            part = slice(first, first + ctx.words)
            logits = _logits(hidden, weight, bias, part) if whole is None else whole[:, part]
            scores = (logits - log_sum[:, None]).exp_()
            inside, here = _among(labels, first, scores)
            scores[rows[here], inside[here]] -= 1
            scores = (scores.mul_(gradient)).to(hidden.dtype)
            if wide is not None:
                wide += product(scores, weight[part].t())
            if for_bias is not None:
                torch.sum(scores, 0, out=for_bias[part])
            if for_weight is not None:
                product(scores.t(), hidden.t(), out=for_weight[part])
        for_hidden = None if wide is None else wide.to(hidden.dtype)
        return (for_hidden, for_weight, for_bias, *_NO_GRADIENT)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, part: slice) -> Tensor:
    return at_least_float32(product(hidden, weight[part], None if bias is None else bias[part]))


def _among(labels: Tensor, first: int, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Where labels stand among logits of the words from `first` on, and which of them do."""
    inside = labels - first
    return inside, (inside >= 0) & (inside < logits.shape[1])
