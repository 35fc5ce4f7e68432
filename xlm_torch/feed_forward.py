"""The position-wise feed-forward layer, by its formula.

Source: Vaswani et al. 2017, section 3.3; TransformerFFN in xlm/model/transformer.py of the
original. Shapes use the legend of `xlm_torch.model`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_torch.activations import gelu, relu


class TransformerFFN(nn.Module):
    """Two linear layers with an activation between them: hidden to 4 hidden and back.

    Args:
        config: Width, activation, dropout, and how many positions to compute at a time.
    """

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.chunk_size = config.chunk_size_feed_forward
        self.activation = "gelu" if config.gelu_activation else "relu"
        self.lin1 = nn.Linear(config.emb_dim, 4 * config.emb_dim)
        self.lin2 = nn.Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """float, shape (batch, new, hidden), to the same."""
        if self.chunk_size == 0:
            return self._chunk(hidden)
        return torch.cat([self._chunk(part) for part in hidden.split(self.chunk_size, 1)], 1)

    def _chunk(self, hidden: Tensor) -> Tensor:
        activate = gelu if self.activation == "gelu" else relu
        hidden = self.lin2(activate(self.lin1(hidden)))
        return F.dropout(hidden, self.dropout, self.training)
