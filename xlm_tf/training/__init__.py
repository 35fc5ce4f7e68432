"""Training on the objectives of `xlm_core.objectives`."""

from xlm_tf.training.callbacks import CheckpointCallback, EvaluationCallback
from xlm_tf.training.collating import ObjectiveCollator, collated_dataset
from xlm_tf.training.configured import configured_run, making_models, model_dtype
from xlm_tf.training.losses import TFWithObjectives
from xlm_tf.training.optimizing import Schedule, learning_rate_of, optimizer_of
from xlm_tf.training.reading import dataset_of, tensors_of
from xlm_tf.training.run import TrainingRun
from xlm_tf.training.starting import start_from, start_model

__all__ = [  # noqa: RUF022  (in the order of PyTorch's)
    "CheckpointCallback",
    "EvaluationCallback",
    "ObjectiveCollator",
    "Schedule",
    "TrainingRun",
    "TFWithObjectives",
    "collated_dataset",
    "configured_run",
    "dataset_of",
    "learning_rate_of",
    "making_models",
    "model_dtype",
    "optimizer_of",
    "start_from",
    "start_model",
    "tensors_of",
]
