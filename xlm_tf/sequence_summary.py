"""One vector for a sequence, from the hidden states of its tokens."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_tf.activations import ACTIVATIONS
from xlm_tf.fast.rule import are_unmodified, code_of
from xlm_tf.layers import Linear, dropout


class SequenceSummary(keras.layers.Layer):
    """One vector for a sequence: pick or average hidden states, drop out, project, activate."""

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.summary_type = config.summary_type
        self.first_dropout = config.summary_first_dropout
        self.last_dropout = config.summary_last_dropout
        self.activation = ACTIVATIONS[config.summary_activation or "linear"]
        if config.summary_use_proj:
            self.summary = Linear(
                config.emb_dim, config.summary_width, name="summary", dtype=self.dtype_policy
            )

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        if hasattr(self, "summary"):
            self.summary.build()

    def call(
        self,
        hidden: tf.Tensor,
        cls_index: tf.Tensor | None = None,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Summarise.

        Args:
            hidden: float, shape (batch, sequence, hidden).
            cls_index: integer, shape (batch,): the position to pick with summary_type "cls_index";
                default the last.
            seed: Of the dropouts, in training.

        Returns:
            float, shape (batch, summary width).
        """
        if self.summary_type == "first":
            picked = hidden[:, 0]
        elif self.summary_type == "mean":
            picked = tf.reduce_mean(hidden, axis=1)
        elif self.summary_type == "last" or cls_index is None:
            picked = hidden[:, -1]
        else:
            picked = tf.gather(hidden, cls_index, batch_dims=1)
        picked = dropout(picked, self.first_dropout, seed, site=0)
        if hasattr(self, "summary"):
            picked = self.summary(picked)
        return dropout(self.activation(picked), self.last_dropout, seed, site=1)


_CODE = code_of(SequenceSummary, Linear)


def summarised_position(summary: keras.layers.Layer) -> int | None:
    """The one position that a summary without a cls_index looks at; None: it may look at all.

    Args:
        summary: A `SequenceSummary`, or whatever was put in its place.
    """
    if not are_unmodified(summary._flatten_layers(), _CODE):
        return None
    return {"first": 0, "last": -1, "cls_index": -1}.get(summary.summary_type)
