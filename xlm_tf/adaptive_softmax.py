"""Adaptive softmax: frequent words in the head, rare ones in narrower tail clusters."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.config import XLMConfig
from xlm_core.weights import tensors_of
from xlm_tf.layers import Checkpointed, Linear
from xlm_tf.losses import at_least_float32


class TailCluster(Checkpointed, keras.layers.Layer):
    """Two projections in a row; `cluster[0]` and `cluster[1]` are their layers."""

    def __init__(self, width: int, narrow: int, cluster: int, **options: Any) -> None:
        super().__init__(**options)
        policy = self.dtype_policy
        self.projections = [
            Linear(width, narrow, use_bias=False, name="0", dtype=policy),
            Linear(narrow, cluster, use_bias=False, name="1", dtype=policy),
        ]

    def __getitem__(self, index: int) -> Linear:
        projection: Linear = self.projections[index]
        return projection

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        for projection in self.projections:
            projection.build()

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """float, shape (..., hidden), to float, shape (..., cluster)."""
        return self[1](self[0](hidden))


class AdaptiveLogSoftmax(Checkpointed, keras.layers.Layer):
    """Log-probabilities of the whole vocabulary from a head and its tail clusters.

    Nothing depends on values, so it can be traced, the loss too.

    Source: Grave et al. 2017, "Efficient softmax approximation for GPUs"; PredLayer of the
    original with asm.
    """

    def __init__(self, config: XLMConfig, **options: Any) -> None:
        super().__init__(**options)
        policy = self.dtype_policy
        shapes = {
            spec.path.removeprefix("pred_layer.proj."): spec.shape
            for spec in tensors_of(config, "XLMWithLMHeadModel")
        }
        self.cutoffs = [*(config.asm_cutoffs or []), config.vocab_size]
        head_size, width = shapes["head.weight"]
        self.head = Linear(width, head_size, name="head", dtype=policy)
        self.tail = []
        for index in range(len(self.cutoffs) - 1):
            narrow, _ = shapes[f"tail.{index}.0.weight"]
            cluster, _ = shapes[f"tail.{index}.1.weight"]
            self.tail.append(
                TailCluster(width, narrow, cluster, name=f"tail.{index}", dtype=policy)
            )

    def build(self, input_shape: Any = None) -> None:
        """Make the variables."""
        self.head.build()
        for cluster in self.tail:
            cluster.build()

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """float, shape (..., hidden), to log-probabilities, float, shape (..., vocabulary)."""
        frequent = self.cutoffs[0]
        head = tf.nn.log_softmax(at_least_float32(self.head(hidden)))
        parts = [head[..., :frequent]]
        for index, cluster in enumerate(self.tail):
            inside = tf.nn.log_softmax(at_least_float32(cluster(hidden)))
            parts.append(inside + head[..., frequent + index : frequent + index + 1])
        return tf.cast(tf.concat(parts, axis=-1), hidden.dtype)
