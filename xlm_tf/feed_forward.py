"""The position-wise feed-forward layer, by its formula.

Source: Vaswani et al. 2017, section 3.3; TransformerFFN in xlm/model/transformer.py of the
original. Shapes use the legend of `xlm_tf.model`.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_tf.activations import gelu, relu
from xlm_tf.layers import Linear, dropout


class TransformerFFN(keras.layers.Layer):
    """Two linear layers with an activation between them: hidden to 4 hidden and back.

    Args:
        config: Width, activation, dropout, and how many positions to compute at a time.
    """

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        self.rate = config.dropout
        self.chunk_size = config.chunk_size_feed_forward
        self.activation = "gelu" if config.gelu_activation else "relu"
        width, policy = config.emb_dim, self.dtype_policy
        self.lin1 = Linear(width, 4 * width, name="lin1", dtype=policy)
        self.lin2 = Linear(4 * width, width, name="lin2", dtype=policy)

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.lin1.build()
        self.lin2.build()

    def call(self, hidden: tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        """float, shape (batch, new, hidden), to the same; `seed` drops out in training."""
        new = hidden.shape[1]
        # Chunks save memory and change no number; a length unknown while tracing is not cut.
        if self.chunk_size == 0 or new is None:
            return dropout(self._chunk(hidden), self.rate, seed, site=2)
        starts = range(0, new, self.chunk_size)
        chunks = [self._chunk(hidden[:, start : start + self.chunk_size]) for start in starts]
        return dropout(tf.concat(chunks, axis=1), self.rate, seed, site=2)

    def _chunk(self, hidden: tf.Tensor) -> tf.Tensor:
        activate = gelu if self.activation == "gelu" else relu
        return self.lin2(activate(self.lin1(hidden)))
