"""Adaptive softmax: frequent words in the head, rare ones in narrower tail clusters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_core.weights import tensors_of
from xlm_torch.losses import at_least_float32


class AdaptiveLogSoftmax(nn.Module):
    """Log-probabilities of the whole vocabulary from a head and its tail clusters.

    Parameters are named as in torch.nn.AdaptiveLogSoftmaxWithLoss. Nothing depends on values, so
    it can be traced, the loss too.

    Source: Grave et al. 2017, "Efficient softmax approximation for GPUs"; PredLayer of the
    original with asm.
    """

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        shapes = {
            spec.path.removeprefix("pred_layer.proj."): spec.shape
            for spec in tensors_of(config, "XLMWithLMHeadModel")
        }
        self.cutoffs = [*(config.asm_cutoffs or []), config.vocab_size]
        head_size, width = shapes["head.weight"]
        self.head = nn.Linear(width, head_size)
        self.tail = nn.ModuleList()
        for index in range(len(self.cutoffs) - 1):
            narrow, _ = shapes[f"tail.{index}.0.weight"]
            cluster, _ = shapes[f"tail.{index}.1.weight"]
            self.tail.append(
                nn.Sequential(
                    nn.Linear(width, narrow, bias=False), nn.Linear(narrow, cluster, bias=False)
                )
            )

    def forward(self, hidden: Tensor) -> Tensor:
        """float, shape (..., hidden), to log-probabilities, float, shape (..., vocabulary)."""
        frequent = self.cutoffs[0]
        head = F.log_softmax(at_least_float32(self.head(hidden)), dim=-1)
        parts = [head[..., :frequent]]
        for index, cluster in enumerate(self.tail):
            inside = F.log_softmax(at_least_float32(cluster(hidden)), dim=-1)
            parts.append(inside + head[..., frequent + index, None])
        return torch.cat(parts, dim=-1).to(hidden.dtype)
