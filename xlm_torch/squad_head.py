"""The SQuAD beam head: the likeliest starts, and for each the likeliest ends.

Padded positions are exact zeros when they come from the encoder. Their logits are made exactly
equal here, so that ties among them go to the lowest position, whatever the order of summation.

Source: Yang et al. 2019 (XLNet), section A.2; transformers' XLMSQuADHead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xlm_core.config import XLMConfig
from xlm_core.heads import check_beams
from xlm_torch.fast.rule import are_traced
from xlm_torch.losses import binary_cross_entropy, cross_entropy
from xlm_torch.outputs import XLMForQuestionAnsweringOutput


def top_k(values: Tensor, k: int) -> Tensor:
    """Indices of the k largest along the last dimension, the lower index first among equals."""
    if are_traced(values) and torch.onnx.is_in_onnx_export():
        # ONNX cannot sort stably, and its TopK has this very order.
        return torch.topk(values, k, dim=-1).indices
    order = torch.sort(values, dim=-1, descending=True, stable=True).indices
    return order[..., :k]


def exclude(logits: Tensor, p_mask: Tensor | None) -> Tensor:
    """`logits`, with a very low value where p_mask is not 0; both (batch, ..., sequence)."""
    if p_mask is None:
        return logits
    lowest = -65500.0 if logits.dtype == torch.float16 else -1e30
    return logits.masked_fill(p_mask != 0, lowest)


class PoolerStartLogits(nn.Module):
    """Hidden states to start logits."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.emb_dim, 1)

    def forward(self, hidden: Tensor, p_mask: Tensor | None = None) -> Tensor:
        """float, shape (batch, sequence, hidden), to float, shape (batch, sequence)."""
        return exclude(self.dense(hidden).squeeze(-1), p_mask)


class PoolerEndLogits(nn.Module):
    """Hidden states and a start to end logits."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.dense_0 = nn.Linear(2 * config.emb_dim, config.emb_dim)
        self.LayerNorm = nn.LayerNorm(config.emb_dim, eps=config.layer_norm_eps)
        self.dense_1 = nn.Linear(config.emb_dim, 1)

    def forward(self, hidden: Tensor, start_states: Tensor, p_mask: Tensor | None = None) -> Tensor:
        """End logits for each start.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            start_states: float, shape (batch, starts, hidden).
            p_mask: shape (batch, sequence).

        Returns:
            float, shape (batch, starts, sequence).
        """
        starts, sequence = start_states.shape[1], hidden.shape[1]
        # One more position, all zeros: what every padded position gets.
        padding = (hidden == 0).all(-1)[:, None, :]
        hidden = F.pad(hidden, (0, 0, 0, 1))
        pairs = torch.cat(
            (
                hidden[:, None].expand(-1, starts, -1, -1),
                start_states[:, :, None].expand(-1, -1, sequence + 1, -1),
            ),
            dim=-1,
        )
        pairs = self.LayerNorm(torch.tanh(self.dense_0(pairs)))
        logits = self.dense_1(pairs).squeeze(-1)
        logits = torch.where(padding, logits[..., -1:], logits[..., :-1])
        return exclude(logits, None if p_mask is None else p_mask[:, None])


class PoolerAnswerClass(nn.Module):
    """The start and the "no answer" token to the logit that there is no answer."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.dense_0 = nn.Linear(2 * config.emb_dim, config.emb_dim)
        self.dense_1 = nn.Linear(config.emb_dim, 1, bias=False)

    def forward(
        self, hidden: Tensor, start_states: Tensor, cls_index: Tensor | None = None
    ) -> Tensor:
        """Answerability.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            start_states: float, shape (batch, hidden).
            cls_index: int64, shape (batch,); default the last position.

        Returns:
            float, shape (batch,).
        """
        cls_states = hidden[:, -1] if cls_index is None else states_at(hidden, cls_index)
        both = torch.cat((start_states, cls_states), dim=-1)
        return self.dense_1(torch.tanh(self.dense_0(both))).squeeze(-1)


def states_at(hidden: Tensor, positions: Tensor) -> Tensor:
    """Hidden states at positions of shape (batch,) or (batch, n): (batch, [n,] hidden)."""
    rows = torch.arange(hidden.shape[0], device=hidden.device)
    return hidden[rows if positions.dim() == 1 else rows[:, None], positions.long()]


class SQuADHead(nn.Module):
    """Start, end and answerability together."""

    def __init__(self, config: XLMConfig) -> None:
        super().__init__()
        self.config = config
        self.start_logits = PoolerStartLogits(config)
        self.end_logits = PoolerEndLogits(config)
        self.answer_class = PoolerAnswerClass(config)

    def forward(
        self, hidden: Tensor, cls_index: Tensor | None = None, p_mask: Tensor | None = None
    ) -> XLMForQuestionAnsweringOutput:
        """The beams.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            cls_index: int64, shape (batch,); default the last position.
            p_mask: shape (batch, sequence); 1 excludes a position.

        Returns:
            The output without loss.

        Raises:
            InputError: If the sequence is shorter than a beam.
        """
        batch, sequence = hidden.shape[:2]
        check_beams(self.config, sequence)
        start_logits = self.start_logits(hidden, p_mask)
        start_probs = _softmax(start_logits)
        start_index = top_k(start_logits, self.config.start_n_top)

        end_logits = self.end_logits(hidden, states_at(hidden, start_index), p_mask)
        end_index = top_k(end_logits, self.config.end_n_top)
        end_probs = _softmax(end_logits).gather(-1, end_index)

        expected_start = (start_probs[:, None] @ hidden).squeeze(1)
        return XLMForQuestionAnsweringOutput(
            start_top_log_probs=start_probs.gather(-1, start_index),
            start_top_index=start_index,
            # (batch, starts, ends) to the flat index end * starts + start
            end_top_log_probs=end_probs.transpose(1, 2).reshape(batch, -1),
            end_top_index=end_index.transpose(1, 2).reshape(batch, -1),
            cls_logits=self.answer_class(hidden, expected_start, cls_index),
        )

    def loss(
        self,
        hidden: Tensor,
        start_positions: Tensor,
        end_positions: Tensor,
        cls_index: Tensor | None = None,
        is_impossible: Tensor | None = None,
        p_mask: Tensor | None = None,
    ) -> Tensor:
        """Mean of start and end cross-entropy, plus half the answerability's.

        Args: As in `XLMForQuestionAnswering.forward`.
        """
        start_states = states_at(hidden, start_positions)
        start_logits = self.start_logits(hidden, p_mask)
        end_logits = self.end_logits(hidden, start_states[:, None], p_mask).squeeze(1)
        start_loss = cross_entropy(start_logits, start_positions)
        end_loss = cross_entropy(end_logits, end_positions)
        total = (start_loss + end_loss) / 2
        if cls_index is not None and is_impossible is not None:
            cls_logits = self.answer_class(hidden, start_states, cls_index)
            total = total + 0.5 * binary_cross_entropy(cls_logits, is_impossible)
        return total


def _softmax(logits: Tensor) -> Tensor:
    if logits.dtype in (torch.float16, torch.bfloat16):
        return F.softmax(logits, dim=-1, dtype=torch.float32).to(logits.dtype)
    return F.softmax(logits, dim=-1)
