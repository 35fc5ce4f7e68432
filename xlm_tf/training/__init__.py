"""Training on the objectives of `xlm_core.objectives`."""

from xlm_tf.training.collating import ObjectiveCollator, collated_dataset

__all__ = ["ObjectiveCollator", "collated_dataset"]
