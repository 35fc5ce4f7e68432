"""Optimizers by the names of a config, and the learning rate as Keras takes it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xlm_core.errors import ConfigError
from xlm_core.training.config import OPTIMIZERS, OptimizerSettings
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_tf.optimizers import AdamW, OriginalAdam


@keras.saving.register_keras_serializable(package="xlm_models")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """`InverseSquareRoot` as a schedule of Keras, in float64.

    Args:
        rate: The learning rate as a function of the number of updates.
    """

    def __init__(self, rate: InverseSquareRoot) -> None:
        super().__init__()
        self.rate = rate

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate of an update, counted from 0: float64, shape ()."""
        rate, warmup = self.rate, float(self.rate.warmup_updates)
        step = tf.cast(tf.convert_to_tensor(step), tf.float64)
        slope = (rate.learning_rate - rate.warmup_init_lr) / warmup
        decay = tf.pow(warmup / tf.maximum(step, warmup), tf.constant(rate.exp_factor, tf.float64))
        rising = tf.constant(rate.warmup_init_lr, tf.float64) + step * slope
        return tf.where(step < warmup, rising, rate.learning_rate * decay)

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        return dict(vars(self.rate))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """Make one of what `get_config` returned."""
        return cls(InverseSquareRoot(**config))


def optimizer_of(settings: OptimizerSettings, model: Any) -> Any:
    """The optimizer that a config names, for the variables of a model.

    Its gradients are clipped by what makes the updates, over all devices together.

    Args:
        settings: The section of the config.
        model: Whose variables it changes; the optimizer is made in the scope of its strategy.

    Raises:
        ConfigError: For an unknown name.
    """
    changing = learning_rate_of(settings)
    rate: Any = settings.learning_rate if changing is None else Schedule(changing)
    one, two = settings.betas
    adam: dict[str, Any] = {"beta_1": one, "beta_2": two, "epsilon": settings.eps}
    with model.distribute_strategy.scope():
        if settings.name in ("adam", "adam_inverse_sqrt"):
            return OriginalAdam(rate, **adam, weight_decay=settings.weight_decay)
        if settings.name == "adamw":
            return AdamW(rate, **adam, weight_decay=settings.weight_decay)
        if settings.name == "sgd":
            return keras.optimizers.SGD(rate, weight_decay=settings.weight_decay or None)
    raise ConfigError(
        f"unknown optimizer {settings.name!r}: expected one of {', '.join(OPTIMIZERS)}."
    )


def learning_rate_of(settings: OptimizerSettings) -> InverseSquareRoot | None:
    """The learning rate of each update; None: the optimizer's own, always the same."""
    if settings.name != "adam_inverse_sqrt":
        return None
    return InverseSquareRoot(
        settings.learning_rate, settings.warmup_updates, settings.warmup_init_lr
    )
