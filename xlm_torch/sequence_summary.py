"""One vector for a sequence, from the hidden states of its tokens."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_torch.activations import ACTIVATIONS
from xlm_torch.fast.rule import are_unmodified, code_of


class SequenceSummary(nn.Module):
    """One vector for a sequence: pick or average hidden states, drop out, project, activate."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.summary_type = config.summary_type
        self.first_dropout = config.summary_first_dropout
        self.last_dropout = config.summary_last_dropout
        self.activation = ACTIVATIONS[config.summary_activation or "linear"]
        if config.summary_use_proj:
            self.summary = nn.Linear(config.emb_dim, config.summary_width)

    def forward(self, hidden: Tensor, cls_index: Tensor | None = None) -> Tensor:
        """Summarise.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            cls_index: int64, shape (batch,): the position to pick with summary_type "cls_index";
                default the last.

        Returns:
            float, shape (batch, summary width).
        """
        if self.summary_type == "first":
            picked = hidden[:, 0]
        elif self.summary_type == "mean":
            picked = hidden.mean(dim=1)
        elif self.summary_type == "last" or cls_index is None:
            picked = hidden[:, -1]
        else:
            picked = hidden[torch.arange(hidden.shape[0], device=hidden.device), cls_index]
        picked = F.dropout(picked, self.first_dropout, self.training)
        if hasattr(self, "summary"):
            picked = self.summary(picked)
        return F.dropout(self.activation(picked), self.last_dropout, self.training)


_CODE = code_of(SequenceSummary, nn.Linear)


def summarised_position(summary: nn.Module) -> int | None:
    """The one position that a summary without a cls_index looks at; None: it may look at all.

    Args:
        summary: A `SequenceSummary`, or whatever was put in its place.
    """
    if not are_unmodified(summary.modules(), _CODE):
        return None
    positions = {"first": 0, "last": -1, "cls_index": -1}
    return positions.get(cast(SequenceSummary, summary).summary_type)
