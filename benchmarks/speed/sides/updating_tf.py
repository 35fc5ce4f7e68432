"""What an optimizer of Keras takes to update the variables of a language model: ours, or Keras'."""

from __future__ import annotations

import keras
import tensorflow as tf

from benchmarks.speed.protocol import Prepared
from benchmarks.speed.tasks import (
    BETAS,
    DECAY,
    EPSILON,
    LEARNING_RATE,
    Task,
    gradients_of,
    seconds_of,
    sizes_of,
)


def prepared(task: Task, optimizer: str) -> Prepared:
    """Updates one after the other, each a call of one graph, by gradients that stay.

    Args:
        task: Of the kind "update".
        optimizer: "keras" for Keras' AdamW; else ours.
    """
    from xlm_tf import OriginalAdam

    variables = [keras.Variable(tf.ones(size)) for size in sizes_of(task)]
    gradients = [tf.constant(each) for each in gradients_of(task)]
    made = (keras.optimizers.AdamW if optimizer == "keras" else OriginalAdam)(
        LEARNING_RATE, weight_decay=DECAY, beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON
    )
    made.build(variables)

    @tf.function
    def update() -> None:
        made.apply(gradients, variables)

    def run() -> dict[str, float]:
        return {"seconds": seconds_of(update)}

    return Prepared(run)
