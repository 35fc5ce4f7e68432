"""Training on the objectives of `xlm_core.objectives`."""

from xlm_tf.training.losses import TFWithObjectives
from xlm_tf.training.optimizing import Schedule, optimizer_of
from xlm_tf.training.reading import dataset_of, tensors_of
from xlm_tf.training.run import TrainingRun

__all__ = [
    "Schedule",
    "TFWithObjectives",
    "TrainingRun",
    "dataset_of",
    "optimizer_of",
    "tensors_of",
]
